//! Small files of a guest, read and written without trusting what lies at their path: a FIFO or a device
//! must not hold PID 1 up, and a symlink must not lead it astray.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::limits::SMALL_FILE_BYTES_MAX;

/// Reads at most `bytes_max` bytes of a regular file below `directory`.
pub(crate) fn read_at(directory: impl AsFd, path: impl Arg, bytes_max: usize) -> rustix::io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    read(rustix::fs::openat(directory, path, flags, Mode::empty())?, bytes_max)
}

fn read(file: OwnedFd, bytes_max: usize) -> rustix::io::Result<Vec<u8>> {
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    let mut bytes = Vec::with_capacity(4096.min(bytes_max));
    while bytes.len() < bytes_max {
        bytes.reserve(4096);
        let count = rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes))?;
        if count == 0 {
            break;
        }
    }
    bytes.truncate(bytes_max);
    Ok(bytes)
}

/// Makes the file `name` in `directory` hold `contents` with `mode`; one that already does is left alone.
pub(crate) fn ensure_at(
    directory: impl AsFd,
    name: &str,
    contents: &[u8],
    mode: Mode,
) -> rustix::io::Result<()> {
    let directory = directory.as_fd();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let known = rustix::fs::openat(directory, name, flags, Mode::empty())
        .and_then(|file| read(file, SMALL_FILE_BYTES_MAX));
    if known.is_ok_and(|known| known == contents) {
        return Ok(());
    }
    write_at(directory, name, contents, mode)
}

fn write_at(directory: impl AsFd, name: &str, contents: &[u8], mode: Mode) -> rustix::io::Result<()> {
    let directory = directory.as_fd();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = match rustix::fs::openat(directory, name, flags, mode) {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
            rustix::fs::openat(directory, name, flags, mode)?
        }
        result => result?,
    };
    match rustix::io::write(&file, contents)? {
        count if count == contents.len() => Ok(()),
        _ => Err(Errno::NOSPC),
    }
}
