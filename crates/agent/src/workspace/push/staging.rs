//! A push from its stream to the stage: received whole before anything of the tree is looked at.
//!
//! ```text
//!   stage/N/root/     what goes to the push's directory
//!   stage/N/above/    directories above it that the tree lacks
//!   stage/N/old/      what it replaces, by number
//! ```

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pyro_proto::agent::Tally;
use pyro_proto::tree::{Expect, Item, TreePath};
use rustix::fs::Mode;

use super::super::directory::open_child;
use super::super::error::{WorkspaceError, step};
use super::super::inlet::Inlet;
use super::super::order::{Order, Purpose};
use super::super::writer::{DirectoryNode, Parents, Writer};

/// Name of what goes to the push's directory.
pub(crate) const ROOT: &str = "root";
/// Name of the directory for directories above it.
pub(crate) const ABOVE: &str = "above";
/// Name of the directory for what is replaced.
pub(crate) const OLD: &str = "old";

/// A push that came whole.
#[derive(Debug)]
pub(crate) struct Staged {
    /// Where on the stage.
    pub(crate) number: u64,
    /// That directory.
    pub(crate) home: OwnedFd,
    /// Directories that the stream names.
    pub(crate) named: BTreeMap<TreePath, DirectoryNode>,
    /// Paths that must go.
    pub(crate) removals: Vec<TreePath>,
    /// What must be there.
    pub(crate) expectations: Vec<Expect>,
    /// What came.
    pub(crate) tally: Tally,
}

impl Staged {
    /// Receives a stream into the directory `number` of the stage, which is made.
    pub(crate) fn receive(
        stage: BorrowedFd<'_>,
        number: u64,
        inlet: &mut Inlet,
    ) -> Result<Staged, WorkspaceError> {
        let make = |parent: BorrowedFd<'_>, name: &str| {
            rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
            open_child(parent, name.as_bytes())
        };
        let lay_out = || {
            let home = make(stage, &number.to_string())?;
            make(home.as_fd(), ABOVE)?;
            make(home.as_fd(), OLD)?;
            let root = make(home.as_fd(), ROOT)?;
            rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755))?;
            Ok((home, root))
        };
        let (home, root) = lay_out().map_err(step("the push cannot be staged"))?;
        let mut staged = Staged {
            number,
            home,
            named: BTreeMap::new(),
            removals: Vec::new(),
            expectations: Vec::new(),
            tally: Tally::default(),
        };
        (staged.named, staged.tally) = staged.fill(root, inlet)?;
        Ok(staged)
    }

    fn fill(
        &mut self,
        root: OwnedFd,
        inlet: &mut Inlet,
    ) -> Result<(BTreeMap<TreePath, DirectoryNode>, Tally), WorkspaceError> {
        let mut order = Order::new(Purpose::Push);
        let mut writer = Writer::new(root, Parents::Made);
        loop {
            let record = inlet.next()?;
            order.take(&record.item)?;
            writer.write(&record)?;
            match record.item {
                Item::Remove(path) => self.removals.push(path),
                Item::Expect(expect) => self.expectations.push(expect),
                Item::End => break,
                Item::Entry(_) | Item::Piece(_) | Item::Change(_) => {}
            }
        }
        inlet.finish()?;
        writer.finish()
    }
}
