//! Workspaces that are being made together: all of them, or none.

use std::convert::Infallible;

use pyro_store::WorkspaceId;

use crate::limits::UNDONE_AT_ONCE;
use crate::several::several;
use crate::supervisor::parting;
use crate::{Code, Failure, Pyro};

/// Workspaces that go again unless they are kept.
#[derive(Debug)]
pub(super) struct Made<'a> {
    pyro: &'a Pyro,
    ids: Vec<WorkspaceId>,
}

impl<'a> Made<'a> {
    /// Those that will have these ids, made or not yet.
    pub(super) fn with(pyro: &'a Pyro, ids: Vec<WorkspaceId>) -> Made<'a> {
        Made { pyro, ids }
    }

    /// All are there, and stay.
    pub(super) fn keep(mut self) {
        self.ids.clear();
    }

    /// Deletes those that there are; gives `failure`, with what could not be deleted.
    pub(super) async fn undo(mut self, mut failure: Failure) -> Failure {
        // They stay ours until all are gone: what is called off meanwhile is still undone.
        let works = self.ids.iter().map(|id| async {
            match self.pyro.delete_workspace(id.as_str()).await {
                // Or it never came to be.
                Err(error) if error.code != Code::WorkspaceUnknown => {
                    Ok::<_, Infallible>(Some(id.to_string()))
                }
                _ => Ok(None),
            }
        });
        let left: Vec<String> = match several(works, UNDONE_AT_ONCE).await {
            Ok(left) => left.into_iter().flatten().collect(),
        };
        self.ids.clear();
        if !left.is_empty() {
            let told = failure.cause.take().map(|cause| format!("{cause}; ")).unwrap_or_default();
            failure.cause =
                Some(format!("{told}these copies could not be deleted again: {}", left.join(", ")));
        }
        failure
    }
}

impl Drop for Made<'_> {
    /// Called off: nothing is awaited any more. They are recorded as going, and the next command removes them.
    fn drop(&mut self) {
        for id in std::mem::take(&mut self.ids) {
            let record = self.pyro.store.workspace(&id).ok().flatten();
            if let Some(record) = record
                && self.pyro.store.mark_deleting(&id).is_ok()
                && let Some(vm_id) = record.vm_id
            {
                let _ = parting::end(&self.pyro.config.directories.vm(&vm_id).socket());
            }
        }
    }
}
