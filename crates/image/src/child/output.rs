//! What a host program said, bounded, and how its run can fail.

use std::collections::VecDeque;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use crate::limits::{TOOL_ERROR_LINES_MAX, TOOL_TAIL_LINES_MAX};
use crate::progress::Canceled;
use crate::tools::ToolMissing;

/// A host program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not installed.
    #[error(transparent)]
    Missing(#[from] ToolMissing),
    /// The caller stopped the work; the program and all it started are gone.
    #[error(transparent)]
    Canceled(#[from] Canceled),
    /// It could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It took longer than anything reasonable and was killed.
    #[error("{program} did not finish in {} s", limit.as_secs())]
    TimedOut {
        /// The program.
        program: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// It ended with a failure.
    #[error("{program} failed ({status}){}", output.reason_suffix())]
    Failed {
        /// The program.
        program: &'static str,
        /// Its exit code or signal, in words.
        status: ExitStatus,
        /// What it said.
        output: ToolOutput,
    },
    /// This user has no subordinate ids, so no file of another user can be made.
    #[error("user {user} has no subordinate ids in {file}")]
    NoSubordinateIds {
        /// The user's name, or id where the name is not known.
        user: String,
        /// `/etc/subuid` or `/etc/subgid`.
        file: &'static str,
    },
    /// The kernel, or a policy of this system, refuses user namespaces to this user.
    #[error("this system refuses a user namespace{}", output.reason_suffix())]
    NamespaceRefused {
        /// What the programs that tried said.
        output: ToolOutput,
    },
}

/// What a program wrote to stderr, bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolOutput {
    /// The first lines that begin like an error (`E:`, `Err:`, `error:`).
    pub errors: Vec<String>,
    /// The last lines.
    pub tail: VecDeque<String>,
}

impl ToolOutput {
    /// All kept lines, errors first.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.errors.iter().chain(&self.tail).map(String::as_str)
    }

    /// The first error, or else the last words.
    fn reason_suffix(&self) -> String {
        self.errors.first().or(self.tail.back()).map(|line| format!(": {}", line.trim())).unwrap_or_default()
    }

    pub(super) fn add(&mut self, line: &str) {
        let is_error =
            ["E:", "Err:", "error:", "dpkg: error", "tar:"].iter().any(|start| line.starts_with(start));
        if is_error && self.errors.len() < TOOL_ERROR_LINES_MAX {
            self.errors.push(line.to_owned());
        }
        if self.tail.len() == TOOL_TAIL_LINES_MAX {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
    }
}
