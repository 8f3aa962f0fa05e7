//! The files of a log.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Digits of an offset in a file's name.
const DIGITS: usize = 16;
const EXTENSION: &str = "log";

/// One file: where its first byte is in the whole log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) start: u64,
    pub(super) path: PathBuf,
}

impl Segment {
    /// The file that starts there.
    pub(super) fn at(directory: &Path, start: u64) -> Segment {
        Segment { start, path: directory.join(format!("{start:0DIGITS$x}.{EXTENSION}")) }
    }

    /// All files of a log, oldest first. What is no file of a log is passed over.
    pub(super) fn all(directory: &Path) -> io::Result<Vec<Segment>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_suffix(".log"));
            let digits = digits.filter(|digits| digits.len() == DIGITS);
            if let Some(start) = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
                found.push(Segment::at(directory, start));
            }
        }
        found.sort_by_key(|segment| segment.start);
        Ok(found)
    }
}
