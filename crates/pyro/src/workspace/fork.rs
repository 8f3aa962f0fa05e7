//! Copies of a workspace: from a snapshot, or from the running one with its processes.

use std::collections::BTreeSet;
use std::time::Instant;

use pyro_proto::shim::{Keep, NewFork, WorkspaceOrder};
use pyro_store::{Hold, Labels, LayerId, SnapshotRecord, VmId, WorkspaceName, WorkspaceRecord};
use schemars::JsonSchema;
use serde::Serialize;

use super::called;
use super::fork_plan::{Copy, ForkRequest, copies, labels};
use super::made::Made;
use super::open::not_running;
use super::reset::{Use, of_snapshot};
use super::snapshot::{SnapshotScope, milliseconds, parse_snapshot};
use crate::failure::chain;
use crate::launch::{Notice, micros};
use crate::several::several;
use crate::template::Guest;
use crate::template::parent::Parent;
use crate::{Code, Failure, Pyro};

/// Copies that were made.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Forks {
    /// The workspace that they are copies of.
    pub source: String,
    /// The snapshot of it; none of the running one.
    pub snapshot: Option<String>,
    /// How many.
    pub count: usize,
    /// All of them.
    pub forks: Vec<Forked>,
    /// How long the running one stood still for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standstill_ms: Option<f64>,
    /// Bytes of its memory that were copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// How long all of it took.
    pub duration_ms: f64,
}

/// A copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Forked {
    /// Its id.
    pub workspace_id: String,
    /// Its name.
    pub name: Option<String>,
    /// How its guest is reached.
    pub execution_mode: &'static str,
    /// `kvm` or `tcg`.
    pub accelerator: &'static str,
}

/// What all copies are made of.
struct Origin {
    layer: LayerId,
    parent: Parent,
    snapshot: Option<SnapshotRecord>,
    standstill_ms: Option<f64>,
    memory_bytes: Option<u64>,
}

impl Pyro {
    /// Makes copies of a workspace, which run when this returns: all of them, or none, also when this fails or is
    /// dropped. A process that is killed outright has no say in that: copies that it had made by then stay, and one in
    /// the making goes with the next command.
    pub async fn fork_workspace(
        &self,
        reference: &str,
        request: &ForkRequest,
        mut on_notice: impl FnMut(Notice<'_>),
    ) -> Result<Forks, Failure> {
        let begun = Instant::now();
        let record = self.find_workspace(reference)?;
        let copies = copies(request, &self.names()?)?;
        let labels = labels(&record.workspace.labels, &request.labels)?;
        let guest = self.guest_of(&record).await?;
        let hold = self.hold()?;
        let origin = match &request.snapshot {
            Some(name) => self.at_snapshot(&record, &guest, &hold, (name, request.scope))?,
            None => self.live(&record, &guest, &hold).await?,
        };
        self.ensure_template(&guest, &origin.parent, &mut on_notice).await?;
        let made = Made::with(self, copies.iter().map(|copy| copy.id.clone()).collect());
        let works = copies.iter().map(|copy| self.copy(&record, &guest, &origin, copy, &labels));
        let parallel = std::thread::available_parallelism().map_or(1, usize::from);
        let forked = match several(works, parallel).await {
            Ok(forked) => forked,
            Err(failure) => {
                let failure = made.undo(failure).await;
                return Err(match &origin.snapshot {
                    Some(snapshot) => of_snapshot(failure, Use::Fork, &record, snapshot),
                    None => failure,
                });
            }
        };
        made.keep();
        drop(hold);
        // What the copies do not stand on; what somebody uses right now another command collects.
        let _ = self.store.collect_layers(&self.config.directories);
        let in_order =
            |copy: &Copy| forked.iter().find(|fork| fork.workspace_id == copy.id.as_str()).cloned();
        Ok(Forks {
            source: record.workspace.id.as_str().to_owned(),
            snapshot: request.snapshot.clone(),
            count: copies.len(),
            forks: copies.iter().filter_map(in_order).collect(),
            standstill_ms: origin.standstill_ms,
            memory_bytes: origin.memory_bytes,
            duration_ms: milliseconds(micros(begun.elapsed())),
        })
    }

    fn names(&self) -> Result<BTreeSet<WorkspaceName>, Failure> {
        Ok(self.store.workspaces(&[])?.into_iter().filter_map(|record| record.workspace.name).collect())
    }

    fn at_snapshot(
        &self,
        record: &WorkspaceRecord,
        guest: &Guest,
        hold: &Hold,
        (name, scope): (&str, SnapshotScope),
    ) -> Result<Origin, Failure> {
        let snapshot = self.held_snapshot(record, hold, &parse_snapshot(name)?)?;
        let parent = self.parent_of(guest, &snapshot, scope);
        let parent = parent.map_err(|failure| of_snapshot(failure, Use::Fork, record, &snapshot))?;
        let (layer, snapshot) = (snapshot.layer.clone(), Some(snapshot));
        Ok(Origin { layer, parent, snapshot, standstill_ms: None, memory_bytes: None })
    }

    /// The running workspace as it is now; its disk and memory are kept by the hold alone.
    async fn live(&self, record: &WorkspaceRecord, guest: &Guest, hold: &Hold) -> Result<Origin, Failure> {
        let Some(mut workspace) = self.connect(record).await? else {
            return Err(not_running(record, "name what to copy with --snapshot"));
        };
        // A memory is of use to the same kind of machine alone: better found out before it stands still for it.
        if workspace.accelerator != guest.accelerator() {
            return Err(other_accelerator(record, workspace.accelerator(), guest));
        }
        let keep = Keep::Hold(hold.token().as_str().to_owned());
        let captured = workspace.capture(keep, SnapshotScope::DiskAndMemory).await?;
        let layer = LayerId::parse(&captured.layer)
            .map_err(|error| Failure::new(Code::System, chain(&error)).fix("run the command again"))?;
        Ok(Origin {
            parent: self.memory(guest, &layer)?,
            layer,
            snapshot: None,
            standstill_ms: Some(milliseconds(captured.standstill_us)),
            memory_bytes: Some(captured.memory_bytes),
        })
    }

    async fn copy(
        &self,
        record: &WorkspaceRecord,
        guest: &Guest,
        origin: &Origin,
        copy: &Copy,
        labels: &Labels,
    ) -> Result<Forked, Failure> {
        let labels = labels.iter().map(|(key, value)| (key.as_str().to_owned(), value.as_str().to_owned()));
        let order = NewFork {
            source: record.workspace.id.as_str().to_owned(),
            layer: origin.layer.as_str().to_owned(),
            name: copy.name.as_ref().map(|name| name.as_str().to_owned()),
            labels: labels.collect(),
        };
        let start = |vm_id: &VmId| {
            let order = WorkspaceOrder::Fork(order.clone());
            let ttl_seconds = record.workspace.ttl_seconds;
            Ok(self.workspace_start(&copy.id, ttl_seconds, (guest, &origin.parent), vm_id, order))
        };
        let up = self.bring_up(guest, &origin.parent, Instant::now(), start, &mut |_| {}).await?;
        let execution_mode = up.started.transport.execution_mode();
        drop(up.supervisor.detach());
        Ok(Forked {
            workspace_id: copy.id.as_str().to_owned(),
            name: order.name,
            execution_mode,
            accelerator: guest.accelerator().as_str(),
        })
    }
}

fn other_accelerator(record: &WorkspaceRecord, runs_on: &str, guest: &Guest) -> Failure {
    let (called, wanted) = (called(record), guest.accelerator().as_str());
    Failure::new(Code::MemoryUnusable, format!("the workspace {called} runs on {runs_on}"))
        .because(format!("its memory would be of no use to copies that run on {wanted}"))
        .fix(format!(
            "copy it with --accelerator {runs_on}, or a snapshot of its disk: `pyro workspace snapshot create {called} NAME`, then `pyro workspace fork {called} --snapshot NAME`"
        ))
}
