//! How a command ended, told from what is known of its end. Pure.

use pyro_proto::agent::Outcome;
use rustix::process::WaitStatus;

/// Why the agent killed a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Killed {
    /// It did not.
    No,
    /// Its host asked for it.
    Asked,
    /// Its time was over.
    TimedOut,
}

/// How a process ended, in the kernel's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By `exit`.
    Code(u8),
    /// By a signal.
    Signal(u8),
}

const SIGKILL: u8 = 9;

impl End {
    /// The end that a wait status tells of; `None` for a process that was merely stopped.
    pub(crate) fn of(status: WaitStatus) -> Option<End> {
        let byte = |value: i32| u8::try_from(value).unwrap_or(u8::MAX);
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Some(End::Code(byte(code))),
            (None, Some(signal)) => Some(End::Signal(byte(signal))),
            (None, None) => None,
        }
    }
}

/// The outcome of a command that ended with `end`.
pub(crate) fn outcome(end: End, killed: Killed, out_of_memory_kills: u32) -> Outcome {
    match (end, killed) {
        // It may have ended by itself in that very moment; nothing tells the two apart.
        (_, Killed::TimedOut) => Outcome::TimedOut,
        (End::Code(code), _) => Outcome::Code(code),
        (End::Signal(SIGKILL), Killed::No) if out_of_memory_kills > 0 => Outcome::OutOfMemory,
        (End::Signal(signal), _) => Outcome::Signal(signal),
    }
}

/// The kernel's count of processes killed for want of memory, from a `memory.events` file.
pub(crate) fn out_of_memory_kills(memory_events: &str) -> u32 {
    memory_events
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time limit, a kill for want of memory, a signal and an exit code are told apart.
    #[test]
    fn ends_are_told_apart() {
        assert_eq!(outcome(End::Code(7), Killed::No, 0), Outcome::Code(7));
        assert_eq!(outcome(End::Code(0), Killed::No, 3), Outcome::Code(0));
        assert_eq!(outcome(End::Signal(9), Killed::No, 0), Outcome::Signal(9));
        assert_eq!(outcome(End::Signal(9), Killed::No, 1), Outcome::OutOfMemory);
        assert_eq!(outcome(End::Signal(15), Killed::No, 1), Outcome::Signal(15));
        assert_eq!(outcome(End::Signal(9), Killed::Asked, 0), Outcome::Signal(9));
        assert_eq!(outcome(End::Signal(9), Killed::TimedOut, 1), Outcome::TimedOut);
    }

    /// The kernel's own count is used, whatever else its file holds.
    #[test]
    fn kills_are_counted() {
        assert_eq!(out_of_memory_kills("low 0\nhigh 0\nmax 3\noom 2\noom_kill 5\noom_group_kill 0\n"), 5);
        assert_eq!(out_of_memory_kills(""), 0);
    }
}
