//! What is told of a run at its end.

use std::collections::BTreeMap;

use pyro::Exited;
use serde::Serialize;

use crate::arguments::Run;
use crate::exit::Status;
use crate::outcome::{reason, shell_words};
use crate::pump::Captured;

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
            reason: reason(exited.outcome),
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

fn is_zero(count: &u64) -> bool {
    *count == 0
}
