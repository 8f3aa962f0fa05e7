//! The log of a service.

use pyro_proto::shim;
use pyro_store::{LogLine, LogLines, LogReader, OutputStream};
use schemars::JsonSchema;
use serde::Serialize;

use super::super::Workspace;
use crate::execution::Execution;
use crate::limits::LOG_PIECE_BYTES;
use crate::{Code, Failure, Pyro};

/// How much of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// So many lines from its end.
    Lines(u64),
    /// All that is kept.
    All,
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LogEntry {
    /// When it was written, by the clock of this host.
    pub time: String,
    /// `stdout` or `stderr`.
    pub stream: &'static str,
    /// What it says; bytes that are no UTF-8 are replaced.
    pub text: String,
    /// The bytes themselves.
    #[serde(skip)]
    pub bytes: Vec<u8>,
    /// Whether it has ended with a newline.
    pub is_whole: bool,
}

/// A part of a log, read line by line.
#[derive(Debug)]
pub struct ServiceLog {
    reader: Option<LogReader>,
    lines: LogLines,
    offset: u64,
    /// Bytes before it that are not kept any more.
    cut_bytes: u64,
    is_over: bool,
}

impl Pyro {
    /// The log of a service, or the end of it. It is found from its end, however long the log is.
    pub fn service_log(&self, reference: &str, name: &str, tail: Tail) -> Result<ServiceLog, Failure> {
        let record = self.find_workspace(reference)?;
        let service = self.service_record(reference, name)?;
        let path = self.config.directories.workspace(&record.workspace.id).service_log(&service.service.name);
        let reader = match LogReader::open(&path) {
            Ok(reader) => Some(reader),
            // One that could not be started has none.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(unreadable(&error)),
        };
        let mut log =
            ServiceLog { reader, lines: LogLines::default(), offset: 0, cut_bytes: 0, is_over: false };
        if let Some(reader) = &log.reader {
            let begin = || {
                let first = reader.first()?;
                let offset = match tail {
                    Tail::All => first,
                    Tail::Lines(count) => reader.tail(count)?,
                };
                Ok::<_, std::io::Error>((offset, if tail == Tail::All { first } else { 0 }))
            };
            (log.offset, log.cut_bytes) = begin().map_err(|error| unreadable(&error))?;
        }
        Ok(log)
    }
}

impl Workspace {
    /// Follows the log of a service that runs, from a byte on: what comes is for [`ServiceLog::take`].
    pub fn follow_service(&mut self, name: &str, from: u64) -> Result<Execution<'_>, Failure> {
        let subject = shim::Subject::Service(name.to_owned());
        self.connection.watch(&shim::Request::Follow { subject, from })
    }
}

impl ServiceLog {
    /// Bytes that are not kept any more, of a whole log.
    pub fn cut_bytes(&self) -> u64 {
        self.cut_bytes
    }

    /// The byte behind those that were read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next lines; none at the end. `is_followed`: more may come, so that a line that has not ended is not given yet.
    pub fn next(&mut self, is_followed: bool) -> Result<Vec<LogEntry>, Failure> {
        while !self.is_over {
            let Some(reader) = &self.reader else { break };
            let piece = reader.read_from(self.offset, LOG_PIECE_BYTES).map_err(|error| unreadable(&error))?;
            if piece.bytes.is_empty() {
                break;
            }
            self.offset = piece.offset + piece.bytes.len() as u64;
            let lines = self.lines.push(&piece.bytes);
            if !lines.is_empty() {
                return Ok(lines.into_iter().map(entry).collect());
            }
        }
        if is_followed {
            return Ok(Vec::new());
        }
        self.is_over = true;
        Ok(self.lines.rest().into_iter().map(entry).collect())
    }

    /// Takes what following gives; the lines that have ended with it.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<LogEntry> {
        self.offset += bytes.len() as u64;
        self.lines.push(bytes).into_iter().map(entry).collect()
    }

    /// What is there of lines that will not end.
    pub fn rest(&mut self) -> Vec<LogEntry> {
        self.lines.rest().into_iter().map(entry).collect()
    }
}

fn entry(line: LogLine) -> LogEntry {
    LogEntry {
        time: line.time,
        stream: match line.stream {
            OutputStream::Stdout => "stdout",
            OutputStream::Stderr => "stderr",
        },
        text: String::from_utf8_lossy(&line.text).into_owned(),
        bytes: line.text,
        is_whole: line.is_whole,
    }
}

fn unreadable(error: &std::io::Error) -> Failure {
    Failure::new(Code::StateUnusable, "the service's log cannot be read")
        .because(error)
        .fix("make its files readable; the service is not affected")
}
