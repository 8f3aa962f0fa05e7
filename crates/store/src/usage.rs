//! How much room workspaces take: for themselves, and together with others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::collect::BLOCK_BYTES;
use crate::{
    Directories, KeptImage, LayerId, Store, StoreError, WorkspaceId, WorkspaceRecord, WorkspaceState,
};

/// What one workspace takes of the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceUsage {
    /// Whose.
    pub id: WorkspaceId,
    /// Bytes that are its own: layers, images of memories, history. Nothing else needs them.
    pub private_bytes: u64,
    /// Bytes that something else refers to too: layers of its kin, a template's disk, the images it stands on.
    pub shared_bytes: u64,
}

/// Which layers each workspace needs, also those whose rows this release cannot read.
pub(crate) const LAYERS: &str = "
    WITH RECURSIVE needed (workspace, layer) AS (
        SELECT id, coalesce(head, id) FROM workspaces
        UNION SELECT id, baseline FROM workspaces WHERE baseline IS NOT NULL
        UNION SELECT id, paused FROM workspaces WHERE paused IS NOT NULL
        UNION SELECT workspace_id, layer FROM snapshots
        UNION SELECT needed.workspace, layers.parent
            FROM needed JOIN layers ON layers.id = needed.layer WHERE layers.parent IS NOT NULL)
    SELECT workspace, layer FROM needed";

const MEMORIES: &str = "
    SELECT id, paused FROM workspaces WHERE paused IS NOT NULL
    UNION SELECT workspace_id, layer FROM snapshots WHERE has_memory <> 0";

/// Which layers, or images of memories, each workspace needs, and how many workspaces need each.
#[derive(Debug, Default)]
struct Needs {
    by_workspace: BTreeMap<String, BTreeSet<String>>,
    counts: BTreeMap<String, u64>,
}

impl Store {
    /// What each workspace that is there takes.
    pub fn usage(&self, directories: &Directories) -> Result<Vec<WorkspaceUsage>, StoreError> {
        let (layers, memories) = (self.needs(LAYERS)?, self.needs(MEMORIES)?);
        let records = self.all_workspaces()?;
        let there = records.iter().filter(|record| record.state == WorkspaceState::Ready);
        Ok(there
            .map(|record| {
                let mut usage = of_files(directories, record);
                for layer in layers.of(record) {
                    let (bytes, has_other_names) = taken_by(&directories.layer(&layer));
                    usage.add(bytes, has_other_names || layers.is_shared(&layer));
                }
                for layer in memories.of(record) {
                    usage.add(taken_below(&directories.memory(&layer)), memories.is_shared(&layer));
                }
                usage
            })
            .collect())
    }

    fn needs(&self, sql: &str) -> Result<Needs, StoreError> {
        let query = || -> rusqlite::Result<Vec<(String, String)>> {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let mut needs = Needs::default();
        for (workspace, layer) in query().map_err(|error| self.fail(error))? {
            *needs.counts.entry(layer.clone()).or_default() += 1;
            needs.by_workspace.entry(workspace).or_default().insert(layer);
        }
        Ok(needs)
    }
}

impl Needs {
    fn of(&self, record: &WorkspaceRecord) -> Vec<LayerId> {
        let layers = self.by_workspace.get(record.workspace.id.as_str()).into_iter().flatten();
        layers.filter_map(|layer| LayerId::parse(layer).ok()).collect()
    }

    fn is_shared(&self, layer: &LayerId) -> bool {
        self.counts.get(layer.as_str()).is_some_and(|count| *count > 1)
    }
}

impl WorkspaceUsage {
    fn add(&mut self, bytes: u64, is_shared: bool) {
        let sum = if is_shared { &mut self.shared_bytes } else { &mut self.private_bytes };
        *sum = sum.saturating_add(bytes);
    }
}

/// Without layers and memories.
fn of_files(directories: &Directories, record: &WorkspaceRecord) -> WorkspaceUsage {
    let workspace = &record.workspace;
    let place = directories.workspace(&workspace.id);
    let kept = [KeptImage::Base(&workspace.base_digest), KeptImage::Blank(&workspace.blank_recipe)];
    WorkspaceUsage {
        id: workspace.id.clone(),
        private_bytes: taken_below(&place.directory).saturating_add(taken_below(&place.history())),
        shared_bytes: kept.iter().map(|image| taken_by(&directories.kept_image(*image)).0).sum(),
    }
}

/// What a file takes, and whether it has another name; nothing for what is not there.
fn taken_by(path: &Path) -> (u64, bool) {
    match fs::symlink_metadata(path) {
        Ok(metadata) => (metadata.blocks() * BLOCK_BYTES, metadata.nlink() > 1),
        Err(_) => (0, false),
    }
}

/// What the files in a directory take.
fn taken_below(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let files = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files.map(|entry| taken_by(&entry.path()).0).sum()
}

#[cfg(test)]
mod tests;
