//! Entries of an archive as files below one directory.
//!
//! Every path is resolved by the kernel with that directory as the root, so symlinks of the archive, absolute
//! ones too, lead only inside (`openat2(2)`, `RESOLVE_IN_ROOT`).

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::archive::{Archive, Entry, EntryKind};
use super::entry_path::{EntryPath, joined};
use super::header::Segment;
use super::{UnpackError, Written};
use crate::limits::{ARCHIVE_DIRECTORIES_MAX, UNPACK_BUFFER_BYTES};

/// A directory that an archive is unpacked into.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    /// The directory of the last entry: archives come directory by directory.
    last: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// Times of directories, which every file made inside would change.
    directory_times: Vec<(EntryPath, Timestamps)>,
    buffer: Vec<u8>,
    written: Written,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Tree {
    /// Unpacks below `root`.
    pub(crate) fn new(root: OwnedFd) -> Tree {
        Tree {
            root,
            last: None,
            directory_times: Vec::new(),
            buffer: vec![0; UNPACK_BUFFER_BYTES],
            written: Written::default(),
        }
    }

    /// Writes every entry of `archive`.
    pub(crate) fn unpack<R: Read>(mut self, archive: &mut Archive<R>) -> Result<Written, UnpackError> {
        while let Some(entry) = archive.next_entry()? {
            self.write(&entry, archive)?;
            self.written.entries += 1;
        }
        self.set_directory_times()?;
        Ok(self.written)
    }

    fn write<R: Read>(&mut self, entry: &Entry, archive: &mut Archive<R>) -> Result<(), UnpackError> {
        let Some((parent, name)) = entry.path.split() else { return self.write_root(entry) };
        let name = Path::new(OsStr::from_bytes(name));
        let parent = self.enter(parent).map_err(at(&entry.path))?;
        let place = Place { parent: parent.as_fd(), name };
        match &entry.kind {
            EntryKind::File { segments, bytes } => self.write_file(entry, &place, segments, *bytes, archive),
            EntryKind::Directory => self.write_directory(entry, &place),
            EntryKind::HardLink(target) => self.link(&place, target).map_err(|errno| match errno {
                Errno::NOENT => {
                    UnpackError::Damaged(format!("{} is a link to {target}, which is not there", entry.path))
                }
                errno => at(&entry.path)(errno),
            }),
            _ => place.make_special(entry).map_err(at(&entry.path)),
        }
    }

    fn write_root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if entry.kind != EntryKind::Directory {
            return Err(UnpackError::Damaged("the root is no directory".to_owned()));
        }
        own(self.root.as_fd(), entry).map_err(at(&entry.path))?;
        self.remember_times(entry)
    }

    fn write_directory(&mut self, entry: &Entry, place: &Place<'_>) -> Result<(), UnpackError> {
        let make = || match rustix::fs::mkdirat(place.parent, place.name, Mode::RWXU) {
            Err(Errno::EXIST) if place.is_directory() => Ok(()),
            result => result,
        };
        place
            .replacing(make)
            .and_then(|()| {
                rustix::fs::openat(place.parent, place.name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            })
            .and_then(|directory| own(directory.as_fd(), entry))
            .map_err(at(&entry.path))?;
        self.remember_times(entry)
    }

    fn write_file<R: Read>(
        &mut self,
        entry: &Entry,
        place: &Place<'_>,
        segments: &[Segment],
        bytes: u64,
        archive: &mut Archive<R>,
    ) -> Result<(), UnpackError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(place.parent, place.name, flags, Mode::RUSR | Mode::WUSR);
        let file = place.replacing(open).map_err(at(&entry.path))?;
        let mut end = 0;
        for segment in segments {
            end = self.copy(&file, entry, *segment, archive)?;
        }
        if end != bytes {
            rustix::fs::ftruncate(&file, bytes).map_err(at(&entry.path))?;
        }
        own(file.as_fd(), entry).map_err(at(&entry.path))?;
        rustix::fs::futimens(&file, &times(entry)).map_err(at(&entry.path))
    }

    /// Copies one piece of a file; gives the offset behind it.
    fn copy<R: Read>(
        &mut self,
        file: &OwnedFd,
        entry: &Entry,
        segment: Segment,
        archive: &mut Archive<R>,
    ) -> Result<u64, UnpackError> {
        let (mut offset, mut left) = (segment.offset, segment.bytes);
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let buffer = self.buffer.get_mut(..count).unwrap_or_default();
            archive.read(buffer)?;
            write_all(file, buffer, offset).map_err(at(&entry.path))?;
            offset = offset.checked_add(count as u64).ok_or_else(|| at(&entry.path)(Errno::FBIG))?;
            left -= count as u64;
            self.written.bytes += count as u64;
        }
        Ok(offset)
    }

    fn link(&mut self, place: &Place<'_>, target: &EntryPath) -> rustix::io::Result<()> {
        let (target_parent, target_name) = target.split().ok_or(Errno::ISDIR)?;
        let target_parent = self.open(&joined(target_parent))?;
        let target_name = Path::new(OsStr::from_bytes(target_name));
        let same = |a: rustix::fs::Stat, b: rustix::fs::Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        let stat = |parent: BorrowedFd<'_>, name| rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
        if let (Ok(old), Ok(new)) = (stat(place.parent, place.name), stat(target_parent.as_fd(), target_name))
            && same(old, new)
        {
            return Ok(());
        }
        place.replacing(|| {
            rustix::fs::linkat(&target_parent, target_name, place.parent, place.name, AtFlags::empty())
        })
    }

    /// The directory of an entry, made if the archive has left it out.
    fn enter(&mut self, parent: &[Vec<u8>]) -> rustix::io::Result<Rc<OwnedFd>> {
        let path = joined(parent);
        if let Some((known, directory)) = &self.last
            && *known == path
        {
            return Ok(Rc::clone(directory));
        }
        let directory = Rc::new(match self.open(&path) {
            Err(Errno::NOENT) => self.make_parents(parent)?,
            result => result?,
        });
        self.last = Some((path, Rc::clone(&directory)));
        Ok(directory)
    }

    fn make_parents(&self, parent: &[Vec<u8>]) -> rustix::io::Result<OwnedFd> {
        let mut directory = self.open(b".")?;
        for depth in 1..=parent.len() {
            let path = joined(parent.get(..depth).unwrap_or_default());
            directory = match (self.open(&path), parent.get(depth - 1)) {
                (Err(Errno::NOENT), Some(name)) => {
                    let name = Path::new(OsStr::from_bytes(name));
                    rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755))?;
                    self.open(&path)?
                }
                (result, _) => result?,
            };
        }
        Ok(directory)
    }

    fn open(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        rustix::fs::openat2(&self.root, path, DIRECTORY, Mode::empty(), ResolveFlags::IN_ROOT)
    }

    fn remember_times(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if self.directory_times.len() >= ARCHIVE_DIRECTORIES_MAX {
            return Err(UnpackError::Damaged(format!(
                "it has more than {ARCHIVE_DIRECTORIES_MAX} directories"
            )));
        }
        self.directory_times.push((entry.path.clone(), times(entry)));
        Ok(())
    }

    fn set_directory_times(&self) -> Result<(), UnpackError> {
        for (path, times) in &self.directory_times {
            match self.open(&path.joined()).and_then(|directory| rustix::fs::futimens(&directory, times)) {
                // A later entry has put something else in its place.
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(errno) => return Err(at(path)(errno)),
            }
        }
        Ok(())
    }
}

/// Where an entry goes.
struct Place<'a> {
    parent: BorrowedFd<'a>,
    name: &'a Path,
}

impl Place<'_> {
    /// Makes something here; what an earlier entry has left gives way.
    fn replacing<T>(&self, make: impl Fn() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
        match make() {
            Err(Errno::EXIST) => {
                let flags = if self.is_directory() { AtFlags::REMOVEDIR } else { AtFlags::empty() };
                rustix::fs::unlinkat(self.parent, self.name, flags)?;
                make()
            }
            result => result,
        }
    }

    fn is_directory(&self) -> bool {
        rustix::fs::statat(self.parent, self.name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// Symlinks, devices and FIFOs: what cannot be opened to be given its owner.
    fn make_special(&self, entry: &Entry) -> rustix::io::Result<()> {
        self.replacing(|| self.make(&entry.kind))?;
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let (uid, gid) = owner(entry);
        rustix::fs::chownat(self.parent, self.name, uid, gid, nofollow)?;
        if !matches!(entry.kind, EntryKind::Symlink(_)) {
            rustix::fs::chmodat(self.parent, self.name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
        }
        let path = PathBuf::from(format!("/proc/self/fd/{}", self.parent.as_raw_fd())).join(self.name);
        for (name, value) in &entry.xattrs {
            rustix::fs::lsetxattr(&path, name.as_slice(), value, XattrFlags::empty())?;
        }
        rustix::fs::utimensat(self.parent, self.name, &times(entry), nofollow)
    }

    fn make(&self, kind: &EntryKind) -> rustix::io::Result<()> {
        let node = |kind, major, minor| {
            let device = rustix::fs::makedev(major, minor);
            rustix::fs::mknodat(self.parent, self.name, kind, Mode::RUSR | Mode::WUSR, device)
        };
        match kind {
            EntryKind::Symlink(target) => rustix::fs::symlinkat(target.as_slice(), self.parent, self.name),
            EntryKind::Fifo => node(FileType::Fifo, 0, 0),
            EntryKind::CharacterDevice(major, minor) => node(FileType::CharacterDevice, *major, *minor),
            EntryKind::BlockDevice(major, minor) => node(FileType::BlockDevice, *major, *minor),
            EntryKind::File { .. } | EntryKind::Directory | EntryKind::HardLink(_) => Err(Errno::INVAL),
        }
    }
}

/// Owner before mode, which a change of owner would strip of its set-id bits; capabilities last.
fn own(file: BorrowedFd<'_>, entry: &Entry) -> rustix::io::Result<()> {
    let (uid, gid) = owner(entry);
    rustix::fs::fchown(file, uid, gid)?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))?;
    for (name, value) in &entry.xattrs {
        rustix::fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty())?;
    }
    Ok(())
}

fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    // The highest id would mean "leave as it is".
    let id = |id: u32| (id != u32::MAX).then_some(id);
    (id(entry.uid).map(Uid::from_raw), id(entry.gid).map(Gid::from_raw))
}

fn times(entry: &Entry) -> Timestamps {
    let (seconds, nanoseconds) = entry.mtime;
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let count = match rustix::io::pwrite(file, bytes, offset) {
            Ok(0) => return Err(Errno::NOSPC),
            Err(Errno::INTR) => 0,
            result => result?,
        };
        bytes = bytes.get(count..).unwrap_or_default();
        offset += count as u64;
    }
    Ok(())
}

fn at(path: &EntryPath) -> impl Fn(Errno) -> UnpackError + '_ {
    move |errno| UnpackError::Write { path: path.to_string(), errno }
}
