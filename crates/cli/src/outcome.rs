//! How a guest's command ended, in words.

use pyro::{Exited, Outcome};

use crate::terminal;

/// What an exit code alone does not say.
pub(crate) fn explain(exited: &Exited, timeout_seconds: u64, memory_mib: u64) {
    match exited.outcome {
        Outcome::TimedOut => terminal::error(&format!(
            "the command was killed at its time limit of {timeout_seconds} s; give it longer with --timeout-seconds",
        )),
        Outcome::OutOfMemory => terminal::error(&format!(
            "the guest ran out of memory ({memory_mib} MiB) and killed the command; give it more with --mem-mib",
        )),
        Outcome::Code(_) | Outcome::Signal(_) if exited.out_of_memory_kills > 0 => terminal::note(&format!(
            "note: the guest ran out of memory ({memory_mib} MiB) and killed {} of the command's processes",
            exited.out_of_memory_kills
        )),
        Outcome::Code(_) | Outcome::Signal(_) => {}
    }
}
