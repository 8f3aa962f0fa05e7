//! Takes environments, kernels and guest kits away: one by name, or all that nothing refers to. What a VM uses stays.

use std::collections::BTreeSet;
use std::path::Path;

use crate::cache::Cache;
use crate::catalog::EnvironmentName;
use crate::child::ToolError;
use crate::digest::Digest;
use crate::disk::DiskError;
use crate::guest;
use crate::installed::{HOLD_NAME, InstalledEnvironment, list};
use crate::lock::{Lock, LockError, Mode};
use crate::partial::{PartialError, discard, disk_usage, remove_leftovers};
use crate::progress::{Cancel, Canceled};
use crate::tools::Tools;

/// An environment could not be removed, or the cache not pruned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// There is nothing to remove.
    #[error("environment {name} is not installed")]
    NotInstalled {
        /// Its name.
        name: EnvironmentName,
    },
    /// A VM uses it, or it is being pulled.
    #[error("environment {name} is in use")]
    InUse {
        /// Its name.
        name: EnvironmentName,
    },
    /// The caller stopped the wait for a running pull.
    #[error(transparent)]
    Canceled(#[from] Canceled),
    /// A tool failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What [`prune`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// What is gone, as paths under the cache directory.
    pub removed: Vec<String>,
    /// What stays because a VM uses it, though nothing else needs it.
    pub in_use: Vec<String>,
    /// How many bytes that gave back.
    pub bytes_freed: u64,
}

/// Removes an environment, whole or damaged; gives the bytes that were freed. Its kernel stays until [`prune`].
pub fn remove(cache: &Cache, name: EnvironmentName, tools: &Tools) -> Result<u64, RemoveError> {
    let directory = cache.environment_dir(name);
    if !directory.is_dir() {
        return Err(RemoveError::NotInstalled { name });
    }
    let in_use = || RemoveError::InUse { name };
    let lock_file = cache.environment_lock_file(&name.directory_name());
    let _lock = Lock::attempt(&lock_file, Mode::Exclusive)?.ok_or_else(in_use)?;
    remove_unused(&directory, tools)?.ok_or_else(in_use)
}

/// Removes what nothing refers to: environments the catalog does not have in that version, damaged ones, what crashed pulls
/// left, kernels of no environment, and guest kits of no such kernel or of another agent than the given one.
/// Waits for running pulls.
pub fn prune(
    cache: &Cache,
    agent: Option<Digest>,
    tools: &Tools,
    cancel: &Cancel,
) -> Result<Pruned, RemoveError> {
    if !cache.root().is_dir() {
        return Ok(Pruned::default());
    }
    cache.create()?;
    let _alone = Lock::wait(&cache.lock_file(), Mode::Exclusive, cancel, || {})?;
    let mut pruning = Pruning { cache, tools, pruned: Pruned::default() };
    let installed: Vec<_> = list(cache).into_iter().filter_map(|(_, environment)| environment.ok()).collect();
    pruning.environments(&installed)?;
    let kernels = pruning.kernels(&installed)?;
    pruning.guests(&kernels, agent)?;
    pruning.leftovers()?;
    Ok(pruning.pruned)
}

struct Pruning<'a> {
    cache: &'a Cache,
    tools: &'a Tools,
    pruned: Pruned,
}

impl Pruning<'_> {
    fn environments(&mut self, installed: &[InstalledEnvironment]) -> Result<(), RemoveError> {
        let parent = self.cache.environments_dir();
        for name in self.cache.entries(&parent) {
            let directory = parent.join(&name);
            if !installed.iter().any(|environment| environment.directory() == directory) {
                self.remove(&directory)?;
            }
        }
        Ok(())
    }

    /// Gives the kernels that stay.
    fn kernels(&mut self, installed: &[InstalledEnvironment]) -> Result<BTreeSet<String>, RemoveError> {
        let mut used: BTreeSet<_> =
            installed.iter().map(|environment| environment.manifest().kernel.key.clone()).collect();
        if !self.pruned.in_use.is_empty() {
            // What an environment out of the catalog uses is not known: its VM must live on.
            used.extend(self.cache.entries(&self.cache.kernels_dir()));
        }
        for key in self.cache.entries(&self.cache.kernels_dir()) {
            if !used.contains(&key) {
                self.remove(&self.cache.kernels_dir().join(key))?;
            }
        }
        Ok(used)
    }

    fn guests(&mut self, kernels: &BTreeSet<String>, agent: Option<Digest>) -> Result<(), RemoveError> {
        for name in self.cache.entries(&self.cache.guest_dir()) {
            let directory = self.cache.guest_dir().join(name);
            let manifest = guest::manifest_in(&directory).ok().flatten();
            let needed = manifest.is_some_and(|manifest| {
                kernels.contains(&manifest.kernel_key)
                    && agent.is_none_or(|agent| agent == manifest.agent_digest)
            });
            if !needed {
                self.remove(&directory)?;
            }
        }
        Ok(())
    }

    /// No pull runs: this process holds the cache alone. So whatever is in the making is left by a crash.
    fn leftovers(&mut self) -> Result<(), RemoveError> {
        for parent in [self.cache.environments_dir(), self.cache.kernels_dir(), self.cache.guest_dir()] {
            let freed = remove_leftovers(&parent, None, self.tools)?;
            self.pruned.bytes_freed = self.pruned.bytes_freed.saturating_add(freed.bytes);
            let paths: Vec<_> = freed.paths.iter().map(|path| self.relative(path)).collect();
            self.pruned.removed.extend(paths);
        }
        Ok(())
    }

    fn remove(&mut self, directory: &Path) -> Result<(), RemoveError> {
        let path = self.relative(directory);
        match remove_unused(directory, self.tools)? {
            Some(bytes) => {
                self.pruned.bytes_freed = self.pruned.bytes_freed.saturating_add(bytes);
                self.pruned.removed.push(path);
            }
            None => self.pruned.in_use.push(path),
        }
        Ok(())
    }

    fn relative(&self, path: &Path) -> String {
        path.strip_prefix(self.cache.root()).unwrap_or(path).display().to_string()
    }
}

/// Removes a directory unless somebody holds it; gives the bytes freed.
fn remove_unused(directory: &Path, tools: &Tools) -> Result<Option<u64>, RemoveError> {
    let hold = directory.join(HOLD_NAME);
    let _hold = match hold.exists() {
        true => match Lock::attempt(&hold, Mode::Exclusive)? {
            Some(lock) => Some(lock),
            None => return Ok(None),
        },
        false => None,
    };
    let bytes = disk_usage(directory);
    discard(directory, tools)?;
    Ok(Some(bytes))
}

impl From<PartialError> for RemoveError {
    fn from(error: PartialError) -> Self {
        match error {
            PartialError::Disk(error) => error.into(),
            PartialError::Tool(error) => error.into(),
        }
    }
}

impl From<LockError> for RemoveError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Disk(error) => error.into(),
            LockError::Canceled(canceled) => canceled.into(),
        }
    }
}
