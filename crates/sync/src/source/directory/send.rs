//! A scanned directory, sent. Every entry is looked at anew: what is sent of it is what was there when it was
//! opened, all of it, or an error.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use pyro_proto::tree::{NodeKind, TreePath};
use rustix::fs::{FileType, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::super::outlet::Outlet;
use super::super::{Name, SourceError, mtime};
use super::confined::Confined;
use super::inventory::{Inventory, Kind, Place};
use crate::limits::SOURCE_READ_BYTES;

/// `st_blocks` counts these (`stat(3type)`).
const STAT_BLOCK_BYTES: u64 = 512;

/// Sends the entries of an inventory.
pub(super) struct Sender<'a, 'o> {
    pub(super) root: &'a Confined,
    pub(super) inventory: &'a Inventory,
    pub(super) outlet: &'a mut Outlet<'o>,
    /// Files with more than one name, by device and inode: the first name, and how they were then.
    linked: HashMap<(u64, u64), (Place, Version)>,
    buffer: Vec<u8>,
}

/// What differs when a file was written to.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    size: i64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl<'a, 'o> Sender<'a, 'o> {
    pub(super) fn new(
        root: &'a Confined,
        inventory: &'a Inventory,
        outlet: &'a mut Outlet<'o>,
    ) -> Sender<'a, 'o> {
        Sender { root, inventory, outlet, linked: HashMap::new(), buffer: vec![0; SOURCE_READ_BYTES] }
    }

    /// The directory itself.
    pub(super) fn root(&mut self) -> Result<(), SourceError> {
        let (_, stat) = self.look(b"", FileType::Directory)?;
        self.outlet.entry(TreePath::root(), NodeKind::Directory, stat.st_mode, mtime(&stat))
    }

    /// One entry, with its contents; `read` is told of bytes as they go.
    pub(super) fn entry(
        &mut self,
        place: Place,
        kind: Kind,
        read: &mut dyn FnMut(u64),
    ) -> Result<(), SourceError> {
        let path = self.inventory.path(place);
        match kind {
            Kind::Directory => {
                let (_, stat) = self.look(&path, FileType::Directory)?;
                self.outlet.entry(tree_path(&path)?, NodeKind::Directory, stat.st_mode, mtime(&stat))
            }
            Kind::Symlink => {
                let (fd, stat) = self.look(&path, FileType::Symlink)?;
                let target =
                    rustix::fs::readlinkat(&fd, c"", Vec::new()).map_err(|errno| failed(&path, errno))?;
                let kind = NodeKind::Symlink { target: target.into_bytes() };
                self.outlet.entry(tree_path(&path)?, kind, stat.st_mode, mtime(&stat))
            }
            Kind::File => self.file(place, &path, read),
        }
    }

    /// A directory or symlink, opened without reading it.
    fn look(&self, path: &[u8], expected: FileType) -> Result<(OwnedFd, Stat), SourceError> {
        let fd = self.root.open(path, OFlags::PATH).map_err(|errno| failed(path, errno))?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| failed(path, errno))?;
        if FileType::from_raw_mode(stat.st_mode) != expected {
            return Err(changed(path));
        }
        Ok((fd, stat))
    }

    fn file(&mut self, place: Place, path: &[u8], read: &mut dyn FnMut(u64)) -> Result<(), SourceError> {
        let fd = self.root.open_file(path).map_err(|errno| failed(path, errno))?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| failed(path, errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(changed(path));
        }
        let version = Version::of(&stat);
        if stat.st_nlink > 1 {
            match self.linked.entry((stat.st_dev, stat.st_ino)) {
                // The guest has the bytes of then; under this name they would be older than the file.
                Slot::Occupied(first) if first.get().1 != version => return Err(changed(path)),
                Slot::Occupied(first) => {
                    let target = tree_path(&self.inventory.path(first.get().0))?;
                    let kind = NodeKind::HardLink { target };
                    read(u64::try_from(stat.st_size).unwrap_or(0));
                    return self.outlet.entry(tree_path(path)?, kind, stat.st_mode, mtime(&stat));
                }
                Slot::Vacant(slot) => {
                    slot.insert((place, version));
                }
            }
        }
        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
        self.outlet.entry(tree_path(path)?, NodeKind::File { bytes }, stat.st_mode, mtime(&stat))?;
        let file = File::from(fd);
        self.contents(path, &file, &stat, bytes, read)?;
        let after = rustix::fs::fstat(&file).map_err(|errno| failed(path, errno))?;
        if Version::of(&after) != version {
            return Err(changed(path));
        }
        Ok(())
    }

    fn contents(
        &mut self,
        path: &[u8],
        file: &File,
        stat: &Stat,
        bytes: u64,
        read: &mut dyn FnMut(u64),
    ) -> Result<(), SourceError> {
        let has_holes = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(STAT_BLOCK_BYTES) < bytes;
        let mut offset = 0;
        while offset < bytes {
            let run = if has_holes { next_run(file, offset, bytes) } else { Ok((offset, bytes)) };
            let (start, end) = run.map_err(|errno| failed(path, errno))?;
            read(start.saturating_sub(offset));
            offset = start;
            while offset < end {
                let wanted = usize::try_from(end - offset).unwrap_or(usize::MAX).min(self.buffer.len());
                let buffer = self.buffer.get_mut(..wanted).unwrap_or_default();
                match file.read_at(buffer, offset) {
                    Ok(0) => return Err(changed(path)),
                    Ok(count) => {
                        self.outlet.piece(offset, buffer.get(..count).unwrap_or_default())?;
                        offset += count as u64;
                        read(count as u64);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(source) => return Err(SourceError::Entry { name: Name::new(path), source }),
                }
            }
        }
        Ok(())
    }
}

/// The next run of data at or behind an offset; empty and at the end when only a hole is left. A file system
/// that knows no holes has one run.
fn next_run(file: &File, offset: u64, bytes: u64) -> Result<(u64, u64), Errno> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(start) => start.clamp(offset, bytes),
        Err(Errno::NXIO) => return Ok((bytes, bytes)),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok((offset, bytes)),
        Err(errno) => return Err(errno),
    };
    match rustix::fs::seek(file, SeekFrom::Hole(start)) {
        Ok(end) if end > start => Ok((start, end.min(bytes))),
        // It shrank, or was punched at this very place; reading on will tell.
        Ok(_) | Err(Errno::NXIO | Errno::INVAL) => Ok((start, bytes)),
        Err(errno) => Err(errno),
    }
}

impl Version {
    #[allow(clippy::unnecessary_cast, reason = "the widths are the kernel's, and differ between machines")]
    fn of(stat: &Stat) -> Version {
        Version {
            size: stat.st_size as i64,
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}

/// A path of an inventory, which holds none that is no [`TreePath`].
fn tree_path(path: &[u8]) -> Result<TreePath, SourceError> {
    TreePath::parse(path).map_err(|error| SourceError::Entry {
        name: Name::new(path),
        source: std::io::Error::new(std::io::ErrorKind::InvalidFilename, error),
    })
}

fn changed(path: &[u8]) -> SourceError {
    SourceError::Changed { name: Name::new(path) }
}

/// A failed call on what the scan has found: most often it is no longer there, or something else.
fn failed(path: &[u8], errno: Errno) -> SourceError {
    match errno {
        Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO | Errno::XDEV => changed(path),
        errno => SourceError::Entry { name: Name::new(path), source: errno.into() },
    }
}
