//! How an archive is packed, told by its first bytes, and the readers that unpack it in bounded memory.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;

use super::blocks::{self, BLOCK_BYTES};
use crate::limits::{ARCHIVE_XZ_MEMORY_BYTES_MAX, ARCHIVE_ZSTD_WINDOW_LOG_MAX, SOURCE_READ_BYTES};

/// How an archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Zstd,
    Xz,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Archive(Packing),
    /// An archive that is not read, by name.
    Unknown(&'static str),
    /// None.
    Other,
}

impl Form {
    /// Tells by a file's first block, and by its name where that says nothing.
    pub(super) fn of(file: &File, path: &Path) -> io::Result<Form> {
        let mut block = Vec::new();
        ReadAt { file, offset: 0 }.take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
        Ok(match block.as_slice() {
            [0x1f, 0x8b, ..] => Form::Archive(Packing::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Form::Archive(Packing::Zstd),
            // A frame to be skipped (RFC 8878, section 3.1.2).
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Form::Archive(Packing::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Form::Archive(Packing::Xz),
            block if blocks::may_begin(block) => Form::Archive(Packing::Plain),
            [b'B', b'Z', b'h', ..] => Form::Unknown("bzip2"),
            [b'P', b'K', 3 | 5, 4 | 6, ..] => Form::Unknown("zip"),
            [b'7', b'z', 0xbc, 0xaf, ..] => Form::Unknown("7-Zip"),
            [b'R', b'a', b'r', b'!', ..] => Form::Unknown("RAR"),
            [b'L', b'Z', b'I', b'P', ..] => Form::Unknown("lzip"),
            [0x1f, 0x9d, ..] => Form::Unknown("compress"),
            _ => Form::of_name(path),
        })
    }

    /// Tells by a file's name alone.
    pub(super) fn of_name(path: &Path) -> Form {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        if ends(&[".tar"]) {
            Form::Archive(Packing::Plain)
        } else if ends(&[".tar.gz", ".tgz"]) {
            Form::Archive(Packing::Gzip)
        } else if ends(&[".tar.zst"]) {
            Form::Archive(Packing::Zstd)
        } else if ends(&[".tar.xz", ".txz"]) {
            Form::Archive(Packing::Xz)
        } else {
            Form::Other
        }
    }
}

/// Unpacks a file from its start; `read` counts what was read of the file itself.
pub(super) fn unpacked<'a>(
    file: &'a File,
    packing: Packing,
    read: &Rc<Cell<u64>>,
) -> io::Result<Box<dyn Read + 'a>> {
    let counted = Counted { inner: ReadAt { file, offset: 0 }, read: Rc::clone(read) };
    let buffered = BufReader::with_capacity(SOURCE_READ_BYTES, counted);
    Ok(match packing {
        Packing::Plain => Box::new(buffered),
        Packing::Gzip => Box::new(BufReader::with_capacity(SOURCE_READ_BYTES, MultiGzDecoder::new(buffered))),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(buffered)?;
            decoder.window_log_max(ARCHIVE_ZSTD_WINDOW_LOG_MAX)?;
            Box::new(BufReader::with_capacity(SOURCE_READ_BYTES, decoder))
        }
        Packing::Xz => {
            let flags = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(ARCHIVE_XZ_MEMORY_BYTES_MAX, flags)?;
            let decoder = XzDecoder::new_stream(buffered, stream);
            Box::new(BufReader::with_capacity(SOURCE_READ_BYTES, decoder))
        }
    })
}

/// Reads a file by offset: the same file can be read anew.
struct ReadAt<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for ReadAt<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset = self.offset.saturating_add(count as u64);
        Ok(count)
    }
}

struct Counted<R> {
    inner: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read.set(self.read.get().saturating_add(count as u64));
        Ok(count)
    }
}
