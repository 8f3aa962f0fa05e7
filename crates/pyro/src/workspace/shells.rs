//! Shells: terminals in a workspace that stay, whoever leaves. What they printed is read from this host's files, and
//! waited for at the shim of the workspace's VM.

mod attach;
mod orders;
mod plain;
mod reading;
mod screen;
mod text;

use pyro_proto::agent::TerminalSize;
use pyro_proto::limits::{TERMINAL_CELLS_MAX, TERMINAL_SIDE_MAX};
use pyro_store::{OutputReader, ShellRecord, WorkspaceRecord};
use schemars::JsonSchema;
use serde::Serialize;

use super::timestamp;
use crate::results::shell_words;
use crate::{Code, Failure, Pyro};

pub use attach::Drawn;
pub use orders::ShellRequest;
pub(super) use orders::grace_ms;
pub use reading::{ReadRequest, ShellReading, ShellView};
pub use screen::{Screen, TerminalModes};

/// A shell in lists and results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ShellInfo {
    /// Its id.
    pub shell_id: String,
    /// `running`, `paused` (with its workspace), `exited`, `signaled`, `out_of_memory`, `closed`, `failed` (it could not be started) or `lost` (its VM
    /// ended with it).
    pub state: &'static str,
    /// Its command as a shell would take it; `shell` is the user's own.
    pub command: String,
    /// Program and arguments; none for the user's own shell.
    pub argv: Vec<String>,
    /// The directory it was started in.
    pub cwd: String,
    /// As whom, when that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Characters in a line of its terminal.
    pub cols: u16,
    /// Lines of its terminal.
    pub rows: u16,
    /// When it was opened.
    pub started_at: String,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// As a shell would see it, of one that has an end of its own.
    pub exit_code: Option<u8>,
}

impl ShellInfo {
    /// Whether there is a process of it, also one that is paused.
    pub fn is_up(&self) -> bool {
        matches!(self.state, "running" | "paused")
    }
}

impl Pyro {
    /// The shells of a workspace since it was made or reset, oldest first.
    pub fn shells(&self, reference: &str) -> Result<Vec<ShellInfo>, Failure> {
        let record = self.find_workspace(reference)?;
        let shells = self.store.shells(&record.workspace.id)?;
        Ok(shells.iter().map(|shell| describe(&record, shell)).collect())
    }

    /// One shell of a workspace, by its id or the beginning of it.
    pub fn shell(&self, reference: &str, shell: &str) -> Result<ShellInfo, Failure> {
        let record = self.find_workspace(reference)?;
        Ok(describe(&record, &self.store.shell(&record.workspace.id, shell)?))
    }

    fn shell_output(
        &self,
        workspace: &WorkspaceRecord,
        shell: &ShellRecord,
    ) -> Result<OutputReader, Failure> {
        let place = self.config.directories.workspace(&workspace.workspace.id);
        let path = place.shell_output(&shell.shell.id);
        OutputReader::open(&path).map_err(|error| {
            Failure::new(Code::StateUnusable, format!("{} cannot be read", path.display()))
                .because(error)
                .fix("make it readable; other shells are not affected")
        })
    }
}

pub(super) fn describe(workspace: &WorkspaceRecord, record: &ShellRecord) -> ShellInfo {
    let shell = &record.shell;
    let going = if workspace.paused.is_some() { "paused" } else { "running" };
    ShellInfo {
        shell_id: shell.id.as_str().to_owned(),
        state: record.end.map_or(going, |end| end.outcome.as_str()),
        // The user's own shell has no name until it runs.
        command: match shell.command.is_empty() {
            true => "shell".to_owned(),
            false => shell_words(&shell.command),
        },
        argv: shell.command.clone(),
        cwd: shell.directory.clone(),
        user: shell.user.clone(),
        cols: shell.columns,
        rows: shell.rows,
        started_at: timestamp(record.started),
        ended_at: record.ended.map(timestamp),
        exit_code: record.end.and_then(|end| end.exit_code),
    }
}

/// Reads the size of a terminal.
pub fn terminal_size(columns: u64, rows: u64) -> Result<TerminalSize, Failure> {
    let side = |flag: &str, value: u64| match u16::try_from(value) {
        Ok(side @ 1..=TERMINAL_SIDE_MAX) => Ok(side),
        _ => Err(Failure::new(Code::InvalidArgument, format!("{flag} {value} is no size of a terminal"))
            .fix(format!("give a number from 1 to {TERMINAL_SIDE_MAX}"))),
    };
    let size = TerminalSize { columns: side("--cols", columns)?, rows: side("--rows", rows)? };
    if !size.is_possible() {
        return Err(Failure::new(Code::InvalidArgument, "the terminal would be too large")
            .because(format!("{columns} x {rows} are more than {TERMINAL_CELLS_MAX} characters"))
            .fix("make it narrower, or give it fewer lines"));
    }
    Ok(size)
}

/// Reads the name or number of a signal: `INT`, `SIGINT`, `2`.
pub fn parse_signal(text: &str) -> Result<u8, Failure> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let by_name = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let by_number = || text.parse::<u8>().ok().filter(|number| (1..=64).contains(number));
    by_name.or_else(by_number).ok_or_else(|| {
        Failure::new(Code::InvalidArgument, format!("{text:?} is no signal"))
            .fix("write a name such as INT, TERM or HUP, or a number from 1 to 64")
    })
}

/// The signals of Linux on x86-64 (signal(7)).
const SIGNALS: [(&str, u8); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes that no terminal has, and signals that no kernel knows, are refused.
    #[test]
    fn sizes_and_signals_are_checked() {
        assert_eq!(terminal_size(10_000, 100).unwrap().columns, 10_000);
        for (columns, rows) in [(0, 0), (0, 24), (80, 0), (10_001, 1), (u64::MAX, 1), (10_000, 101)] {
            assert!(terminal_size(columns, rows).is_err(), "{columns} x {rows}");
        }
        for (text, number) in [("INT", 2), ("SIGINT", 2), ("sigterm", 15), ("9", 9), ("64", 64)] {
            assert_eq!(parse_signal(text).unwrap(), number);
        }
        for bad in ["", "0", "65", "NOPE", "SIG", "-1"] {
            assert!(parse_signal(bad).is_err(), "{bad:?}");
        }
    }
}
