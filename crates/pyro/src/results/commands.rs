//! Commands that ran.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{exit_code, is_zero, reason, shell_words};
use crate::{Finished, HistoryEntry, KeptOutput, Vm};

use super::Origin;

/// A command of a workspace, at its end.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Executed {
    /// The workspace.
    pub workspace_id: String,
    /// Its number in the workspace's history.
    pub sequence: Option<u64>,
    /// The command as a shell would take it.
    pub command: String,
    /// Where it ran.
    pub cwd: String,
    /// Where its output came from.
    #[serde(flatten)]
    pub origin: Origin,
    /// How it ended.
    #[serde(flatten)]
    pub end: End,
}

/// How a command ended, and what it wrote.
#[derive(Debug, Serialize, JsonSchema)]
pub struct End {
    /// As a shell would show it.
    pub exit_code: u8,
    /// `timeout`, `out_of_memory` or `signal`, when the end was not its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// How long it took.
    pub duration_ms: u64,
    /// Standard output.
    pub stdout: String,
    /// Bytes of it that are left out in the middle.
    #[serde(skip_serializing_if = "is_zero")]
    pub stdout_bytes_cut: u64,
    /// Standard error.
    pub stderr: String,
    /// Bytes of it that are left out in the middle.
    #[serde(skip_serializing_if = "is_zero")]
    pub stderr_bytes_cut: u64,
}

impl From<Finished> for End {
    fn from(finished: Finished) -> End {
        End {
            exit_code: exit_code(&finished.exited),
            reason: reason(finished.exited.outcome),
            duration_ms: u64::try_from(finished.duration.as_millis()).unwrap_or(u64::MAX),
            stdout_bytes_cut: finished.stdout.cut(),
            stdout: finished.stdout.into_text(),
            stderr_bytes_cut: finished.stderr.cut(),
            stderr: finished.stderr.into_text(),
        }
    }
}

/// A command of a workspace that nobody waits for.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Detached {
    /// The workspace.
    pub workspace_id: String,
    /// Its number in the workspace's history.
    pub sequence: u64,
    /// The command as a shell would take it.
    pub command: String,
    /// Where it runs.
    pub cwd: String,
    /// Always true.
    pub detached: bool,
    /// Where it runs.
    #[serde(flatten)]
    pub origin: Origin,
}

/// A command that ran in a VM of its own.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ran {
    /// What became of the VM.
    pub cleanup: Cleanup,
    /// The command as a shell would take it.
    pub command: String,
    /// The environment.
    pub environment: String,
    /// Where its output came from.
    #[serde(flatten)]
    pub origin: Origin,
    /// How it ended.
    #[serde(flatten)]
    pub end: End,
    /// What each step took, in milliseconds.
    pub timings: BTreeMap<String, f64>,
}

/// What became of a VM.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Cleanup {
    /// Whether nothing is left of it.
    pub deleted: bool,
    /// `post_exec_cleanup`.
    pub reason: &'static str,
    /// Which it was.
    pub vm_id: String,
}

/// What is known of a VM once it is gone.
#[derive(Clone, Debug)]
pub struct VmFacts {
    origin: Origin,
    vm_id: String,
    timings: Vec<(String, u64)>,
}

impl VmFacts {
    /// Reads them off while it is there.
    pub fn of(vm: &Vm) -> VmFacts {
        VmFacts {
            origin: Origin { execution_mode: vm.execution_mode(), accelerator: vm.accelerator() },
            vm_id: vm.id().to_owned(),
            timings: vm.timings().to_vec(),
        }
    }

    /// How the guest was reached, and what ran it.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// What each step took, in microseconds.
    pub fn timings(&self) -> &[(String, u64)] {
        &self.timings
    }
}

impl Ran {
    /// The result of a run, once its VM is gone.
    pub fn new<W: AsRef<std::ffi::OsStr>>(
        facts: VmFacts,
        environment: &str,
        command: &[W],
        finished: Finished,
        is_deleted: bool,
    ) -> Ran {
        let milliseconds = |(step, us): (String, u64)| (step, us as f64 / 1000.0);
        Ran {
            cleanup: Cleanup { deleted: is_deleted, reason: "post_exec_cleanup", vm_id: facts.vm_id },
            command: shell_words(command),
            environment: environment.to_owned(),
            origin: facts.origin,
            end: finished.into(),
            timings: facts.timings.into_iter().map(milliseconds).collect(),
        }
    }
}

/// Commands of a workspace, with what is kept of their output.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HistoryResult {
    /// The workspace.
    pub workspace_id: String,
    /// How many.
    pub count: usize,
    /// Oldest first.
    pub entries: Vec<LoggedCommand>,
}

/// A command, with what is kept of its output.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LoggedCommand {
    /// The command.
    #[serde(flatten)]
    pub entry: HistoryEntry,
    /// Standard output.
    pub stdout: String,
    /// Bytes of it that are not kept.
    pub stdout_bytes_cut: u64,
    /// Standard error.
    pub stderr: String,
    /// Bytes of it that are not kept.
    pub stderr_bytes_cut: u64,
}

impl LoggedCommand {
    /// A command and its two streams.
    pub fn new(entry: HistoryEntry, [stdout, stderr]: &[KeptOutput; 2]) -> LoggedCommand {
        LoggedCommand {
            entry,
            stdout: stdout.to_text(),
            stdout_bytes_cut: stdout.cut_bytes,
            stderr: stderr.to_text(),
            stderr_bytes_cut: stderr.cut_bytes,
        }
    }
}
