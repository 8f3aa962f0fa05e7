//! What a push will do, in an order that can be undone. Pure.

use pyro_proto::tree::{Mtime, TreePath};
use serde::{Deserialize, Serialize};

use super::super::error::WorkspaceError;
use crate::limits::PLAN_BYTES_MAX;

/// First bytes of a plan: another form of it gets another number.
const MAGIC: &[u8] = b"pyro push 1\n";

/// Steps in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Where on the stage the push is.
    pub(crate) number: u64,
    /// What happens, one rename each.
    pub(crate) steps: Vec<Step>,
    /// Directories of the tree that the steps change, each once.
    pub(crate) directories: Vec<Touched>,
}

/// One step. Places are relative to the tree, what is staged to the push's own directory of the stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// What is there leaves, with all that is in it.
    Take { place: TreePath, old: u64 },
    /// Something that is no directory takes the place of something else that is none.
    Replace { staged: TreePath, place: TreePath, old: u64 },
    /// Something goes, with all that is in it, where nothing is.
    Put { staged: TreePath, place: TreePath },
}

/// A directory that is there before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Touched {
    /// Which.
    pub(crate) place: TreePath,
    /// Mode and time before the push.
    pub(crate) was: (u32, Mtime),
    /// Those that the push gives it; `None` where the push does not name it.
    pub(crate) becomes: Option<(u32, Mtime)>,
}

impl Plan {
    /// The plan as it is kept on the disk.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, WorkspaceError> {
        let body = pyro_proto::encode(self).map_err(|error| WorkspaceError::Invalid(error.to_string()))?;
        if body.len() + MAGIC.len() > PLAN_BYTES_MAX {
            return Err(WorkspaceError::Invalid("the push has too many steps".to_owned()));
        }
        Ok([MAGIC, body.as_slice()].concat())
    }

    /// A plan that was kept. It is written whole or not at all, so one that cannot be read is of another make.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Plan, WorkspaceError> {
        bytes
            .strip_prefix(MAGIC)
            .and_then(|body| pyro_proto::decode(body).ok())
            .ok_or(WorkspaceError::Refused("a push was left half done by an agent of another version"))
    }
}
