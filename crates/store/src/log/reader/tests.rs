//! A log is read as it was written: across files, beside its writer, from its end, and after a crash.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;
use crate::limits::{LOG_LINE_BYTES_MAX, LOG_SEGMENT_BYTES, LOG_SEGMENTS_MAX};
use crate::{LogLine, LogLines, LogWriter, OutputStream};

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::new(1_700_000_000, 5)
}

fn lines_from(reader: &LogReader, mut offset: u64) -> (Vec<LogLine>, u64) {
    let (mut lines, mut seen, mut cut) = (LogLines::default(), Vec::new(), 0);
    loop {
        let piece = reader.read_from(offset, 50_001).unwrap();
        cut += piece.offset - offset;
        if piece.bytes.is_empty() {
            seen.extend(lines.rest());
            return (seen, cut);
        }
        offset = piece.offset + piece.bytes.len() as u64;
        seen.extend(lines.push(&piece.bytes));
    }
}

fn texts(lines: &[LogLine]) -> Vec<String> {
    lines.iter().map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect()
}

/// Both outputs come back apart, in their order, with their times; a line in parts is one line.
#[test]
fn lines_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(&directory.path().join("web")).unwrap();
    writer.append(OutputStream::Stdout, now(), b"one\ntw").unwrap();
    writer.append(OutputStream::Stderr, now(), b"\xff\n").unwrap();
    writer.append(OutputStream::Stdout, now(), b"o\n\n").unwrap();
    let long = vec![b'x'; 3 * LOG_LINE_BYTES_MAX + 7];
    writer.append(OutputStream::Stdout, now(), &long).unwrap();
    let reader = LogReader::open(&directory.path().join("web")).unwrap();
    let (lines, cut) = lines_from(&reader, 0);
    assert_eq!((cut, reader.total().unwrap()), (0, writer.total()));
    assert_eq!(texts(&lines)[..4], ["one", "\u{fffd}", "two", ""]);
    assert_eq!((lines[4].text.len(), lines[4].is_whole), (long.len(), false));
    assert_eq!(lines[1].stream, OutputStream::Stderr);
    assert_eq!(lines[0].time, "2023-11-14T22:13:20.000000005Z");
}

/// A log that is long is cut at its beginning, its losses have a size, and its end is found from the end.
#[test]
fn long_logs_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(directory.path()).unwrap();
    let piece: String = (0..1_000).map(|n| format!("line {n}\n")).collect();
    let bytes = LOG_SEGMENT_BYTES * (LOG_SEGMENTS_MAX as u64 + 3);
    let mut count = 0u64;
    while writer.total() < bytes {
        writer.append(OutputStream::Stdout, now(), piece.as_bytes()).unwrap();
        count += 1_000;
    }
    let kept: u64 =
        Segment::all(directory.path()).unwrap().iter().map(|it| it.path.metadata().unwrap().len()).sum();
    assert!(kept <= LOG_SEGMENT_BYTES * LOG_SEGMENTS_MAX as u64 + 1_000_000);
    let reader = LogReader::open(directory.path()).unwrap();
    let (all, cut) = lines_from(&reader, 0);
    assert_eq!(cut, reader.first().unwrap());
    assert!(cut > 0 && (all.len() as u64) < count && all.last().unwrap().text == b"line 999");
    for wanted in [0, 1, 2, 999, 1_000, 5_001, 60_000] {
        let (lines, _) = lines_from(&reader, reader.tail(wanted).unwrap());
        assert_eq!(lines.len() as u64, wanted);
        assert_eq!(texts(&lines), texts(&all[all.len() - wanted as usize..]));
    }
    assert_eq!(reader.tail(u64::MAX).unwrap(), cut);
}

/// The end of a log may be a part of a line; parts belong to the line that they begin.
#[test]
fn tails_keep_lines_together() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(directory.path()).unwrap();
    for piece in ["a\nb", "b", "b\n", "c\n", "op", "en"] {
        writer.append(OutputStream::Stdout, now(), piece.as_bytes()).unwrap();
    }
    let reader = LogReader::open(directory.path()).unwrap();
    let tail = |lines| texts(&lines_from(&reader, reader.tail(lines).unwrap()).0);
    assert_eq!(tail(1), ["c", "open"]);
    assert_eq!(tail(2), ["bbb", "c", "open"]);
    assert_eq!(tail(3), ["a", "bbb", "c", "open"]);
    assert_eq!(tail(4), ["a", "bbb", "c", "open"]);
    assert!(tail(0).is_empty());
}

/// A reader beside a writer sees lines in their order, and only ever skips forward.
#[test]
fn reading_beside_a_writer() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(directory.path()).unwrap();
    let reader = LogReader::open(directory.path()).unwrap();
    let last = 600_000u32;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for first in (0..last).step_by(500) {
                let piece: String = (first..first + 500).map(|n| format!("{n:0>40}\n")).collect();
                writer.append(OutputStream::Stdout, now(), piece.as_bytes()).unwrap();
            }
        });
        let (mut offset, mut lines, mut before) = (0, LogLines::default(), None);
        while before != Some(last - 1) {
            let piece = reader.read_from(offset, 30_000).unwrap();
            assert!(piece.offset >= offset);
            if piece.offset > offset {
                lines = LogLines::default();
            }
            offset = piece.offset + piece.bytes.len() as u64;
            for line in lines.push(&piece.bytes) {
                let number: u32 = String::from_utf8(line.text).unwrap().parse().unwrap();
                assert!(before.is_none_or(|before| before < number), "{before:?} {number}");
                before = Some(number);
            }
        }
    });
}

/// A line that a crash has cut costs no other; a log of another writer is gone on with.
#[test]
fn a_torn_end_is_mended() {
    let directory = tempfile::tempdir().unwrap();
    LogWriter::open(directory.path()).unwrap().append(OutputStream::Stdout, now(), b"whole\n").unwrap();
    let path = Segment::at(directory.path(), 0).path;
    let length = path.metadata().unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length + 3).unwrap();
    let mut writer = LogWriter::open(directory.path()).unwrap();
    writer.append(OutputStream::Stdout, now(), b"next\n").unwrap();
    let reader = LogReader::open(directory.path()).unwrap();
    assert_eq!(texts(&lines_from(&reader, 0).0), ["whole", "next"]);
    writer.append(OutputStream::Stdout, UNIX_EPOCH - Duration::from_secs(9), b"early\n").unwrap();
    assert!(LogReader::open(&directory.path().join("none")).is_err());
    std::fs::write(directory.path().join("ffffffffffffffff.log"), b"x").unwrap();
    assert!(reader.total().is_ok() && reader.tail(5).is_ok() && reader.read_from(u64::MAX, 9).is_ok());
}

/// What one process has not ended is not continued by the next, whoever writes for it.
#[test]
fn lines_of_two_processes_are_two() {
    let directory = tempfile::tempdir().unwrap();
    for reopens in [false, true] {
        let path = directory.path().join(reopens.to_string());
        let mut writer = LogWriter::open(&path).unwrap();
        writer.append(OutputStream::Stderr, now(), b"whole\n").unwrap();
        writer.append(OutputStream::Stdout, now(), b"part").unwrap();
        if reopens {
            writer = LogWriter::open(&path).unwrap();
        }
        writer.end_lines(now()).unwrap();
        writer.end_lines(now()).unwrap();
        writer.append(OutputStream::Stdout, now(), b"next\n").unwrap();
        let (lines, _) = lines_from(&LogReader::open(&path).unwrap(), 0);
        assert_eq!(texts(&lines), ["whole", "part", "next"]);
    }
}
