//! Setting a workspace back to a snapshot: another VM on a new layer above the snapshot's. It takes as long as a
//! fork, whatever the workspace holds, and whatever state its guest is in.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use pyro_proto::shim::WorkspaceOrder;
use pyro_store::limits::LAYERS_CHAIN_MAX;
use pyro_store::{LayerId, RecordError, SnapshotName, SnapshotRecord, VmId, WorkspaceRecord};
use schemars::JsonSchema;
use serde::Serialize;

use super::snapshot::{SnapshotScope, kind_of, parse_snapshot};
use super::{WORKSPACE, Workspace, called};
use crate::failure::chain;
use crate::launch::Notice;
use crate::limits::STARTS_MAX;
use crate::template::Guest;
use crate::template::parent::{Kind, Parent};
use crate::{Code, Failure, Pyro};

/// What a workspace is set back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetRequest {
    /// The snapshot; the baseline without.
    pub snapshot: Option<String>,
    /// Whether its memory comes back too, where it has one.
    pub scope: SnapshotScope,
}

/// A workspace that was set back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ResetDone {
    /// The snapshot.
    pub snapshot_name: String,
    /// `baseline` or `named`.
    pub kind: &'static str,
    /// Whether its processes came back too.
    pub memory: bool,
    /// Where the workspace is in its guest. The rest of the computer was set back with it.
    pub destination: &'static str,
    /// Files and directories on the whole disk; of a baseline, those it was filled with.
    pub entry_count: u64,
    /// Bytes that were written for it: those of a layer on which nothing is yet.
    pub bytes_written: u64,
}

impl Pyro {
    /// Sets a workspace back, and has it running then. Its id, name, labels and baseline stay; its history goes. Until
    /// the new VM is ready the disk is as it was before.
    pub async fn reset_workspace(
        &self,
        reference: &str,
        request: &ResetRequest,
        mut on_notice: impl FnMut(Notice<'_>),
    ) -> Result<(Workspace, ResetDone), Failure> {
        let begun = Instant::now();
        let name = request.snapshot.as_deref().map_or(Ok(SnapshotName::baseline()), parse_snapshot)?;
        let id = self.find_workspace(reference)?.workspace.id;
        let _starting = self.start_lock(&self.config.directories.workspace(&id).start_lock()).await?;
        let record = self.find_workspace(id.as_str())?;
        let mut snapshot = self.known_snapshot(&record, name)?;
        let with_memory = snapshot.has_memory && request.scope == SnapshotScope::DiskAndMemory;
        // Until the shim has opened the memory nobody renames or removes it. Layers it looks up by itself.
        let hold = with_memory.then(|| self.hold()).transpose()?;
        if let Some(hold) = &hold {
            snapshot = self.held_snapshot(&record, hold, &snapshot.name)?;
        }
        // All that can be wanting is found before the VM goes.
        let guest = self.guest_of(&record).await?;
        let parent = self.parent_of(&guest, &snapshot, request.scope);
        let parent = parent.map_err(|failure| of_snapshot(failure, Use::Reset, &record, &snapshot))?;
        self.check_layers(&record, &snapshot)?;
        self.ensure_template(&guest, &parent, &mut on_notice).await?;
        let mut was_running = self.discard_vm(&record).await?;
        let mut start = |vm_id: &VmId| {
            let order = WorkspaceOrder::Reset { snapshot: snapshot.name.as_str().to_owned() };
            Ok(self.workspace_start(&id, record.workspace.ttl_seconds, (&guest, &parent), vm_id, order))
        };
        let mut tries = 1;
        let up = loop {
            match self.bring_up(&guest, &parent, begun, &mut start, &mut on_notice).await {
                // A VM has come up meanwhile, behind a client that was killed.
                Err(failure) if failure.code == Code::WorkspaceHeld && tries < STARTS_MAX => {
                    tries += 1;
                    was_running |= self.discard_vm(&self.find_workspace(id.as_str())?).await?;
                }
                up => break up,
            }
        };
        let up = up.map_err(|failure| {
            let failure = of_snapshot(failure, Use::Reset, &record, &snapshot);
            if was_running { without_its_vm(failure) } else { failure }
        })?;
        drop(hold);
        let record = self.find_workspace(id.as_str())?;
        let head = std::fs::metadata(self.config.directories.layer(&record.head));
        // What nobody needs any more is above all the layer that was given up.
        let _ = self.store.collect_layers(&self.config.directories);
        let done = ResetDone {
            snapshot_name: snapshot.name.as_str().to_owned(),
            kind: kind_of(&snapshot),
            memory: parent.kind == Kind::Memory,
            destination: WORKSPACE,
            entry_count: snapshot.entries,
            bytes_written: head.map_or(0, |head| head.blocks() * 512),
        };
        Ok((Workspace::up(record, up.supervisor.detach(), &guest, &up.started, up.timings), done))
    }

    /// Refuses a snapshot that no layer can be put on: files are missing, or there are as many as there can be.
    fn check_layers(&self, record: &WorkspaceRecord, snapshot: &SnapshotRecord) -> Result<(), Failure> {
        // So that nobody merges any of them meanwhile; before, somebody may have.
        let _birth = pyro_store::birth_lock(&self.config.directories).map_err(|error| {
            Failure::new(Code::StateUnusable, chain(&error)).fix("make the state directory writable")
        })?;
        let layer = self.known_snapshot(record, snapshot.name.clone())?.layer;
        let chain = self.store.chain(&layer)?;
        if chain.len() >= LAYERS_CHAIN_MAX {
            return Err(RecordError::LayersTooMany(layer).into());
        }
        let path = |layer: &LayerId| self.config.directories.layer(layer);
        match chain.iter().map(path).find(|path| !path.is_file()) {
            Some(path) => Err(lacking(&path)),
            None => Ok(()),
        }
    }

    /// What the VM of a snapshot is forked from.
    pub(super) fn parent_of(
        &self,
        guest: &Guest,
        snapshot: &SnapshotRecord,
        scope: SnapshotScope,
    ) -> Result<Parent, Failure> {
        if snapshot.has_memory && scope == SnapshotScope::DiskAndMemory {
            return self.memory(guest, &snapshot.layer);
        }
        Ok(guest.bare.clone())
    }
}

/// What a snapshot was wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// To be gone back to.
    Reset,
    /// To be copied.
    Fork,
}

/// A memory that cannot be used is kept with its snapshot, whose disk can be used without.
pub(super) fn of_snapshot(
    failure: Failure,
    wanted_for: Use,
    record: &WorkspaceRecord,
    snapshot: &SnapshotRecord,
) -> Failure {
    if failure.code != Code::MemoryUnusable {
        return failure;
    }
    let (called, name) = (called(record), &snapshot.name);
    let verb = match wanted_for {
        Use::Reset => "reset",
        Use::Fork => "fork",
    };
    failure.fix(format!(
        "run `pyro workspace {verb} {called} --snapshot {name} --disk-only` to use its disk without"
    ))
}

/// The VM is gone, and another one did not come in its place.
fn without_its_vm(mut failure: Failure) -> Failure {
    let told = failure.cause.take().map(|cause| format!("{cause}; ")).unwrap_or_default();
    failure.because(format!("{told}its disk is as it was; its processes were ended"))
}

fn lacking(path: &Path) -> Failure {
    Failure::new(Code::LayerDamaged, "a layer of the workspace's disk is missing")
        .because(format!("there is no file {}", path.display()))
        .fix("nothing was changed: bring the file back from a backup, or choose a snapshot that does not need it")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told once the VM is gone is true, and keeps why the other one did not come.
    #[test]
    fn a_failed_reset_tells_what_is_left() {
        let failure = Failure::new(Code::NoSpace, "the disk is full").because("no space").fix("free some");
        let told = without_its_vm(failure).to_string();
        assert_eq!(
            told,
            "the disk is full: no space; its disk is as it was; its processes were ended; free some"
        );
        let told = without_its_vm(Failure::new(Code::NoSpace, "x")).cause;
        assert_eq!(told.as_deref(), Some("its disk is as it was; its processes were ended"));
    }
}
