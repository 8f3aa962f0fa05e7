//! Templates that nothing can use any more. A running VM keeps the files of its template until it ends,
//! whatever is removed here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pyro_store::{FileLock, LockMode};

use crate::failure::unusable;
use crate::template::place::{disk_bytes, family, remove_drafts};
use crate::{Failure, Pyro};

impl Pyro {
    /// Removes templates of environments that are gone or have changed, of another agent or QEMU, and drafts
    /// that a crash left; gives the bytes freed.
    pub(crate) fn prune_templates(&self) -> Result<u64, Failure> {
        let useful = self.useful_families();
        let Ok(families) = fs::read_dir(self.config.directories.templates()) else { return Ok(0) };
        let mut freed = 0;
        for family in families.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            let name = family.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if useful.contains(name) {
                freed += remove_idle_drafts(&family)?;
            } else if let Some(_nobody_makes_one) = idle(&family) {
                freed += disk_bytes(&family);
                fs::remove_dir_all(&family).map_err(|error| unusable(&family, error))?;
            }
        }
        // They hold the memory of what is gone.
        self.drain_orphans();
        Ok(freed)
    }

    fn useful_families(&self) -> BTreeSet<String> {
        let Ok(qemu) = self.qemu() else { return BTreeSet::new() };
        let vmm = format!("qemu {}", qemu.version());
        pyro_image::list(&self.cache())
            .into_iter()
            .filter_map(|(_, installed)| installed.ok())
            .filter_map(|environment| {
                let digest = environment.manifest().rootfs.digest.to_string();
                Some(family(&self.kit(&environment).ok()?, &digest, &vmm))
            })
            .collect()
    }
}

/// Every lock of a family; `None` while one of its templates is being made.
fn idle(family: &Path) -> Option<Vec<FileLock>> {
    let locks = fs::read_dir(family).into_iter().flatten().flatten().map(|entry| entry.path());
    locks
        .filter(|path| path.extension().is_some_and(|extension| extension == "lock"))
        .map(|lock| FileLock::try_take(&lock, LockMode::Exclusive).ok())
        .collect()
}

/// Drafts of every template that nobody makes right now.
fn remove_idle_drafts(family: &Path) -> Result<u64, Failure> {
    let mut freed = 0;
    for entry in fs::read_dir(family).into_iter().flatten().flatten() {
        let lock = entry.path();
        if lock.extension().is_some_and(|extension| extension == "lock")
            && let Ok(_idle) = FileLock::try_take(&lock, LockMode::Exclusive)
        {
            freed += remove_drafts(&lock.with_extension(""))?;
        }
    }
    Ok(freed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A family in which a template is being made is not idle.
    #[test]
    fn a_making_keeps_its_family() {
        let family = tempfile::tempdir().unwrap();
        let busy = FileLock::take(&family.path().join("aa.lock"), LockMode::Exclusive).unwrap();
        fs::write(family.path().join("bb.lock"), b"").unwrap();
        assert!(idle(family.path()).is_none());
        drop(busy);
        assert_eq!(idle(family.path()).map(|locks| locks.len()), Some(2));
    }

    /// Only drafts of that very template go, and only when nobody makes it.
    #[test]
    fn drafts_of_others_stay() {
        let family = tempfile::tempdir().unwrap();
        for name in [".aa.x1", ".bb.x2", "aa"] {
            fs::create_dir(family.path().join(name)).unwrap();
        }
        let busy = FileLock::take(&family.path().join("bb.lock"), LockMode::Exclusive).unwrap();
        fs::write(family.path().join("aa.lock"), b"").unwrap();
        remove_idle_drafts(family.path()).unwrap();
        let left = |name: &str| family.path().join(name).exists();
        assert!(!left(".aa.x1") && left(".bb.x2") && left("aa"));
        drop(busy);
        remove_idle_drafts(family.path()).unwrap();
        assert!(!family.path().join(".bb.x2").exists());
    }
}
