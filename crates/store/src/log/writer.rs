//! The writing side of a log; there is one per log.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::lines::LogLines;
use super::segment::Segment;
use crate::OutputStream;
use crate::limits::{LOG_BLOCK_BYTES, LOG_LINE_BYTES_MAX, LOG_SEGMENT_BYTES, LOG_SEGMENTS_MAX};

/// Adds lines at the end of a log.
#[derive(Debug)]
pub struct LogWriter {
    directory: PathBuf,
    file: File,
    /// Offset of the file's first byte, and bytes in it.
    start: u64,
    length: u64,
    /// Outputs whose last line has not ended.
    open: [bool; 2],
    /// The last write may have been cut in the middle of a line.
    is_torn: bool,
    /// Room for one write.
    buffer: Vec<u8>,
}

impl LogWriter {
    /// Makes a log, or goes on with one.
    pub fn open(directory: &Path) -> io::Result<LogWriter> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let start = Segment::all(directory)?.last().map_or(0, |segment| segment.start);
        let file = open(&Segment::at(directory, start).path)?;
        let length = file.metadata()?.len();
        let open = unended(&file, length)?;
        let directory = directory.to_owned();
        Ok(LogWriter { directory, file, start, length, open, is_torn: length > 0, buffer: Vec::new() })
    }

    /// Ends the lines that have not ended: what comes is another process's.
    pub fn end_lines(&mut self, time: SystemTime) -> io::Result<()> {
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            if self.open.get(index(stream)) == Some(&true) {
                self.append(stream, time, b"\n")?;
            }
        }
        Ok(())
    }

    /// Adds what a process has written at `time`. Bytes behind its last newline are kept as a part of a line.
    pub fn append(&mut self, stream: OutputStream, time: SystemTime, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.length >= LOG_SEGMENT_BYTES {
            self.begin_segment()?;
        }
        self.buffer.clear();
        if self.is_torn && !self.ends_with_newline()? {
            self.buffer.push(b'\n');
        }
        let prefix = prefix(stream, time);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, is_ended) = match line {
                [text @ .., b'\n'] => (text, true),
                text => (text, false),
            };
            push_line(&mut self.buffer, &prefix, text, is_ended);
        }
        self.is_torn = true;
        let written = self.file.write_all(&self.buffer);
        self.length = match &written {
            Ok(()) => self.length.saturating_add(self.buffer.len() as u64),
            Err(_) => self.file.metadata().map_or(self.length, |metadata| metadata.len()),
        };
        self.is_torn = written.is_err();
        if let Some(open) = self.open.get_mut(index(stream)) {
            *open = bytes.last() != Some(&b'\n');
        }
        written
    }

    /// Bytes of the whole log, kept or not.
    pub fn total(&self) -> u64 {
        self.start.saturating_add(self.length)
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let start = self.total();
        self.file = open(&Segment::at(&self.directory, start).path)?;
        (self.start, self.length, self.is_torn) = (start, 0, false);
        let segments = Segment::all(&self.directory)?;
        for old in segments.iter().take(segments.len().saturating_sub(LOG_SEGMENTS_MAX)) {
            fs::remove_file(&old.path)?;
        }
        Ok(())
    }

    fn ends_with_newline(&self) -> io::Result<bool> {
        let Some(last) = self.length.checked_sub(1) else { return Ok(true) };
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, last)?;
        Ok(byte == *b"\n")
    }
}

fn index(stream: OutputStream) -> usize {
    usize::from(stream == OutputStream::Stderr)
}

/// Which outputs end with a part of a line; of one whose last record is far from the end, nobody remembers.
fn unended(file: &File, length: u64) -> io::Result<[bool; 2]> {
    let start = length.saturating_sub(LOG_BLOCK_BYTES as u64);
    let mut block = vec![0; usize::try_from(length - start).unwrap_or(0)];
    file.read_exact_at(&mut block, start)?;
    let mut lines = LogLines::default();
    lines.push(&block);
    let mut open = [false; 2];
    for line in lines.rest() {
        if let Some(open) = open.get_mut(index(line.stream)) {
            *open = true;
        }
    }
    Ok(open)
}

/// The end of the year 9999, since 1970.
const LAST_TIME: Duration = Duration::from_secs(253_402_300_799);

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).append(true).create(true).mode(0o600).open(path)
}

/// What every line of one write begins with.
fn prefix(stream: OutputStream, time: SystemTime) -> String {
    let name = match stream {
        OutputStream::Stdout => "stdout",
        OutputStream::Stderr => "stderr",
    };
    // RFC 3339 has no years before 0 and after 9999: a clock that is off by so much tells nothing anyway.
    let is_known = (UNIX_EPOCH..UNIX_EPOCH + LAST_TIME).contains(&time);
    format!("{} {name} ", humantime::format_rfc3339_nanos(if is_known { time } else { UNIX_EPOCH }))
}

/// A long line in parts, each of which fits what a reader has to hold.
fn push_line(buffer: &mut Vec<u8>, prefix: &str, text: &[u8], is_ended: bool) {
    let mut rest = text;
    loop {
        let (part, behind) = rest.split_at(rest.len().min(LOG_LINE_BYTES_MAX));
        let is_last = behind.is_empty();
        buffer.extend_from_slice(prefix.as_bytes());
        buffer.extend_from_slice(if is_last && is_ended { b"F " } else { b"P " });
        buffer.extend_from_slice(part);
        buffer.push(b'\n');
        if is_last {
            return;
        }
        rest = behind;
    }
}
