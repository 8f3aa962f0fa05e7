//! `pyro workspace snapshot`

use pyro::results::{SnapshotDeleted, SnapshotList, SnapshotResult};
use pyro::{Failure, Pyro, SnapshotInfo, SnapshotScope, SnapshotTaken};

use super::connect;
use crate::arguments::workspace::{One, SnapshotCreate, SnapshotDelete};
use crate::exit::Status;
use crate::{report, terminal};

pub(super) async fn create(pyro: &Pyro, arguments: &SnapshotCreate) -> Result<Status, Failure> {
    let (workspace, name) = (arguments.connected.one.workspace.as_str(), arguments.name.as_str());
    pyro.check_snapshot_name(workspace, name)?;
    let mut workspace = connect(pyro, &arguments.connected).await?;
    let scope = if arguments.memory { SnapshotScope::DiskAndMemory } else { SnapshotScope::Disk };
    let taken = workspace.snapshot(name, scope).await?;
    if arguments.connected.one.json {
        return Ok(report::written(report::json(&SnapshotResult {
            workspace_id: workspace.id().to_owned(),
            snapshot_name: name.to_owned(),
            kind: "named",
            taken,
            origin: (&workspace).into(),
        })));
    }
    terminal::note(&marker(name, &taken));
    Ok(Status::SUCCESS)
}

/// The line that the transcript fixes, with what it took behind it.
fn marker(name: &str, taken: &SnapshotTaken) -> String {
    format!(
        "[workspace-snapshot-create] snapshot_name={name} kind=named entry_count={} bytes_written={}{}",
        taken.entry_count,
        taken.bytes_written,
        costs(taken)
    )
}

/// What a snapshot or a pause took: ` write_ms=… standstill_ms=…`, and of memory ` memory_bytes=… memory_ms=…`.
pub(super) fn costs(taken: &SnapshotTaken) -> String {
    let mut text = format!(" write_ms={:.1} standstill_ms={:.1}", taken.write_ms, taken.standstill_ms);
    if let (Some(bytes), Some(ms)) = (taken.memory_bytes, taken.memory_ms) {
        text.push_str(&format!(" memory_bytes={bytes} memory_ms={ms:.1}"));
    }
    text
}

pub(super) fn list(pyro: &Pyro, arguments: &One) -> Result<Status, Failure> {
    let snapshots = pyro.snapshots(&arguments.workspace)?;
    if arguments.json {
        let workspace_id = pyro.workspace_id(&arguments.workspace)?;
        let count = snapshots.len();
        return Ok(report::written(report::json(&SnapshotList { workspace_id, count, snapshots })));
    }
    let text: String = snapshots.iter().map(|snapshot| describe(snapshot) + "\n").collect();
    Ok(report::written(terminal::result(&text)))
}

/// `NAME [kind] memory=… created_at=… entry_count=… bytes_written=…`
fn describe(snapshot: &SnapshotInfo) -> String {
    let memory = if snapshot.memory { "yes" } else { "no" };
    format!(
        "{} [{}] memory={memory} created_at={} entry_count={} bytes_written={}",
        snapshot.snapshot_name,
        snapshot.kind,
        snapshot.created_at,
        snapshot.entry_count,
        snapshot.bytes_written
    )
}

pub(super) fn delete(pyro: &Pyro, arguments: &SnapshotDelete) -> Result<Status, Failure> {
    let name = arguments.name.as_str();
    let freed = pyro.delete_snapshot(&arguments.one.workspace, name)?;
    if arguments.one.json {
        let workspace_id = pyro.workspace_id(&arguments.one.workspace)?;
        let snapshot_name = name.to_owned();
        let result = SnapshotDeleted { workspace_id, snapshot_name, freed_bytes: freed };
        return Ok(report::written(report::json(&result)));
    }
    terminal::note(&format!("[workspace-snapshot-delete] snapshot_name={name} freed_bytes={freed}"));
    Ok(Status::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(memory_bytes: Option<u64>) -> SnapshotTaken {
        SnapshotTaken {
            entry_count: 12,
            bytes_written: 4096,
            write_ms: 1.25,
            standstill_ms: 9.0,
            memory_bytes,
            memory_ms: memory_bytes.map(|_| 7.5),
        }
    }

    /// The transcript's line begins ours, and what memory took is told of memory alone.
    #[test]
    fn the_line_is_the_transcript_s() {
        let line = "[workspace-snapshot-create] snapshot_name=a kind=named entry_count=12 bytes_written=4096 \
                    write_ms=1.2 standstill_ms=9.0";
        assert_eq!(marker("a", &taken(None)), line);
        assert_eq!(marker("a", &taken(Some(5))), format!("{line} memory_bytes=5 memory_ms=7.5"));
    }

    /// A list tells of each what it is and what it holds.
    #[test]
    fn snapshots_are_listed() {
        let snapshot = SnapshotInfo {
            snapshot_name: "baseline".to_owned(),
            kind: "baseline",
            memory: false,
            created_at: "2026-11-25T02:00:00Z".to_owned(),
            entry_count: 1,
            bytes_written: 2,
        };
        assert_eq!(
            describe(&snapshot),
            "baseline [baseline] memory=no created_at=2026-11-25T02:00:00Z entry_count=1 bytes_written=2"
        );
    }
}
