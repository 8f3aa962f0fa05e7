//! Stopping workspaces, and giving them up.

use std::time::Instant;

use pyro_proto::shim;
use pyro_store::{ClaimError, WorkspaceRecord};

use super::Workspace;
use crate::connection::{lost, unexpected};
use crate::limits::{WORKSPACE_RELEASE_POLL, WORKSPACE_RELEASE_SECONDS_MAX, WORKSPACE_STOP_SECONDS_MAX};
use crate::{Code, Failure, Pyro};

impl Pyro {
    /// Ends a workspace's VM; its disk stays. One that does not run is fine; gives whether it ran.
    pub async fn stop_workspace(&self, reference: &str) -> Result<bool, Failure> {
        let record = self.find_workspace(reference)?;
        self.stop_vm(&record).await
    }

    /// Removes a workspace with everything in it; gives its id. Its VM ends first: a deletion that is cut short
    /// leaves it stopped and whole, or recorded as going, and then the next command removes it.
    pub async fn delete_workspace(&self, reference: &str) -> Result<String, Failure> {
        let id = self.find_workspace(reference)?.workspace.id;
        // Nobody starts it between its end and its removal.
        let _starting = self.start_lock(&self.config.directories.workspace(&id).start_lock()).await?;
        self.stop_vm(&self.find_workspace(id.as_str())?).await?;
        let deadline = Instant::now() + WORKSPACE_RELEASE_SECONDS_MAX;
        loop {
            match self.store.claim_for_removal(&self.config.directories, &id) {
                Ok(claim) => {
                    self.store.remove_workspace(claim)?;
                    return Ok(id.as_str().to_owned());
                }
                // Its shim is on its way out.
                Err(ClaimError::Held(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(WORKSPACE_RELEASE_POLL).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether a workspace was used since all of its changes were last taken out of it, as far as its record
    /// tells: a patch, an applied tree or an export of everything.
    pub fn has_untaken_changes(&self, reference: &str) -> Result<bool, Failure> {
        let record = self.find_workspace(reference)?;
        Ok(match (record.changed, record.taken) {
            (None, _) => false,
            (Some(changed), Some(taken)) => changed > taken,
            (Some(_), None) => true,
        })
    }

    /// Takes note that all changes of a workspace were taken out of it.
    pub fn note_taken(&self, workspace: &Workspace) -> Result<(), Failure> {
        Ok(self.store.set_taken(&workspace.record.workspace.id)?)
    }

    async fn stop_vm(&self, record: &WorkspaceRecord) -> Result<bool, Failure> {
        match self.connect(record).await? {
            Some(workspace) => workspace.stop().await.map(|()| true),
            None => Ok(false),
        }
    }
}

impl Workspace {
    /// Ends the VM and waits until nothing of it is left; the disk has all that was written.
    pub async fn stop(mut self) -> Result<(), Failure> {
        let asked = async {
            let reply = self.connection.request(&shim::Request::Stop, |_| {}).await;
            self.connection.closed().await;
            reply
        };
        match tokio::time::timeout(WORKSPACE_STOP_SECONDS_MAX, asked).await {
            Err(_) => Err(lost("it did not end in time")),
            Ok(Ok(shim::Reply::Stopped)) => Ok(()),
            Ok(Ok(shim::Reply::Failed(failure))) => Err(failure.into()),
            Ok(Ok(other)) => Err(unexpected(&other)),
            // Another client's stop was quicker: it is gone all the same.
            Ok(Err(failure)) if failure.code == Code::SupervisorLost => Ok(()),
            Ok(Err(failure)) => Err(failure),
        }
    }
}
