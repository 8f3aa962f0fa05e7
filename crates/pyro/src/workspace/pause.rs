//! Pausing: the VM goes, its memory stays. Resuming is starting: see [`super::open`].

use pyro_proto::shim;

use super::called;
use super::snapshot::{SnapshotScope, SnapshotTaken};
use crate::connection::{lost, unexpected};
use crate::limits::SNAPSHOT_SECONDS_MAX;
use crate::{Code, Failure, Pyro};

/// What a pause did.
#[derive(Clone, Debug, PartialEq)]
pub enum Paused {
    /// Memory and disk are kept, and nothing runs any more.
    Now(SnapshotTaken),
    /// It was paused before.
    Already,
}

impl Pyro {
    /// Keeps memory and disk of a workspace and ends its VM. A workspace that is stopped has no memory to be kept.
    pub async fn pause_workspace(&self, reference: &str) -> Result<Paused, Failure> {
        let record = self.find_workspace(reference)?;
        let Some(mut workspace) = self.connect(&record).await? else {
            if record.paused.is_some() {
                return Ok(Paused::Already);
            }
            let called = called(&record);
            return Err(Failure::new(Code::WorkspaceStopped, format!("the workspace {called} is stopped"))
                .because("nothing runs in it that a pause could keep")
                .fix(format!("leave it stopped, or run `pyro workspace start {called}` first")));
        };
        let asked = async {
            let reply = workspace.connection.request(&shim::Request::Pause, |_| {}).await;
            if let Ok(shim::Reply::Paused(_)) = &reply {
                workspace.connection.closed().await;
            }
            reply
        };
        match tokio::time::timeout(SNAPSHOT_SECONDS_MAX, asked).await {
            Err(_) => Err(lost("it did not pause in time")),
            Ok(reply) => match reply? {
                shim::Reply::Paused(captured) => {
                    Ok(Paused::Now(SnapshotTaken::of(&captured, SnapshotScope::DiskAndMemory)))
                }
                shim::Reply::Refused(failure) => Err(failure.into()),
                shim::Reply::Failed(failure) => Err(failure.into()),
                other => Err(unexpected(&other)),
            },
        }
    }
}
