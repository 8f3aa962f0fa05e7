//! Directories in the making: `.partial-*` beside their final place, renamed when whole and durable, removed otherwise.
//! It removes nothing but such directories, and never crosses into another file system.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::archive::{WORKING_DIRECTORY, WORKING_PARTS};
use crate::child::ToolError;
use crate::disk::{DiskError, absent, sync_dir};
use crate::limits::CACHE_ENTRIES_MAX;
use crate::namespace::remove_foreign_files;
use crate::tools::Tools;

/// What every such directory's name begins with.
pub(crate) const PREFIX: &str = ".partial-";

/// A directory could not be made, finished or removed.
#[derive(Debug, thiserror::Error)]
pub enum PartialError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A tool failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

/// A directory in the making. Dropping it removes it with all that is in it.
#[derive(Debug)]
pub(crate) struct Partial {
    path: PathBuf,
    tools: Tools,
    installed: bool,
}

impl Partial {
    /// Makes an empty one in `parent`, for what will be `name` there.
    pub(crate) fn create(parent: &Path, name: &str, tools: &Tools) -> Result<Self, DiskError> {
        let made = tempfile::Builder::new().prefix(&format!("{PREFIX}{name}-")).tempdir_in(parent);
        let path = made.map_err(DiskError::io("create a directory in", parent))?.keep();
        Ok(Self { path, tools: tools.clone(), installed: false })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it durable and moves it to its place. What was there goes to the trash and is removed.
    pub(crate) fn install(mut self, place: &Path) -> Result<(), PartialError> {
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o755))
            .map_err(DiskError::io("set the mode of", &self.path))?;
        sync_dir(&self.path)?;
        discard(place, &self.tools)?;
        fs::rename(&self.path, place).map_err(DiskError::io("rename to", place))?;
        self.installed = true;
        if let Some(parent) = place.parent() {
            sync_dir(parent)?;
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.installed {
            // What cannot be removed now is removed by the next pull or prune.
            let _ = remove_tree(&self.path, &self.tools);
        }
    }
}

/// Takes a directory out of its place at once, then removes it. An absent one is no error.
pub(crate) fn discard(place: &Path, tools: &Tools) -> Result<(), PartialError> {
    let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else { return Ok(()) };
    let trash = Partial::create(parent, &name.to_string_lossy(), tools)?;
    match fs::rename(place, trash.path.join("trash")) {
        Ok(()) => sync_dir(parent)?,
        Err(error) if absent(&error) => {}
        Err(error) => return Err(DiskError::io("move away", place)(error).into()),
    }
    remove_tree(&trash.path, tools)
}

/// What [`remove_leftovers`] removed.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) bytes: u64,
}

/// Removes what interrupted runs left: all `.partial-*` of one name, or of every name. The caller holds the lock of those.
pub(crate) fn remove_leftovers(
    parent: &Path,
    name: Option<&str>,
    tools: &Tools,
) -> Result<Leftovers, PartialError> {
    let mut leftovers = Leftovers::default();
    let Ok(entries) = fs::read_dir(parent) else { return Ok(leftovers) };
    for entry in entries.flatten().take(CACHE_ENTRIES_MAX) {
        if is_leftover(&entry.file_name(), name) {
            leftovers.bytes = leftovers.bytes.saturating_add(disk_usage(&entry.path()));
            remove_tree(&entry.path(), tools)?;
            leftovers.paths.push(entry.path());
        }
    }
    Ok(leftovers)
}

/// The random part behind the name has no dash, so `debian_12-1.0.0` is not taken for the start of a longer name.
fn is_leftover(file_name: &OsStr, name: Option<&str>) -> bool {
    let rest = file_name.to_str().and_then(|file_name| file_name.strip_prefix(PREFIX));
    match (rest.and_then(|rest| rest.rsplit_once('-')), name) {
        (Some((found, _)), Some(name)) => found == name,
        (found, _) => found.is_some() && name.is_none(),
    }
}

/// How many bytes removing a tree gives back. Files with other links give nothing.
pub(crate) fn disk_usage(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return if metadata.nlink() > 1 { 0 } else { metadata.blocks().saturating_mul(512) };
    }
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries.flatten().map(|entry| disk_usage(&entry.path())).fold(0, u64::saturating_add)
}

/// Removes a tree. Files of subordinate ids, which an ordinary user cannot remove himself, go by way of a namespace.
pub(crate) fn remove_tree(path: &Path, tools: &Tools) -> Result<(), PartialError> {
    match remove_own_tree(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            remove_foreign_files(tools, path, WORKING_DIRECTORY, &WORKING_PARTS)?;
            Ok(remove_own_tree(path).map_err(DiskError::io("remove", path))?)
        }
        Err(error) => Err(DiskError::io("remove", path)(error).into()),
    }
}

fn remove_own_tree(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if absent(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.is_dir() {
        return fs::remove_file(path);
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?.path();
        // Something mounted there is not ours: rmdir below then says that the directory is busy.
        if fs::symlink_metadata(&entry).is_ok_and(|inner| inner.dev() == metadata.dev()) {
            remove_own_tree(&entry)?;
        }
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps: what is not finished is gone, what is finished is in its place, and the old one is replaced whole.
    #[test]
    fn partial_or_whole() {
        let parent = tempfile::tempdir().unwrap();
        let tools = Tools::default();
        let dropped = Partial::create(parent.path(), "thing", &tools).unwrap();
        fs::write(dropped.path().join("file"), "x").unwrap();
        drop(dropped);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        let place = parent.path().join("thing");
        for content in ["old", "new"] {
            let partial = Partial::create(parent.path(), "thing", &tools).unwrap();
            fs::write(partial.path().join(content), content).unwrap();
            partial.install(&place).unwrap();
        }
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
        let names: Vec<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["new"]);
    }

    /// Keeps: leftovers of one name are removed, those of another (perhaps being pulled right now) are not.
    #[test]
    fn leftovers_are_told_apart() {
        let parent = tempfile::tempdir().unwrap();
        for name in [".partial-debian_12-1.0.0-abc", ".partial-debian_12-base-1.0.0-abc", "debian_12-1.0.0"] {
            fs::create_dir_all(parent.path().join(name).join("deep")).unwrap();
        }
        remove_leftovers(parent.path(), Some("debian_12-1.0.0"), &Tools::default()).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".partial-debian_12-base-1.0.0-abc", "debian_12-1.0.0"]);
    }
}
