//! Exit codes, as `docker run` has them. Documented in `docs/errors.md`.

use std::process::ExitCode;

use pyro::results::exit_code;
use pyro::{Code, Exited, Failure};

use crate::interrupt;

/// How this process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(u8);

impl Status {
    /// All went well.
    pub(crate) const SUCCESS: Status = Status(0);
    /// A check found something wrong.
    pub(crate) const FAIL: Status = Status(1);
    /// The command line made no sense.
    pub(crate) const USAGE: Status = Status(2);
    /// Some of the work failed, which was told, and the rest is done.
    pub(crate) const INCOMPLETE: Status = Status(Status::PYRO_FAILED);
    /// A reader of the output left: what a shell shows for a process ended by `SIGPIPE`.
    pub(crate) const BROKEN_PIPE: Status = Status(128 + 13);
    /// What was waited for did not come in time.
    pub(crate) const TIMED_OUT: Status = Status(124);
    const PYRO_FAILED: u8 = 125;
    const NOT_EXECUTABLE: u8 = 126;
    const NOT_FOUND: u8 = 127;

    /// Ended by a signal of the host.
    pub(crate) fn signal(number: i32) -> Status {
        Status(128u8.saturating_add(u8::try_from(number).unwrap_or(0)))
    }

    /// The end of a guest's command.
    pub(crate) fn of_command(exited: &Exited) -> Status {
        Status(exit_code(exited))
    }

    /// A failure of pyro's own.
    pub(crate) fn of_failure(failure: &Failure) -> Status {
        Status(match failure.code {
            Code::InvalidArgument | Code::NotSupported | Code::PathOutside | Code::SnapshotReserved => 2,
            Code::Conflict | Code::ExecutableFiles => 1,
            Code::CommandNotFound => Status::NOT_FOUND,
            Code::CommandNotExecutable => Status::NOT_EXECUTABLE,
            Code::Interrupted => return Status::signal(interrupt::last()),
            _ => Status::PYRO_FAILED,
        })
    }

    /// The number a parent sees.
    pub(crate) fn number(self) -> u8 {
        self.0
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(status.0)
    }
}

#[cfg(test)]
mod tests {
    use pyro::Outcome;

    use super::*;

    fn exited(outcome: Outcome) -> Exited {
        Exited { outcome, out_of_memory_kills: 0, duration_us: 0 }
    }

    /// The codes people know from containers mean the same here.
    #[test]
    fn codes_are_those_of_docker() {
        assert_eq!(Status::of_command(&exited(Outcome::Code(7))).number(), 7);
        assert_eq!(Status::of_command(&exited(Outcome::Signal(9))).number(), 137);
        assert_eq!(Status::of_command(&exited(Outcome::TimedOut)).number(), 124);
        assert_eq!(Status::of_failure(&Failure::new(Code::CommandNotFound, "")).number(), 127);
        assert_eq!(Status::of_failure(&Failure::new(Code::CommandNotExecutable, "")).number(), 126);
        assert_eq!(Status::of_failure(&Failure::new(Code::GuestPanicked, "")).number(), 125);
        assert_eq!(Status::signal(15).number(), 143);
    }
}
