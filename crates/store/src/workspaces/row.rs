//! From a row to a workspace's record.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rusqlite::Row;

use super::{NewWorkspace, Origin, Seed, SeedKind, WorkspaceRecord, WorkspaceState};
use crate::columns::{from_integer, from_ms};
use crate::{ImageKey, Labels, LayerId, VmId, WorkspaceId, WorkspaceName};

/// Every column that [`read`] looks at.
pub(super) const SELECT: &str =
    "SELECT id, name, environment, base_digest, blank_recipe, accelerator, vcpu_count,
    memory_mib, ttl_seconds, network_policy, seed_kind, seed_path, created_ms, last_used_ms, state,
    next_sequence, reset_count, vm_id, changed_ms, taken_ms, coalesce(head, id), baseline, paused
    FROM workspaces";

/// `None` for a row whose keys are none: they name no files and are never acted on.
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Option<WorkspaceRecord>> {
    let text = |column: usize| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let optional = |column: usize| row.get::<_, Option<String>>(column);
    let (Ok(id), Ok(base_digest), Ok(blank_recipe), Some(state), Ok(head)) = (
        WorkspaceId::parse(text(0)?),
        ImageKey::parse(text(3)?),
        ImageKey::parse(text(4)?),
        WorkspaceState::parse(text(14)?),
        LayerId::parse(text(20)?),
    ) else {
        return Ok(None);
    };
    let seed_kind = optional(10)?.and_then(|kind| SeedKind::parse(&kind));
    let seed_path: Option<Vec<u8>> = row.get(11)?;
    let seed = seed_kind
        .zip(seed_path)
        .map(|(kind, path)| Seed { kind, path: PathBuf::from(OsString::from_vec(path)) });
    let layer = |column| optional(column).map(|id| id.and_then(|id| LayerId::parse(&id).ok()));
    let (baseline, paused) = (layer(21)?, layer(22)?);
    let number = |column: usize| row.get::<_, i64>(column).map(from_integer);
    Ok(Some(WorkspaceRecord {
        workspace: NewWorkspace {
            id,
            name: optional(1)?.and_then(|name| WorkspaceName::parse(&name).ok()),
            labels: Labels::default(),
            environment: row.get(2)?,
            base_digest,
            blank_recipe,
            accelerator: row.get(5)?,
            vcpu_count: row.get(6)?,
            memory_mib: row.get(7)?,
            ttl_seconds: row.get::<_, Option<i64>>(8)?.map(from_integer),
            seed,
            head: head.clone(),
            origin: Origin::Layer(baseline.clone().unwrap_or_else(|| head.clone())),
        },
        head,
        baseline,
        paused,
        network_policy: row.get(9)?,
        created: from_ms(row.get(12)?),
        last_used: from_ms(row.get(13)?),
        state,
        next_sequence: number(15)?,
        reset_count: row.get(16)?,
        vm_id: optional(17)?.and_then(|id| VmId::parse(&id).ok()),
        changed: row.get::<_, Option<i64>>(18)?.map(from_ms),
        taken: row.get::<_, Option<i64>>(19)?.map(from_ms),
    }))
}
