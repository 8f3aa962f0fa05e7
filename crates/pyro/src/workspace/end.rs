//! Stopping workspaces, and giving them up.

use std::time::Instant;

use pyro_proto::shim;
use pyro_store::{ClaimError, WorkspaceRecord};

use super::Workspace;
use super::info::filters_of;
use crate::connection::{Connection, lost, unexpected};
use crate::limits::{
    SHIM_KILLED_SECONDS_MAX, WORKSPACE_DISCARD_SECONDS_MAX, WORKSPACE_RELEASE_POLL,
    WORKSPACE_RELEASE_SECONDS_MAX, WORKSPACE_STOP_SECONDS_MAX,
};
use crate::socket::{connect_to, peer};
use crate::{Code, Failure, Pyro};

/// What a stop did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The VM was ended.
    Ended,
    /// It was paused: its memory was dropped, its disk is as it was then.
    MemoryDropped,
    /// There was nothing to do.
    Already,
}

impl Pyro {
    /// Ends a workspace's VM; its disk stays, and what was kept of its memory goes.
    pub async fn stop_workspace(&self, reference: &str) -> Result<Stopped, Failure> {
        let record = self.find_workspace(reference)?;
        if self.stop_vm(&record).await? {
            return Ok(Stopped::Ended);
        }
        if record.paused.is_none() {
            return Ok(Stopped::Already);
        }
        // Nobody resumes it meanwhile.
        let id = &record.workspace.id;
        let starting = self.start_lock(&self.config.directories.workspace(id).start_lock()).await?;
        let record = self.find_workspace(id.as_str())?;
        if record.paused.is_none() {
            drop(starting);
            self.stop_vm(&record).await?;
            return Ok(Stopped::Ended);
        }
        self.store.set_paused(id, None)?;
        // What ran in it goes with its memory.
        self.store.lose_shells(id)?;
        self.store.lose_services(id)?;
        self.store.collect_layers(&self.config.directories)?;
        Ok(Stopped::MemoryDropped)
    }

    /// Removes a workspace with everything in it; gives its id. Its VM ends first, whatever state its guest and its
    /// supervisor are in: a deletion that is cut short leaves it stopped, without what its guest had not written yet,
    /// or recorded as going, and then the next command removes it.
    pub async fn delete_workspace(&self, reference: &str) -> Result<String, Failure> {
        let id = self.find_workspace(reference)?.workspace.id;
        // Nobody starts it between its end and its removal.
        let _starting = self.start_lock(&self.config.directories.workspace(&id).start_lock()).await?;
        self.discard_vm(&self.find_workspace(id.as_str())?).await?;
        let deadline = Instant::now() + WORKSPACE_RELEASE_SECONDS_MAX;
        loop {
            match self.store.claim_for_removal(&self.config.directories, &id) {
                Ok(claim) => {
                    self.store.remove_workspace(claim)?;
                    // What it alone stood on. What somebody uses right now another command collects.
                    let _ = self.store.collect_layers(&self.config.directories);
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

    /// Deletes the workspaces with all of these labels that do not run and were not used for their time to live;
    /// gives their ids. Files of others outlive their time: this is for computers that nobody keeps.
    pub async fn delete_expired(&self, labels: &[String]) -> Result<Vec<String>, Failure> {
        let mut deleted = Vec::new();
        for record in self.store.workspaces(&filters_of(labels)?)? {
            let idle = record.last_used.elapsed().unwrap_or_default();
            let is_over = record.workspace.ttl_seconds.is_some_and(|ttl| idle.as_secs() >= ttl);
            if is_over && self.connect(&record).await?.is_none() {
                deleted.push(self.delete_workspace(record.workspace.id.as_str()).await?);
            }
        }
        Ok(deleted)
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

    /// Ends the VM of a workspace that will be set back, or go: what its guest has not written is lost. `false` where
    /// there was none. A supervisor that does not do so is killed, and its VM with it.
    pub(super) async fn discard_vm(&self, record: &WorkspaceRecord) -> Result<bool, Failure> {
        let Some(vm_id) = &record.vm_id else { return Ok(false) };
        let Ok(socket) = connect_to(&self.config.directories.vm(vm_id).socket()).await else {
            return Ok(false);
        };
        let shim = peer(&socket);
        let asked = async {
            let mut connection = Connection::greet(socket).await?;
            let reply = connection.request(&shim::Request::Stop { discard: true }, |_| {}).await;
            connection.closed().await;
            reply
        };
        let asked = tokio::time::timeout(WORKSPACE_DISCARD_SECONDS_MAX, asked).await;
        if matches!(asked, Ok(Ok(shim::Reply::Stopped))) {
            return Ok(true);
        }
        // It is gone, hangs, or could not clean up, which the next command does.
        match shim.is_none_or(|shim| shim.kill_and_wait(SHIM_KILLED_SECONDS_MAX)) {
            true => Ok(true),
            false => Err(lost("it does not answer, and cannot be ended")),
        }
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
            let reply = self.connection.request(&shim::Request::Stop { discard: false }, |_| {}).await;
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
