//! What is told of a run at its end.

use std::collections::BTreeMap;
use std::ffi::OsString;

use pyro::{Exited, Outcome};
use serde::Serialize;

use crate::arguments::Run;
use crate::exit::Status;
use crate::pump::Captured;
use crate::terminal;

/// What is known of a VM once it is gone.
pub(super) struct Summary {
    pub(super) accelerator: &'static str,
    pub(super) execution_mode: &'static str,
    /// Steps and microseconds.
    pub(super) timings: Vec<(String, u64)>,
    pub(super) vm_id: String,
    pub(super) duration_ms: u128,
}

impl Summary {
    pub(super) fn into_report(
        self,
        arguments: &Run,
        exited: &Exited,
        captured: Captured,
        deleted: bool,
    ) -> RunReport {
        RunReport {
            accelerator: self.accelerator,
            cleanup: Cleanup { deleted, reason: "post_exec_cleanup", vm_id: self.vm_id },
            command: shell_words(&arguments.command),
            duration_ms: self.duration_ms,
            environment: arguments.environment.clone(),
            execution_mode: self.execution_mode,
            exit_code: Status::of_command(exited).number(),
            reason: match exited.outcome {
                Outcome::TimedOut => Some("timeout"),
                Outcome::OutOfMemory => Some("out_of_memory"),
                Outcome::Signal(_) => Some("signal"),
                Outcome::Code(_) => None,
            },
            stderr_bytes_cut: captured.stderr.cut(),
            stderr: captured.stderr.into_text(),
            stdout_bytes_cut: captured.stdout.cut(),
            stdout: captured.stdout.into_text(),
            timings: self.timings.into_iter().map(|(step, us)| (step, us as f64 / 1000.0)).collect(),
        }
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct RunReport {
    accelerator: &'static str,
    cleanup: Cleanup,
    command: String,
    duration_ms: u128,
    environment: String,
    execution_mode: &'static str,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    stderr: String,
    #[serde(skip_serializing_if = "is_zero")]
    stderr_bytes_cut: u64,
    stdout: String,
    #[serde(skip_serializing_if = "is_zero")]
    stdout_bytes_cut: u64,
    /// Milliseconds.
    timings: BTreeMap<String, f64>,
}

#[derive(Debug, Serialize)]
struct Cleanup {
    deleted: bool,
    reason: &'static str,
    vm_id: String,
}

/// What an exit code alone does not say.
pub(super) fn explain(exited: &Exited, arguments: &Run) {
    match exited.outcome {
        Outcome::TimedOut => terminal::error(&format!(
            "the command was killed at its time limit of {} s; give it longer with --timeout-seconds",
            arguments.timeout_seconds
        )),
        Outcome::OutOfMemory => terminal::error(&format!(
            "the guest ran out of memory ({} MiB) and killed the command; give it more with --mem-mib",
            arguments.sizing.mem_mib
        )),
        Outcome::Code(_) | Outcome::Signal(_) if exited.out_of_memory_kills > 0 => terminal::note(&format!(
            "note: the guest ran out of memory ({} MiB) and killed {} of the command's processes",
            arguments.sizing.mem_mib, exited.out_of_memory_kills
        )),
        Outcome::Code(_) | Outcome::Signal(_) => {}
    }
}

/// The command as a shell would take it.
fn shell_words(command: &[OsString]) -> String {
    command.iter().map(|word| shell_word(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
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
        let words = ["git", "--version", "a b", "it's", ""].map(OsString::from);
        assert_eq!(shell_words(&words), r"git --version 'a b' 'it'\''s' ''");
    }
}
