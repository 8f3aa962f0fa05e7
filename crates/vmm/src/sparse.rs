//! Copies of files within the kernel: shared blocks where the file system can, holes kept, one buffer at most.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek};
use rustix::io::Errno;

use crate::limits::COPY_BYTES_MAX;

/// Copies a file's content into one that has the same length and only a hole.
pub(crate) fn copy_sparse(from: &File, to: &File) -> io::Result<()> {
    // A refusal means that the file system shares no blocks; then bytes are copied.
    if ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    copy_data(from, 0, to, 0, from.metadata()?.len())
}

/// Copies a range of a file to where the other has only a hole; holes in it stay holes.
pub(crate) fn copy_data(from: &File, start: u64, to: &File, to_start: u64, bytes: u64) -> io::Result<()> {
    let end = start.saturating_add(bytes);
    let mut at = start;
    while let Some(data) = next_data(from, at)?.filter(|data| *data < end) {
        at = seek(from, SeekFrom::Hole(data))?.min(end);
        copy_range(from, data, to, to_start + (data - start), at - data)?;
    }
    Ok(())
}

/// Copies a range that is all there.
fn copy_range(from: &File, start: u64, to: &File, to_start: u64, bytes: u64) -> io::Result<()> {
    let (mut start, mut to_start, mut left) = (start, to_start, bytes);
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(COPY_BYTES_MAX);
        // The kernel moves both offsets on.
        match copy_file_range(from, Some(&mut start), to, Some(&mut to_start), wanted) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Ok(copied) => left = left.saturating_sub(copied as u64),
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return copy_by_buffer(from, start, to, to_start, left);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_by_buffer(from: &File, start: u64, to: &File, to_start: u64, bytes: u64) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES_MAX];
    let mut done = 0;
    while done < bytes {
        let wanted = usize::try_from(bytes - done).map_or(buffer.len(), |left| left.min(buffer.len()));
        let part = buffer.get_mut(..wanted).unwrap_or_default();
        from.read_exact_at(part, start + done)?;
        to.write_all_at(part, to_start + done)?;
        done += part.len() as u64;
    }
    Ok(())
}

/// Where data begins at or after an offset; `None` when there is none to the end.
fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(start) => Ok(Some(start)),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_copy_is_the_same_and_as_sparse() {
        // Promise: a copy of guest memory costs what the guest has touched, and is that memory.
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.set_len(64 << 20).unwrap();
        to.set_len(64 << 20).unwrap();
        for at in [0, (3 << 20) + 5, (64 << 20) - 7] {
            from.write_all_at(b"content", at).unwrap();
        }
        copy_sparse(&from, &to).unwrap();
        assert_eq!(to.metadata().unwrap().len(), 64 << 20);
        assert!(to.metadata().unwrap().blocks() * 512 < 1 << 20);
        for at in [0, (3 << 20) + 5, (64 << 20) - 7] {
            let mut bytes = [0; 7];
            to.read_exact_at(&mut bytes, at).unwrap();
            assert_eq!(&bytes, b"content");
        }
    }

    #[test]
    fn both_ways_to_copy_a_range_are_one() {
        // Promise: where the kernel cannot copy, the result is the same.
        let from = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
        from.write_all_at(&content, 0).unwrap();
        for copy in [copy_range, copy_by_buffer] {
            let to = tempfile::tempfile().unwrap();
            copy(&from, 1, &to, 5, 2_500_000).unwrap();
            let mut got = vec![0; 2_500_000];
            to.read_exact_at(&mut got, 5).unwrap();
            assert!(got == content[1..2_500_001]);
            assert!(copy(&from, 2_999_999, &to, 0, 2).is_err(), "a range past the end is an error");
        }
    }

    #[test]
    fn a_part_is_copied_with_its_holes() {
        // Promise: what a guest has given back to its disk costs nothing in a copy either.
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.set_len(32 << 20).unwrap();
        from.write_all_at(&[7; 1 << 20], 9 << 20).unwrap();
        to.set_len(32 << 20).unwrap();
        copy_data(&from, (9 << 20) + 4096, &to, 8192, 20 << 20).unwrap();
        let mut got = vec![0; 1 << 20];
        to.read_exact_at(&mut got, 8192).unwrap();
        assert!(got.iter().take((1 << 20) - 4096).all(|byte| *byte == 7));
        assert!(got.iter().skip((1 << 20) - 4096).all(|byte| *byte == 0));
        assert!(to.metadata().unwrap().blocks() * 512 < 2 << 20);
    }

    #[test]
    fn an_empty_file_is_copied() {
        // Promise: copying ends, whatever the file.
        copy_sparse(&tempfile::tempfile().unwrap(), &tempfile::tempfile().unwrap()).unwrap();
    }
}
