//! The two disks of a builder around the unpacking: mounted before, written out and unmounted after.

use std::fs::File;
use std::io::{BufReader, Read, Take};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use pyro_proto::agent::{DISK_ARCHIVE, DISK_IMAGE, FailureKind};
use rustix::fs::{Advice, Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags, unmount};

use super::archive::Archive;
use super::tree::Tree;
use super::{UnpackError, Written};
use crate::failure::{failure, system};
use crate::limits::UNPACK_BUFFER_BYTES;
use crate::root::{disk, mount_ext4};

const TARGET: &str = "/target";

/// Unpacks the archive disk onto the image disk. `done` counts bytes of the archive read.
pub(crate) fn write_image(archive_bytes: u64, done: &AtomicU64) -> Result<Written, UnpackError> {
    let archive = open_archive(archive_bytes, done)?;
    let image = disk(DISK_IMAGE).map_err(UnpackError::Step)?;
    mount_ext4(&image, TARGET, MountFlags::NOATIME, c"noinit_itable").map_err(UnpackError::Step)?;
    let written = unpack(archive);
    let unmounted = unmount(TARGET, UnmountFlags::empty());
    let written = written?;
    unmounted.map_err(|errno| UnpackError::Step(system("the image cannot be unmounted", errno)))?;
    Ok(written)
}

fn unpack(archive: impl Read) -> Result<Written, UnpackError> {
    let step = |what: &'static str| move |errno| UnpackError::Step(system(what, errno));
    let root = rustix::fs::open(TARGET, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(step("the image cannot be opened"))?;
    let sync = root.try_clone().map_err(|error| {
        UnpackError::Step(failure(FailureKind::System, format!("the image cannot be opened: {error}")))
    })?;
    let mut archive = Archive::new(BufReader::with_capacity(UNPACK_BUFFER_BYTES, archive));
    let written = Tree::new(root).unpack(&mut archive)?;
    // What the disk has no room for may show only now.
    rustix::fs::syncfs(&sync).map_err(step("the image cannot be written out"))?;
    Ok(written)
}

fn open_archive(bytes: u64, done: &AtomicU64) -> Result<Counted<'_>, UnpackError> {
    let device = disk(DISK_ARCHIVE).map_err(UnpackError::Step)?;
    open_limited(&device, bytes, done).map_err(UnpackError::Read)
}

fn open_limited<'a>(path: &Path, bytes: u64, done: &'a AtomicU64) -> rustix::io::Result<Counted<'a>> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    // Twice the read-ahead of the kernel's default; a disk that takes no advice is only slower.
    let _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
    Ok(Counted { source: File::from(file).take(bytes), done })
}

/// A reader that tells how far it has come.
#[derive(Debug)]
struct Counted<'a> {
    source: Take<File>,
    done: &'a AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.done.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
