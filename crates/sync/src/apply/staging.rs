//! A directory within the directory that is written to: what is to come waits in it, and what goes lies in it
//! until all is done. Being on the same disk, everything moves in and out by a rename.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use pyro_proto::tree::TreePath;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::error::{ApplyError, failed};
use super::host::{Fingerprint, HostTree};
use super::limits::PART_BYTES;
use super::plan::{Step, StepChange};
use super::spool::Spool;

/// The directory, gone with all in it when this is dropped.
#[derive(Debug)]
pub(super) struct Staging {
    directory: tempfile::TempDir,
    pub(super) descriptor: OwnedFd,
    /// Permissions that a new file of this process may have.
    permitted: u32,
}

impl Staging {
    pub(super) fn new(tree: &HostTree) -> Result<Staging, ApplyError> {
        let root = TreePath::root();
        let directory = tempfile::Builder::new()
            .prefix(".pyro-apply-")
            .tempdir_in(format!("/proc/self/fd/{}", tree.root.as_raw_fd()))
            .map_err(|error| failed("make a temporary directory in", &root, error))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(directory.path(), flags, Mode::empty())
            .map_err(|error| failed("open the temporary directory in", &root, error))?;
        let probe = || {
            rustix::fs::mkdirat(&descriptor, "probe", Mode::from_bits_truncate(0o777))?;
            let stat = rustix::fs::statat(&descriptor, "probe", AtFlags::SYMLINK_NOFOLLOW)?;
            rustix::fs::unlinkat(&descriptor, "probe", AtFlags::REMOVEDIR)?;
            Ok::<u32, rustix::io::Errno>(stat.st_mode & 0o777)
        };
        let permitted =
            probe().map_err(|error| failed("write to the temporary directory in", &root, error))?;
        Ok(Staging { directory, descriptor, permitted })
    }

    /// Makes ready what a step brings, under a name of its own.
    pub(super) fn prepare(&self, slot: &str, step: &Step, spool: &Spool) -> Result<(), ApplyError> {
        let result = match &step.change {
            StepChange::File { contents, mode, kept_mode } => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&self.descriptor, slot, flags, Mode::RUSR | Mode::WUSR);
                file.map_err(std::io::Error::from).and_then(|file| {
                    let file = File::from(file);
                    copy(&mut spool.read(*contents), &file, contents.bytes)?;
                    let mode = mode & (self.permitted | kept_mode);
                    Ok(rustix::fs::fchmod(&file, Mode::from_bits_truncate(mode))?)
                })
            }
            StepChange::Symlink { target } => {
                rustix::fs::symlinkat(&target[..], &self.descriptor, slot).map_err(Into::into)
            }
            StepChange::Directory { mode } => {
                // Its owner must be able to put into it what comes with it.
                let mode = Mode::from_bits_truncate(mode & self.permitted | 0o700);
                rustix::fs::mkdirat(&self.descriptor, slot, mode).map_err(Into::into)
            }
            StepChange::Mode { .. } | StepChange::Delete | StepChange::DeleteDirectory => Ok(()),
        };
        result.map_err(|error| failed("prepare", &step.path, error))
    }

    /// What lies under a name here.
    pub(super) fn fingerprint(&self, slot: &str) -> Result<Fingerprint, rustix::io::Errno> {
        rustix::fs::statat(&self.descriptor, slot, AtFlags::SYMLINK_NOFOLLOW)
            .map(|stat| Fingerprint::of(&stat))
    }

    /// Keeps the directory, for what could not be put back; its name below the tree's path.
    pub(super) fn keep(self, tree: &HostTree) -> PathBuf {
        let kept = self.directory.keep();
        match kept.file_name() {
            Some(name) => tree.path.join(name),
            None => tree.path.clone(),
        }
    }
}

/// Copies so many bytes, zeros as holes.
fn copy(contents: &mut impl Read, file: &File, bytes: u64) -> std::io::Result<()> {
    file.set_len(bytes)?;
    let mut part = vec![0; PART_BYTES];
    let mut offset = 0;
    loop {
        let count = contents.read(&mut part)?;
        let Some(bytes) = part.get(..count).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        if bytes.iter().any(|byte| *byte != 0) {
            file.write_all_at(bytes, offset)?;
        }
        offset += count as u64;
    }
}
