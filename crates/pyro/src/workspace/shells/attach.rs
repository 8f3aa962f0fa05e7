//! Sitting at a shell.

use pyro_proto::agent::TerminalSize;
use pyro_proto::shim;
use pyro_store::WorkspaceRecord;

use super::super::Workspace;
use super::screen::redraw;
use crate::execution::Execution;
use crate::{Failure, Pyro};

/// What a terminal has to be sent so that it shows what a shell's terminal does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The byte of the shell's output that comes next.
    pub cursor: u64,
}

impl Pyro {
    /// What a shell shows now.
    pub fn draw_shell(&self, reference: &str, shell: &str) -> Result<Drawn, Failure> {
        let record: WorkspaceRecord = self.find_workspace(reference)?;
        let shell = self.store.shell(&record.workspace.id, shell)?;
        let (bytes, cursor) = self.all_kept(&record, &shell)?;
        let size = TerminalSize { rows: shell.shell.rows, columns: shell.shell.columns };
        Ok(Drawn { bytes: redraw(&bytes, size), cursor })
    }
}

impl Workspace {
    /// Sits at a shell: its output comes from byte `from` on, what is sent is typed, and ending the input leaves it.
    pub fn attach_shell(&mut self, id: &str, from: u64) -> Result<Execution<'_>, Failure> {
        self.connection.watch(&shim::Request::Attach { id: id.to_owned(), from })
    }
}
