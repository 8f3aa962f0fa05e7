//! From the bytes of a log to its lines. Total: what is no record is passed over.

use std::collections::HashMap;

use crate::OutputStream;
use crate::limits::{LOG_JOINED_BYTES_MAX, LOG_LINE_BYTES_MAX};

/// Bytes of a record in front of its text, and some more.
const RECORD_EXTRA_BYTES: usize = 128;

/// A line, or as much of one as is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When its end was written, RFC 3339 with nanoseconds.
    pub time: String,
    /// On which output.
    pub stream: OutputStream,
    /// What it says, without its newline.
    pub text: Vec<u8>,
    /// Whether it has ended; a part that was too long to wait for its end has not.
    pub is_whole: bool,
}

/// Puts lines together from bytes that were cut anywhere.
#[derive(Debug, Default)]
pub struct LogLines {
    pending: Vec<u8>,
    parts: HashMap<bool, LogLine>,
}

impl LogLines {
    /// Takes bytes; gives the lines that have ended with them.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<LogLine> {
        self.pending.extend_from_slice(bytes);
        let mut lines = Vec::new();
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (record, behind) = rest.split_at(end);
            if let Some(record) = parse(record) {
                lines.extend(self.join(record));
            }
            rest = behind.get(1..).unwrap_or_default();
        }
        // Longer than any record is no record.
        if rest.len() <= LOG_LINE_BYTES_MAX + RECORD_EXTRA_BYTES {
            self.pending = rest.to_vec();
        }
        lines
    }

    /// What is there of lines that have not ended.
    pub fn rest(&mut self) -> Vec<LogLine> {
        let mut parts: Vec<LogLine> = std::mem::take(&mut self.parts).into_values().collect();
        parts.sort_by(|a, b| a.time.cmp(&b.time));
        parts
    }

    fn join(&mut self, record: LogLine) -> Option<LogLine> {
        let key = record.stream == OutputStream::Stderr;
        let line = match self.parts.remove(&key) {
            None => record,
            Some(mut line) => {
                line.text.extend_from_slice(&record.text);
                LogLine { text: line.text, ..record }
            }
        };
        if line.is_whole || line.text.len() >= LOG_JOINED_BYTES_MAX {
            return Some(line);
        }
        self.parts.insert(key, line);
        None
    }
}

fn parse(record: &[u8]) -> Option<LogLine> {
    let mut words = record.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(words.next()?).ok()?;
    let stream = match words.next()? {
        b"stdout" => OutputStream::Stdout,
        b"stderr" => OutputStream::Stderr,
        _ => return None,
    };
    let is_whole = match words.next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    Some(LogLine { time: time.to_owned(), stream, text: words.next()?.to_vec(), is_whole })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOG: &[u8] =
        b"t1 stdout P one \nt2 stderr F err\nt3 stdout F two\nno record\nt4 stdout F \nt5 stdout P open\n";

    fn texts(lines: &[LogLine]) -> Vec<(&str, &[u8], bool)> {
        lines.iter().map(|line| (line.time.as_str(), line.text.as_slice(), line.is_whole)).collect()
    }

    /// Parts become lines, each output's for itself, wherever the bytes were cut.
    #[test]
    fn lines_survive_any_cut() {
        for step in 1..LOG.len() {
            let mut lines = LogLines::default();
            let mut seen: Vec<LogLine> = LOG.chunks(step).flat_map(|piece| lines.push(piece)).collect();
            seen.extend(lines.rest());
            let expected: [(&str, &[u8], bool); 4] =
                [("t2", b"err", true), ("t3", b"one two", true), ("t4", b"", true), ("t5", b"open", false)];
            assert_eq!(texts(&seen), expected, "{step}");
        }
    }

    proptest! {
        /// No bytes make it panic, or hold more than it may.
        #[test]
        fn parsing_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..70_000)) {
            let mut lines = LogLines::default();
            lines.push(&bytes);
            prop_assert!(lines.pending.len() <= LOG_LINE_BYTES_MAX + RECORD_EXTRA_BYTES);
        }
    }
}
