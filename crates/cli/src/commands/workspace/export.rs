//! `pyro workspace export`

use pyro::results::ExportedResult;
use pyro::{Failure, GuestPath, Pyro};

use super::connect;
use crate::arguments::workspace::Export;
use crate::exit::Status;
use crate::untrusted::printable;
use crate::{report, terminal};

pub(super) async fn run(pyro: &Pyro, arguments: &Export) -> Result<Status, Failure> {
    let path = GuestPath::parse(&arguments.path)?;
    let mut workspace = connect(pyro, &arguments.connected).await?;
    let exported = workspace.export(&path, &arguments.output).await?;
    if path == GuestPath::root() && exported.left_out.is_empty() {
        pyro.note_taken(&workspace)?;
    }
    if arguments.connected.one.json {
        let result = ExportedResult::new(&workspace, &path, exported);
        return Ok(report::written(report::json(&result)));
    }
    for left_out in &exported.left_out {
        terminal::note(&format!("note: not exported: {}", printable(left_out.as_bytes())));
    }
    terminal::note(&format!(
        "[workspace-export] workspace_id={} workspace_path={} output_path={} artifact_type={} entry_count={} bytes_written={} execution_mode={}",
        workspace.id(),
        printable(path.to_string().as_bytes()),
        exported.output.display(),
        exported.artifact_type,
        exported.entries,
        exported.bytes,
        workspace.execution_mode()
    ));
    Ok(Status::SUCCESS)
}
