//! How much room things take: for themselves, and together with others.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pyro_image::EnvironmentName;
use schemars::JsonSchema;
use serde::Serialize;

use crate::template::place::family;
use crate::{Failure, Pyro};

/// What a workspace takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WorkspaceSize {
    /// Bytes that it alone refers to.
    pub private_bytes: u64,
    /// Bytes that others refer to as well.
    pub shared_bytes: u64,
}

/// What an environment takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EnvironmentSize {
    /// Bytes of its root image.
    pub rootfs_bytes: u64,
    /// Bytes of its kernel.
    pub kernel_bytes: u64,
    /// Bytes of the templates that were made of it.
    pub template_bytes: u64,
    /// Of all those, bytes that go with it.
    pub private_bytes: u64,
    /// Bytes that others refer to as well: environments with the same kernel, workspaces that stand on its image.
    pub shared_bytes: u64,
}

impl Pyro {
    /// What each workspace takes, by its id.
    pub fn workspace_sizes(&self) -> Result<BTreeMap<String, WorkspaceSize>, Failure> {
        let usage = self.store.usage(&self.config.directories)?;
        let size = |private_bytes, shared_bytes| WorkspaceSize { private_bytes, shared_bytes };
        Ok(usage
            .into_iter()
            .map(|one| (one.id.as_str().to_owned(), size(one.private_bytes, one.shared_bytes)))
            .collect())
    }

    /// What each installed environment takes, by its name.
    pub fn environment_sizes(&self) -> BTreeMap<String, EnvironmentSize> {
        let vmm = self.qemu().ok().map(|qemu| format!("qemu {}", qemu.version()));
        EnvironmentName::all()
            .filter_map(|name| self.installed(name.as_str()).ok())
            .map(|environment| {
                let digest = environment.manifest().rootfs.digest.to_string();
                let family = vmm
                    .as_ref()
                    .zip(self.kit(&environment).ok())
                    .map(|(vmm, kit)| self.config.directories.templates().join(family(&kit, &digest, vmm)));
                let mut size = EnvironmentSize {
                    rootfs_bytes: bytes_of(&environment.rootfs()),
                    kernel_bytes: bytes_of(&environment.vmlinux()),
                    ..EnvironmentSize::default()
                };
                let mut files = files_below(environment.directory());
                if let Some(family) = family {
                    let templates = files_below(&family);
                    size.template_bytes = templates.iter().map(|path| bytes_of(path)).sum();
                    files.extend(templates);
                }
                for file in files.iter().filter_map(|path| fs::metadata(path).ok()) {
                    let sum =
                        if file.nlink() == 1 { &mut size.private_bytes } else { &mut size.shared_bytes };
                    *sum += allocated(&file);
                }
                (environment.name().to_string(), size)
            })
            .collect()
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}

fn bytes_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| allocated(&file))
}

/// Sparse files take less than their length.
fn allocated(file: &Metadata) -> u64 {
    file.blocks() * 512
}
