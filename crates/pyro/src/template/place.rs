//! Where templates lie, and what unfinished ones leave there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pyro_image::GuestKit;

use crate::Failure;
use crate::failure::unusable;
use crate::limits::RELEASE;

/// Templates of one root image, kernel, agent and QEMU lie together, whatever their shapes: they are
/// useful, and useless, together.
pub(crate) fn family(kit: &GuestKit, base_digest: &str, vmm: &str) -> String {
    let text = format!("{}\n{base_digest}\n{vmm}\n{RELEASE}\n", kit.digest);
    pyro_image::Digest::of(text.as_bytes()).short()
}

/// Which template lies in a place: one that was made anew is another, under the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    inode: u64,
    /// Seconds and nanoseconds; it cannot be set back.
    changed: (i64, i64),
}

/// Which template lies in a place now.
pub(crate) fn identity(template: &Path) -> Option<Identity> {
    let directory = fs::metadata(template).ok()?;
    Some(Identity { inode: directory.ino(), changed: (directory.ctime(), directory.ctime_nsec()) })
}

/// What the VMs parked on the template that lies in a place now are filed under; `None` where there is none.
pub(crate) fn lot(template: &Path) -> Option<String> {
    let key = template.file_name()?.to_str()?;
    let Identity { inode, changed: (seconds, nanoseconds) } = identity(template)?;
    let text = format!("{key}\n{inode}\n{seconds}.{nanoseconds}\n");
    Some(pyro_image::Digest::of(text.as_bytes()).short())
}

/// The templates that there are.
pub(crate) fn all(templates: &Path) -> impl Iterator<Item = PathBuf> {
    let families = fs::read_dir(templates).into_iter().flatten().flatten();
    families
        .flat_map(|family| fs::read_dir(family.path()).into_iter().flatten().flatten())
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
}

/// Removes what unfinished makings of one template left; the caller holds the template's lock.
pub(crate) fn remove_drafts(template: &Path) -> Result<u64, Failure> {
    let (Some(family), Some(key)) = (template.parent(), template.file_name().and_then(|name| name.to_str()))
    else {
        return Ok(0);
    };
    let prefix = format!(".{key}.");
    let mut freed = 0;
    for draft in fs::read_dir(family).into_iter().flatten().flatten() {
        if draft.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
            freed += disk_bytes(&draft.path());
            fs::remove_dir_all(draft.path()).map_err(|error| unusable(&draft.path(), error))?;
        }
    }
    Ok(freed)
}

/// Bytes that files of a directory take on disk; sparse ones take less than their length.
pub(crate) fn disk_bytes(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, metadata)| if metadata.is_dir() { disk_bytes(&path) } else { metadata.blocks() * 512 })
        .sum()
}
