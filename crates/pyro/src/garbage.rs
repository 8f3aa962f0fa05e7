//! Space that nothing needs any more, given back. What somebody refers to, and what is being made, stays.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use crate::limits::COLLECT_PATIENCE;
use crate::merge::Merging;
use crate::{Failure, Pyro};

/// What a pruning gave back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Pruned {
    /// Bytes in all.
    pub freed_bytes: u64,
    /// Whether others were making or opening layers all the time, so that none was looked at.
    pub was_busy: bool,
}

/// What was given back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Freed {
    /// Bytes of templates that no VM can use any more.
    pub template_bytes: u64,
    /// Bytes of images that no workspace stands on any more.
    pub image_bytes: u64,
    /// Layers that nothing leads to.
    pub layers: u64,
    /// Images of memories that nothing refers to.
    pub memories: u64,
    /// Bytes of both.
    pub layer_bytes: u64,
    /// Pairs of layers that were made one.
    pub merged: u64,
    /// Bytes of that.
    pub merged_bytes: u64,
    /// Pairs that can be made one when their workspaces are stopped.
    pub waiting: u64,
    /// Bytes in all.
    pub freed_bytes: u64,
    /// Whether others were making or opening layers all the time, so that some were not looked at.
    pub was_busy: bool,
    /// Why pairs of layers could not be made one; they are as they were.
    pub failures: Vec<String>,
}

impl Pyro {
    /// Gives back what no workspace needs any more. `on_pair` is told before layers are merged how many pairs have been.
    pub fn collect_workspaces(&self, on_pair: impl FnMut(u64)) -> Result<Freed, Failure> {
        let directories = &self.config.directories;
        let mut freed = Freed::default();
        let collected = self.store.collect_layers_within(directories, COLLECT_PATIENCE)?;
        let merging = Merging { workspace: None, bytes_max: u64::MAX, holds_start: false };
        let merged = self.merge_layers(&merging, on_pair)?;
        // What a merger could not remove at once.
        let again = self.store.collect_layers(directories)?;
        freed.layers = collected.layers + again.layers;
        freed.memories = collected.memories + again.memories;
        freed.layer_bytes = collected.bytes + again.bytes;
        freed.merged = merged.pairs;
        freed.merged_bytes = merged.bytes;
        freed.waiting = merged.waiting;
        freed.was_busy = collected.was_busy || merged.was_busy;
        freed.failures = merged.failures.iter().map(Failure::to_string).collect();
        freed.freed_bytes = freed.layer_bytes + freed.merged_bytes;
        Ok(freed)
    }

    /// Gives back what nothing needs any more: templates, images, layers, memories.
    pub fn collect_garbage(&self, on_pair: impl FnMut(u64)) -> Result<Freed, Failure> {
        let mut freed = self.collect_workspaces(on_pair)?;
        let images = self.config.directories.bases();
        let before = own_bytes(&images);
        self.store.collect_images_within(&self.config.directories, COLLECT_PATIENCE)?;
        freed.image_bytes = before.saturating_sub(own_bytes(&images));
        freed.template_bytes = self.prune_templates()?;
        freed.freed_bytes += freed.image_bytes + freed.template_bytes;
        Ok(freed)
    }
}

/// Bytes of the files in a directory that have no other name: the removal of one that has gives nothing back.
fn own_bytes(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| entry.metadata().ok());
    files.filter(|file| file.is_file() && file.nlink() == 1).map(|file| file.blocks() * 512).sum()
}
