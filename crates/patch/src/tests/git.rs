//! A directory of files, and git on it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use crate::{FileMode, Side};

/// A side that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) mode: FileMode,
    pub(super) bytes: Vec<u8>,
}

impl Held {
    pub(super) fn side(&self) -> Side<'_> {
        Side { mode: self.mode, bytes: &self.bytes }
    }
}

pub(super) fn side(held: Option<&Held>) -> Option<Side<'_>> {
    held.map(Held::side)
}

/// A git that heeds no one's settings.
pub(super) fn git(directory: &Path, arguments: &[&OsStr]) -> Output {
    Command::new("git")
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CEILING_DIRECTORIES", directory.parent().unwrap_or(directory))
        .output()
        .expect("git runs")
}

pub(super) fn place(root: &Path, path: &[u8], held: &Held) {
    let file = root.join(OsStr::from_bytes(path));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    if held.mode.is_symlink() {
        symlink(OsStr::from_bytes(&held.bytes), &file).unwrap();
        return;
    }
    fs::write(&file, &held.bytes).unwrap();
    let mode = if held.mode == FileMode::Executable { 0o755 } else { 0o644 };
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
}

pub(super) fn found(root: &Path, path: &[u8]) -> Option<Held> {
    let file = root.join(OsStr::from_bytes(path));
    let metadata = fs::symlink_metadata(&file).ok()?;
    if metadata.is_dir() {
        return None;
    }
    if metadata.is_symlink() {
        let bytes = fs::read_link(&file).unwrap().into_os_string().into_vec();
        return Some(Held { mode: FileMode::Symlink, bytes });
    }
    let mode = FileMode::of_permissions(metadata.permissions().mode());
    Some(Held { mode, bytes: fs::read(&file).unwrap() })
}

/// Applies a patch with git's defaults; what it says when it refuses.
pub(super) fn apply(root: &Path, patch: &[u8], reverse: bool) -> Result<(), String> {
    let file = root.join(".patch-under-test");
    fs::write(&file, patch).unwrap();
    let mut arguments: Vec<&OsStr> = vec![OsStr::new("apply")];
    if reverse {
        arguments.push(OsStr::new("--reverse"));
    }
    arguments.push(file.as_os_str());
    let output = git(root, &arguments);
    fs::remove_file(&file).unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// A patch that git makes of the directories `a` and `b` below `root`, whose names are its prefixes.
pub(super) fn diff(root: &Path) -> Vec<u8> {
    let arguments = ["diff", "--no-index", "--no-prefix", "--binary", "-M", "a", "b"].map(OsStr::new);
    git(root, &arguments).stdout
}

/// A directory for one test.
pub(super) fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}
