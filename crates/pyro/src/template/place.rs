//! Where templates lie, and what unfinished ones leave there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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

/// Which template lies in a place now: one that was made anew is another, under the same name.
pub(crate) fn identity(template: &Path) -> Option<u64> {
    fs::metadata(template).ok().map(|directory| directory.ino())
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
