//! What operations give, as every face of pyro shows it: `--json` prints it, MCP sends it, with the same names.
//!
//! Shapes only: nothing here does anything. Text of a guest is in them as it came, with what is no UTF-8 replaced.

mod commands;
mod files;
mod programs;

use pyro_proto::agent::{Exited, Outcome};
use schemars::JsonSchema;
use serde::Serialize;

pub use commands::{Cleanup, Detached, End, Executed, HistoryResult, LoggedCommand, Ran, VmFacts};
pub use files::{
    AppliedResult, DiffResult, ExportedResult, FileContent, FileListing, FileWritten, LeftOutPath,
    PatchedResult, PushedResult, whole_patch,
};
pub use programs::{
    ScreenCursor, ServiceLines, ServiceList, ServiceResult, ShellList, ShellOutput, ShellResult,
};

use crate::{Code, Failure, ResetDone, SnapshotInfo, SnapshotTaken, Workspace, WorkspaceInfo};

/// A failure.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ErrorResult {
    /// What went wrong.
    pub error: ErrorBody,
}

/// What went wrong, why, and what to do next.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ErrorBody {
    /// Its class.
    pub code: Code,
    /// What happened.
    pub message: String,
    /// Why, as far as it is known.
    pub cause: Option<String>,
    /// What to do next.
    pub remediation: Option<String>,
    /// The end of the guest's console, where it explains something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console: Option<String>,
}

impl From<&Failure> for ErrorResult {
    fn from(failure: &Failure) -> ErrorResult {
        let console = String::from_utf8_lossy(&failure.console);
        ErrorResult {
            error: ErrorBody {
                code: failure.code,
                message: failure.message.clone(),
                cause: failure.cause.clone(),
                remediation: failure.remediation.clone(),
                console: (!console.is_empty()).then(|| console.into_owned()),
            },
        }
    }
}

/// Where a guest's answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Origin {
    /// How the guest is reached.
    pub execution_mode: &'static str,
    /// `kvm` or `tcg`.
    pub accelerator: &'static str,
}

impl From<&Workspace> for Origin {
    fn from(workspace: &Workspace) -> Origin {
        Origin { execution_mode: workspace.execution_mode(), accelerator: workspace.accelerator() }
    }
}

/// Workspaces.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WorkspaceList {
    /// How many.
    pub count: usize,
    /// All of them, oldest first.
    pub workspaces: Vec<WorkspaceInfo>,
}

/// Workspaces that are gone.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Deleted {
    /// Their ids.
    pub deleted: Vec<String>,
}

/// A workspace that was set back.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ResetResult {
    /// To what.
    pub reset: ResetDone,
    /// The workspace as it is now.
    pub workspace: WorkspaceInfo,
}

/// A snapshot that was taken.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SnapshotResult {
    /// Of which workspace.
    pub workspace_id: String,
    /// Its name.
    pub snapshot_name: String,
    /// `named`.
    pub kind: &'static str,
    /// What it took.
    #[serde(flatten)]
    pub taken: SnapshotTaken,
    /// Where it was taken.
    #[serde(flatten)]
    pub origin: Origin,
}

/// A workspace's snapshots.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SnapshotList {
    /// Of which workspace.
    pub workspace_id: String,
    /// How many.
    pub count: usize,
    /// All of them, oldest first.
    pub snapshots: Vec<SnapshotInfo>,
}

/// A snapshot that is gone.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SnapshotDeleted {
    /// Of which workspace.
    pub workspace_id: String,
    /// Its name.
    pub snapshot_name: String,
    /// Bytes that are free again at once.
    pub freed_bytes: u64,
}

/// The exit code that a shell, and `docker run`, would show for the end of a command.
pub fn exit_code(exited: &Exited) -> u8 {
    const TIMED_OUT: u8 = 124;
    const KILLED: u8 = 128 + 9;
    match exited.outcome {
        Outcome::Code(code) => code,
        Outcome::Signal(signal) => 128u8.saturating_add(signal),
        Outcome::TimedOut => TIMED_OUT,
        Outcome::OutOfMemory => KILLED,
    }
}

/// The word for an end that is not the command's own.
pub fn reason(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::TimedOut => Some("timeout"),
        Outcome::OutOfMemory => Some("out_of_memory"),
        Outcome::Signal(_) => Some("signal"),
        Outcome::Code(_) => None,
    }
}

/// A command as a shell would take it.
pub fn shell_words<W: AsRef<std::ffi::OsStr>>(command: &[W]) -> String {
    command.iter().map(|word| shell_word(&word.as_ref().to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command in a result can be pasted into a shell.
    #[test]
    fn commands_are_quoted() {
        let words = ["git", "--version", "a b", "it's", ""];
        assert_eq!(shell_words(&words), r"git --version 'a b' 'it'\''s' ''");
    }

    /// The codes people know from containers mean the same here.
    #[test]
    fn codes_are_those_of_docker() {
        let exited = |outcome| Exited { outcome, out_of_memory_kills: 0, duration_us: 0 };
        let ends = [Outcome::Code(7), Outcome::Signal(9), Outcome::TimedOut, Outcome::OutOfMemory];
        let codes = ends.map(|outcome| (exit_code(&exited(outcome)), reason(outcome)));
        let expected =
            [(7, None), (137, Some("signal")), (124, Some("timeout")), (137, Some("out_of_memory"))];
        assert_eq!(codes, expected);
    }
}
