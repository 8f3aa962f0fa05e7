//! Small files of a guest, read and written without trusting what lies at their path: a FIFO or a device
//! must not hold PID 1 up, and a symlink must not lead it astray.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// Reads at most `bytes_max` bytes of a regular file below `directory`.
pub(crate) fn read_at(directory: impl AsFd, path: impl Arg, bytes_max: usize) -> rustix::io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    read(rustix::fs::openat(directory, path, flags, Mode::empty())?, bytes_max)
}

/// Reads at most `bytes_max` bytes of a file that must be a regular one.
pub(crate) fn read(file: OwnedFd, bytes_max: usize) -> rustix::io::Result<Vec<u8>> {
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

/// Makes the file `name` in `directory`, where nothing may be, hold `contents` with `mode`.
pub(crate) fn create_at(
    directory: impl AsFd,
    name: &str,
    contents: &[u8],
    mode: Mode,
) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(directory, name, flags, mode)?;
    match rustix::io::write(&file, contents)? {
        count if count == contents.len() => Ok(()),
        _ => Err(Errno::NOSPC),
    }
}

/// Writes all of `bytes` at `offset`.
pub(crate) fn write_all(file: impl AsFd, mut bytes: &[u8], mut offset: u64) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let count = match rustix::io::pwrite(&file, bytes, offset) {
            Ok(0) => return Err(Errno::NOSPC),
            Err(Errno::INTR) => 0,
            result => result?,
        };
        bytes = bytes.get(count..).unwrap_or_default();
        offset += count as u64;
    }
    Ok(())
}
