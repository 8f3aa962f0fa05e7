//! The commands of a workspace and what is kept of their output. Read from this host's files: nothing has to
//! run for it, and no guest can change it.

use pyro_proto::shim;
use pyro_store::{ExecRecord, OutputReader, OutputStream, WorkspaceRecord};
use schemars::JsonSchema;
use serde::Serialize;

use super::info::timestamp;
use super::{Workspace, called};
use crate::connection::{News, unexpected};
use crate::execution::Execution;
use crate::limits::HISTORY_PAGE_ENTRIES;
use crate::results::shell_words;
use crate::{Code, Exec, Failure, Pyro};

/// A command of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HistoryEntry {
    /// Its number, from 1 on.
    pub sequence: u64,
    /// The command as a shell would take it.
    pub command: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Where it ran.
    pub cwd: String,
    /// As whom, when that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether nobody waited for it.
    pub detached: bool,
    /// When it started.
    pub started_at: String,
    /// `running`, `exited`, `signaled`, `timed_out`, `out_of_memory`, `failed` (it never ran to an end that is
    /// known) or `lost` (its VM ended with it).
    pub state: &'static str,
    /// As a shell would see it; none while it runs, and for what has no end of its own.
    pub exit_code: Option<u8>,
    /// How long it ran.
    pub duration_ms: Option<u64>,
    /// Bytes of its standard output.
    pub stdout_bytes: u64,
    /// Bytes of its standard error.
    pub stderr_bytes: u64,
}

/// What is kept of one stream of a command's output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptOutput {
    /// Its beginning.
    pub head: Vec<u8>,
    /// Bytes that are not kept.
    pub cut_bytes: u64,
    /// Its end.
    pub tail: Vec<u8>,
}

impl KeptOutput {
    /// All that is kept, with a line in the place of what is not; bytes that are no UTF-8 are replaced.
    pub fn to_text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.head).into_owned();
        if self.cut_bytes > 0 {
            text.push_str(&format!("\n[{} bytes cut]\n", self.cut_bytes));
        }
        text.push_str(&String::from_utf8_lossy(&self.tail));
        text
    }
}

/// A part of one stream of a command's output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputPage {
    /// The first byte of it: beyond the one that was asked for where that is not kept.
    pub cursor: u64,
    /// What is there.
    pub bytes: Vec<u8>,
    /// The byte to go on from.
    pub next_cursor: u64,
    /// Bytes that the stream has so far.
    pub total_bytes: u64,
}

impl KeptOutput {
    /// The same with at most `bytes_max` of it, half of each end.
    pub fn bounded(&self, bytes_max: usize) -> KeptOutput {
        let kept = self.head.len() + self.tail.len();
        if kept <= bytes_max {
            return self.clone();
        }
        let bytes = || self.head.iter().chain(&self.tail).copied();
        let (head, tail) = (bytes_max / 2, bytes_max - bytes_max / 2);
        KeptOutput {
            head: bytes().take(head).collect(),
            cut_bytes: self.cut_bytes + (kept - bytes_max) as u64,
            tail: bytes().skip(kept - tail).collect(),
        }
    }

    /// At most `bytes_max` from a byte of the stream on.
    pub fn page(&self, cursor: u64, bytes_max: usize) -> OutputPage {
        let (head, tail) = (self.head.len() as u64, self.tail.len() as u64);
        let tail_begins = head + self.cut_bytes;
        let total_bytes = tail_begins + tail;
        let (part, begins) = if cursor < head { (&self.head, 0) } else { (&self.tail, tail_begins) };
        let cursor = cursor.clamp(begins, total_bytes);
        let skipped = usize::try_from(cursor - begins).unwrap_or(usize::MAX);
        let bytes: Vec<u8> = part.iter().skip(skipped).take(bytes_max).copied().collect();
        OutputPage { cursor, next_cursor: cursor + bytes.len() as u64, bytes, total_bytes }
    }
}

impl Pyro {
    /// The commands of a workspace since it was made or reset, oldest first.
    pub fn history(&self, reference: &str) -> Result<Vec<HistoryEntry>, Failure> {
        let record = self.find_workspace(reference)?;
        let mut entries = Vec::new();
        let mut next = 0;
        loop {
            let page = self.store.execs(&record.workspace.id, next, HISTORY_PAGE_ENTRIES)?;
            let Some(last) = page.last() else { return Ok(entries) };
            next = last.sequence + 1;
            entries.extend(page.iter().map(describe));
        }
    }

    /// One command of a workspace.
    pub fn history_entry(&self, reference: &str, sequence: u64) -> Result<HistoryEntry, Failure> {
        let record = self.find_workspace(reference)?;
        let exec = self.store.exec(&record.workspace.id, sequence)?;
        exec.as_ref().map(describe).ok_or_else(|| unknown(&record, sequence))
    }

    /// What is kept of a command's standard output and standard error; of one that is long ago, nothing.
    pub fn kept_output(&self, reference: &str, sequence: u64) -> Result<[KeptOutput; 2], Failure> {
        let record = self.find_workspace(reference)?;
        let place = self.config.directories.workspace(&record.workspace.id);
        let read = |path: std::path::PathBuf| match OutputReader::open(&path).and_then(|reader| reader.kept())
        {
            Ok(kept) => Ok(KeptOutput { head: kept.head, cut_bytes: kept.cut_bytes, tail: kept.tail }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(KeptOutput::default()),
            Err(error) => {
                Err(Failure::new(Code::StateUnusable, format!("{} cannot be read", path.display()))
                    .because(error)
                    .fix("make it readable; the other commands' output can be shown with --sequence"))
            }
        };
        Ok([
            read(place.output(sequence, OutputStream::Stdout))?,
            read(place.output(sequence, OutputStream::Stderr))?,
        ])
    }
}

impl Workspace {
    /// Starts a command.
    pub fn exec(&mut self, exec: Exec) -> Result<Execution<'_>, Failure> {
        self.connection.exec(exec)
    }

    /// Starts a command that nobody waits for; gives its number once it runs.
    pub async fn exec_detached(&mut self, command: Exec) -> Result<u64, Failure> {
        let mut call = self.connection.call(&shim::Request::Exec(shim::Exec { command, detach: true }))?;
        let mut recorded = None;
        loop {
            match call.next().await? {
                News::Event(shim::Event::Recorded { sequence }) => recorded = Some(sequence),
                News::Reply(reply) => {
                    return match (reply, recorded) {
                        (shim::Reply::Detached, Some(sequence)) => Ok(sequence),
                        (shim::Reply::Refused(failure), _) => Err(failure.into()),
                        (shim::Reply::Failed(failure), _) => Err(failure.into()),
                        (other, _) => Err(unexpected(&other)),
                    };
                }
                News::Event(_) | News::Data(..) | News::Room => {}
            }
        }
    }

    /// Follows a command from its first byte that is kept to its end.
    pub fn follow(&mut self, sequence: u64) -> Result<Execution<'_>, Failure> {
        self.connection.follow(sequence)
    }
}

fn unknown(record: &WorkspaceRecord, sequence: u64) -> Failure {
    Failure::new(Code::CommandUnknown, format!("the workspace {} has no command {sequence}", called(record)))
        .fix("see `pyro workspace logs` for the numbers there are")
}

fn describe(record: &ExecRecord) -> HistoryEntry {
    let end = record.end.as_ref();
    HistoryEntry {
        sequence: record.sequence,
        command: shell_words(&record.exec.command),
        argv: record.exec.command.clone(),
        cwd: record.exec.directory.clone(),
        user: record.exec.user.clone(),
        detached: record.exec.detached,
        started_at: timestamp(record.started),
        state: end.map_or("running", |end| end.outcome.as_str()),
        exit_code: end.and_then(|end| end.exit_code),
        duration_ms: end
            .and_then(|end| end.duration)
            .map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        stdout_bytes: end.map_or(0, |end| end.stdout_bytes),
        stderr_bytes: end.map_or(0, |end| end.stderr_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the bound, both ends are there and what is between them is counted.
    #[test]
    fn kept_output_is_bounded_and_paged() {
        let kept = KeptOutput { head: b"abcdef".to_vec(), cut_bytes: 10, tail: b"uvwxyz".to_vec() };
        assert_eq!(kept.bounded(12), kept);
        let bounded = KeptOutput { head: b"ab".to_vec(), cut_bytes: 17, tail: b"xyz".to_vec() };
        assert_eq!(kept.bounded(5), bounded);
        let page = |cursor, bytes_max| {
            let page = kept.page(cursor, bytes_max);
            assert_eq!(page.total_bytes, 22);
            (page.cursor, String::from_utf8(page.bytes).unwrap(), page.next_cursor)
        };
        assert_eq!(page(0, 4), (0, "abcd".to_owned(), 4));
        assert_eq!(page(4, 100), (4, "ef".to_owned(), 6));
        assert_eq!(page(6, 100), (16, "uvwxyz".to_owned(), 22));
        assert_eq!(page(18, 2), (18, "wx".to_owned(), 20));
        assert_eq!(page(999, 2), (22, String::new(), 22));
    }
}
