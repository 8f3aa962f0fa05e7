//! Snapshots: the whole computer as it was at a moment, under a name.

use pyro_proto::shim;
use pyro_store::{Hold, SnapshotName, SnapshotRecord, WorkspaceRecord};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Workspace, called, timestamp};
use crate::connection::{lost, unexpected};
use crate::limits::{CLOSE_SNAPSHOTS_MAX, MERGE_AT_ONCE_BYTES_MAX, SNAPSHOT_SECONDS_MAX};
use crate::merge::Merging;
use crate::{Code, Failure, Pyro};

/// Below this a name is not close to what was typed (`strsim::jaro_winkler`, 0 to 1).
const CLOSENESS_MIN: f64 = 0.8;

/// What of a computer a snapshot holds, or is taken of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotScope {
    /// Its disk.
    Disk,
    /// Its memory too, with the processes in it.
    DiskAndMemory,
}

/// A snapshot in lists and results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SnapshotInfo {
    /// Its name.
    pub snapshot_name: String,
    /// `baseline`, what the workspace was made as, or `named`.
    pub kind: &'static str,
    /// Whether it holds the memory too.
    pub memory: bool,
    /// When it was taken.
    pub created_at: String,
    /// Files and directories on the whole disk; of a baseline, those it was filled with.
    pub entry_count: u64,
    /// Bytes that were still to be written for it; of a baseline, those it was filled with.
    pub bytes_written: u64,
}

/// What taking a snapshot, or pausing, took.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SnapshotTaken {
    /// Files and directories on the whole disk.
    pub entry_count: u64,
    /// Bytes that the guest still had to write first.
    pub bytes_written: u64,
    /// How long that took.
    pub write_ms: f64,
    /// How long the guest stood still, or could not write.
    pub standstill_ms: f64,
    /// Bytes of memory copied meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Of the standstill, how long that took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_ms: Option<f64>,
}

impl SnapshotTaken {
    pub(super) fn of(captured: &shim::Captured, scope: SnapshotScope) -> SnapshotTaken {
        let has_memory = scope == SnapshotScope::DiskAndMemory;
        SnapshotTaken {
            entry_count: captured.entries,
            bytes_written: captured.written_bytes,
            write_ms: milliseconds(captured.write_us),
            standstill_ms: milliseconds(captured.standstill_us),
            memory_bytes: has_memory.then_some(captured.memory_bytes),
            memory_ms: has_memory.then_some(milliseconds(captured.memory_us)),
        }
    }
}

impl Pyro {
    /// A workspace's snapshots, its baseline first, then by age.
    pub fn snapshots(&self, reference: &str) -> Result<Vec<SnapshotInfo>, Failure> {
        let record = self.find_workspace(reference)?;
        let id = &record.workspace.id;
        let baseline = self.store.snapshot(id, &SnapshotName::baseline())?;
        Ok(baseline.iter().chain(&self.store.snapshots(id)?).map(describe).collect())
    }

    /// Refuses a name that no new snapshot of a workspace can have, before anything is started for it.
    pub fn check_snapshot_name(&self, reference: &str, name: &str) -> Result<(), Failure> {
        let record = self.find_workspace(reference)?;
        let name = own_name(name)?;
        match self.store.snapshot(&record.workspace.id, &name)? {
            Some(_) => Err(pyro_store::RecordError::SnapshotTaken(name).into()),
            None => Ok(()),
        }
    }

    /// Deletes a snapshot; gives the bytes that are free now. Others that stand on the same layers lose nothing.
    pub fn delete_snapshot(&self, reference: &str, name: &str) -> Result<u64, Failure> {
        let record = self.find_workspace(reference)?;
        let snapshot = self.known_snapshot(&record, own_name(name)?)?;
        if !self.store.delete_snapshot(&record.workspace.id, &snapshot.name)? {
            return Err(self.unknown_snapshot(&record, &snapshot.name)?);
        }
        let mut freed = self.store.collect_layers(&self.config.directories)?.bytes;
        // The snapshot is gone in any case; layers that cannot be made one now are collected later.
        let id = &record.workspace.id;
        let merging = Merging { workspace: Some(id), bytes_max: MERGE_AT_ONCE_BYTES_MAX, holds_start: false };
        if let Ok(merged) = self.merge_layers(&merging, |_| {}) {
            freed += merged.bytes;
        }
        Ok(freed)
    }

    /// The snapshot of a workspace that a person means.
    pub(super) fn known_snapshot(
        &self,
        record: &WorkspaceRecord,
        name: SnapshotName,
    ) -> Result<SnapshotRecord, Failure> {
        match self.store.snapshot(&record.workspace.id, &name)? {
            Some(snapshot) => Ok(snapshot),
            None => Err(self.unknown_snapshot(record, &name)?),
        }
    }

    /// The same, held from the moment on at which it was looked up.
    pub(super) fn held_snapshot(
        &self,
        record: &WorkspaceRecord,
        hold: &Hold,
        name: &SnapshotName,
    ) -> Result<SnapshotRecord, Failure> {
        let directories = &self.config.directories;
        match self.store.hold_snapshot(directories, hold, &record.workspace.id, name)? {
            Some(snapshot) => Ok(snapshot),
            None => Err(self.unknown_snapshot(record, name)?),
        }
    }

    fn unknown_snapshot(&self, record: &WorkspaceRecord, name: &SnapshotName) -> Result<Failure, Failure> {
        let called = called(record);
        if name.is_baseline() {
            return Ok(no_baseline(called));
        }
        let others = self.store.snapshots(&record.workspace.id)?;
        let mut close: Vec<(f64, String)> = others
            .iter()
            .map(|other| other.name.as_str())
            .chain([SnapshotName::baseline().as_str()])
            .map(|other| (strsim::jaro_winkler(name.as_str(), other), format!("`{other}`")))
            .filter(|(closeness, _)| *closeness >= CLOSENESS_MIN)
            .collect();
        close.sort_by(|a, b| b.0.total_cmp(&a.0));
        let close: Vec<String> = close.into_iter().take(CLOSE_SNAPSHOTS_MAX).map(|(_, name)| name).collect();
        let see = format!("see `pyro workspace snapshot list {called}`");
        let fix = if close.is_empty() { see } else { format!("did you mean {}? {see}", close.join(" or ")) };
        let message = format!("the workspace {called} has no snapshot `{name}`");
        Ok(Failure::new(Code::SnapshotUnknown, message).fix(fix))
    }
}

impl Workspace {
    /// Keeps the whole computer as it is now under a name; it goes on meanwhile.
    pub async fn snapshot(&mut self, name: &str, scope: SnapshotScope) -> Result<SnapshotTaken, Failure> {
        let keep = shim::Keep::Name(own_name(name)?.as_str().to_owned());
        Ok(SnapshotTaken::of(&self.capture(keep, scope).await?, scope))
    }

    pub(super) async fn capture(
        &mut self,
        keep: shim::Keep,
        scope: SnapshotScope,
    ) -> Result<shim::Captured, Failure> {
        let memory = scope == SnapshotScope::DiskAndMemory;
        let request = shim::Request::Snapshot(shim::Snapshot { keep, memory });
        let asked = self.connection.request(&request, |_| {});
        match tokio::time::timeout(SNAPSHOT_SECONDS_MAX, asked).await {
            Err(_) => Err(lost("it did not take the snapshot in time")),
            Ok(reply) => match reply? {
                shim::Reply::Snapshotted(captured) => Ok(captured),
                shim::Reply::Refused(failure) => Err(failure.into()),
                shim::Reply::Failed(failure) => Err(failure.into()),
                other => Err(unexpected(&other)),
            },
        }
    }
}

/// A workspace of before there were layers.
fn no_baseline(called: &str) -> Failure {
    Failure::new(Code::SnapshotUnknown, format!("the workspace {called} cannot be set back to its baseline"))
        .because("it was made by a release that kept none")
        .fix(format!(
            "take a snapshot with `pyro workspace snapshot create {called} NAME`, and set it back to that from then on"
        ))
}

/// Reads the name of any snapshot.
pub(super) fn parse_snapshot(text: &str) -> Result<SnapshotName, Failure> {
    SnapshotName::parse(text)
        .map_err(|error| Failure::new(Code::InvalidArgument, error.to_string()).fix("choose another name"))
}

/// Reads a name that a person may give and delete.
fn own_name(text: &str) -> Result<SnapshotName, Failure> {
    let name = parse_snapshot(text)?;
    if name.is_baseline() {
        return Err(Failure::new(
            Code::SnapshotReserved,
            format!("the snapshot `{name}` cannot be made or deleted"),
        )
        .because("every workspace has it from its making, and `diff` compares with it")
        .fix("choose another name"));
    }
    Ok(name)
}

fn describe(record: &SnapshotRecord) -> SnapshotInfo {
    SnapshotInfo {
        snapshot_name: record.name.as_str().to_owned(),
        kind: kind_of(record),
        memory: record.has_memory,
        created_at: timestamp(record.created),
        entry_count: record.entries,
        bytes_written: record.bytes,
    }
}

/// The word for users.
pub(super) fn kind_of(record: &SnapshotRecord) -> &'static str {
    if record.is_baseline { "baseline" } else { "named" }
}

pub(super) fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1000.0
}
