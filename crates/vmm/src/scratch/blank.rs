//! The blank file system, made by `mke2fs` on a sparse file.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use super::{ScratchError, failed, parent, sync_directory};
use crate::limits::{MAKE_FILESYSTEM_MAX, SCRATCH_BYTES, STDERR_TAIL_BYTES};
use crate::qemu::find_program;

/// Names how a blank is made, for a template's key: it changes with the options below.
pub const BLANK_RECIPE: &str = "ext4-1";

/// Directories `mke2fs` is in that are often not on a user's `PATH`.
const SYSTEM_DIRECTORIES: [&str; 2] = ["/usr/sbin", "/sbin"];

/// How often a running `mke2fs` is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Everything fixed, so that the same version of the tool makes the same file. No reserved blocks (the guest
/// is all root); a small journal, because it is all an idle file system ever writes; all metadata at the
/// front, so that an overlay touches few clusters. Discarding, which is the default and makes holes of a
/// file, tells the tool that the inode tables are zero already: the guest's kernel then does not go over them
/// in the background, which would write half a gigabyte into every overlay.
const OPTIONS: &[&str] = &[
    "-q",
    "-F",
    "-t",
    "ext4",
    "-b",
    "4096",
    "-I",
    "256",
    "-i",
    "16384",
    "-m",
    "0",
    "-G",
    "256",
    "-J",
    "size=64",
    "-O",
    FEATURES,
    "-L",
    "pyro-scratch",
    "-U",
    "7079726f-0000-4000-8000-736372617463",
    "-E",
    "discard,lazy_journal_init=1,root_owner=0:0,hash_seed=7079726f-0000-4000-8000-68617368736d",
    "-e",
    "remount-ro",
];

/// What ext4 has had since Linux 4.x, named one by one so that the host's `mke2fs.conf` plays no part; no
/// room kept for growing.
const FEATURES: &str = "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,\
                        large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

/// The time recorded in the blank: it is older than any clock a guest starts with.
const FILESYSTEM_TIME: &str = "1577836800";

/// Makes a blank file system of `bytes` at `path`: sparse, mode 0444, stored before this returns, there whole
/// or not at all. `mke2fs` is looked for on `search_path` (a `PATH` value) and in the system's directories.
/// Blocks for some 100 ms.
///
/// # Errors
/// When the tool is missing or fails, or there is no room.
pub fn create_blank(path: &Path, bytes: u64, search_path: &OsStr) -> Result<(), ScratchError> {
    if !SCRATCH_BYTES.contains(&bytes) {
        return Err(ScratchError::Size { bytes });
    }
    let tool = find_tool(search_path).ok_or(ScratchError::NoTool)?;
    let file = tempfile::Builder::new().prefix(".blank.").tempfile_in(parent(path)).map_err(failed(path))?;
    file.as_file().set_len(bytes).map_err(failed(path))?;
    make_filesystem(&tool, file.path())?;
    keep(file, path)
}

fn keep(file: NamedTempFile, path: &Path) -> Result<(), ScratchError> {
    file.as_file().set_permissions(Permissions::from_mode(0o444)).map_err(failed(path))?;
    file.as_file().sync_all().map_err(failed(path))?;
    file.persist(path).map_err(|error| failed(path)(error.error))?;
    sync_directory(path).map_err(failed(path))
}

fn find_tool(search_path: &OsStr) -> Option<PathBuf> {
    let name = Path::new("mke2fs");
    let system = || SYSTEM_DIRECTORIES.iter().map(|directory| Path::new(directory).join(name));
    find_program(name, search_path).or_else(|| system().find(|path| path.is_file()))
}

fn make_filesystem(tool: &Path, file: &Path) -> Result<(), ScratchError> {
    let mut child = Command::new(tool)
        .args(OPTIONS)
        .arg(file)
        .env_clear()
        .env("E2FSPROGS_FAKE_TIME", FILESYSTEM_TIME)
        .env("MKE2FS_CONFIG", "/dev/null")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed(tool))?;
    if wait_success(&mut child) { Ok(()) } else { Err(ScratchError::Tool { output: last_words(&mut child) }) }
}

/// True when the tool has ended well in time; ends it otherwise.
fn wait_success(child: &mut Child) -> bool {
    let deadline = Instant::now() + MAKE_FILESYSTEM_MAX;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => thread::sleep(LOOK_EVERY),
            Err(_) => return false,
        }
    }
    // It is ours and has had its time; that it ended just now is as good.
    let _gone = child.kill();
    let _reaped = child.wait();
    false
}

fn last_words(child: &mut Child) -> String {
    let mut words = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // What cannot be read is not shown.
        let _read = stderr.take(STDERR_TAIL_BYTES as u64).read_to_end(&mut words);
    }
    String::from_utf8_lossy(&words).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn path() -> std::ffi::OsString {
        std::env::var_os("PATH").unwrap_or_default()
    }

    fn equal(a: &Path, b: &Path) -> bool {
        let [mut a, mut b] = [a, b].map(|path| std::fs::File::open(path).unwrap());
        let (mut from_a, mut from_b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
        while a.read_exact(&mut from_a).is_ok() {
            b.read_exact(&mut from_b).unwrap();
            if from_a != from_b {
                return false;
            }
        }
        b.read(&mut from_b).unwrap() == 0
    }

    #[test]
    fn a_blank_is_sparse_read_only_and_reproducible() {
        // Promise: one blank serves every VM, costs little and is never written.
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        create_blank(&a, 256 << 20, &path()).unwrap();
        create_blank(&b, 256 << 20, &path()).unwrap();
        let meta = a.metadata().unwrap();
        assert_eq!(meta.mode() & 0o777, 0o444);
        assert_eq!(meta.len(), 256 << 20);
        assert!(meta.blocks() * 512 < 16 << 20, "{} blocks", meta.blocks());
        assert!(equal(&a, &b), "two blanks differ");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_missing_directory_leaves_nothing() {
        // Promise: a failure names the file and leaves none.
        let directory = tempfile::tempdir().unwrap();
        let error = create_blank(&directory.path().join("x/y"), 256 << 20, &path()).unwrap_err();
        assert!(matches!(error, ScratchError::File { .. }), "{error}");
    }

    #[test]
    fn a_failing_tool_is_quoted() {
        // Promise: what mke2fs says reaches the user.
        let directory = tempfile::tempdir().unwrap();
        let [draft, tool] = ["draft", "mke2fs"].map(|name| directory.path().join(name));
        std::fs::write(&draft, "#!/bin/sh\necho no room >&2\nexit 1\n").unwrap();
        // Written by another process: what this one writes, another test's fork may have open when it is to be executed.
        let installed = Command::new("install").args(["-m", "755"]).args([&draft, &tool]).status();
        assert!(installed.unwrap().success());
        let target = directory.path().join("blank");
        let error = create_blank(&target, 256 << 20, directory.path().as_os_str()).unwrap_err();
        assert_eq!(error.to_string(), "mke2fs failed: no room");
        assert!(!target.exists());
    }
}
