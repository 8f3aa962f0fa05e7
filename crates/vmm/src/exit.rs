//! How a virtual machine ended, told apart.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// Marks the first line of a Linux panic.
const PANIC_MARK: &str = "Kernel panic - not syncing";

/// `SIGBUS` on x86-64.
const SIGBUS: i32 = 7;

/// Longest panic message kept, in characters.
const PANIC_CHARS_MAX: usize = 200;

/// Why a VM is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// We ended it.
    Killed,
    /// The guest powered itself off.
    PoweredOff,
    /// The guest restarted, which ends the VM.
    Restarted,
    /// The guest's kernel panicked.
    Panicked {
        /// The panic's first line.
        message: String,
    },
    /// QEMU itself ended when it should not have.
    VmmDied {
        /// How.
        status: Death,
        /// The end of what it wrote.
        stderr: String,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// By itself, with a code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl From<ExitStatus> for Death {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Death::Code(code),
            (None, signal) => Death::Signal(signal.unwrap_or(0)),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Death::Code(code) => write!(f, "exit code {code}"),
            // Memory that is a file cannot be touched when there is no room left for it.
            Death::Signal(SIGBUS) => write!(f, "signal {SIGBUS}, as when the disk is full"),
            Death::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Killed => f.write_str("the VM was ended"),
            Exit::PoweredOff => f.write_str("the guest powered off"),
            Exit::Restarted => f.write_str("the guest restarted"),
            Exit::Panicked { message } => write!(f, "the guest's kernel panicked: {message}"),
            Exit::VmmDied { status, stderr } => match stderr.trim().lines().last() {
                Some(line) => write!(f, "QEMU ended with {status}: {line}"),
                None => write!(f, "QEMU ended with {status}"),
            },
        }
    }
}

/// Why QEMU says the guest shut down (`ShutdownCause`, qapi/run-state.json).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shutdown {
    /// The guest asked to be powered off.
    GuestPowerOff,
    /// The guest asked for a restart.
    GuestReset,
    /// The guest panicked, as a device reports it.
    GuestPanic,
    /// The host asked.
    Host,
}

impl Shutdown {
    pub(crate) fn parse(reason: &str) -> Self {
        match reason {
            "guest-shutdown" => Shutdown::GuestPowerOff,
            "guest-reset" => Shutdown::GuestReset,
            "guest-panic" => Shutdown::GuestPanic,
            _ => Shutdown::Host,
        }
    }
}

/// Whether we told QEMU to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Asked,
    Unasked,
}

/// Tells how a VM ended from what is known once its process is gone. The console belongs to the guest, so a
/// panic is what a guest says of itself, no more.
pub(crate) fn classify(
    status: ExitStatus,
    ending: Ending,
    shutdown: Option<Shutdown>,
    console: &str,
    stderr: String,
) -> Exit {
    match (ending, shutdown) {
        (Ending::Asked, _) => Exit::Killed,
        (_, Some(Shutdown::GuestPowerOff)) => Exit::PoweredOff,
        (_, Some(Shutdown::GuestReset | Shutdown::GuestPanic)) => match panic_message(console) {
            Some(message) => Exit::Panicked { message },
            None => Exit::Restarted,
        },
        _ => Exit::VmmDied { status: Death::from(status), stderr },
    }
}

fn panic_message(console: &str) -> Option<String> {
    let line = console.lines().rfind(|line| line.contains(PANIC_MARK))?;
    let (_, message) = line.split_once(PANIC_MARK)?;
    Some(message.trim_start_matches(':').trim().chars().take(PANIC_CHARS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(raw: i32, ending: Ending, shutdown: Option<Shutdown>, console: &str) -> Exit {
        classify(ExitStatus::from_raw(raw), ending, shutdown, console, "qemu: no".to_owned())
    }

    #[test]
    fn every_cause_is_told_apart() {
        // Promise: panic, power-off, restart, a dead QEMU and our own kill are five different endings.
        let panic = "[    1.0] x\r\n[    1.2] Kernel panic - not syncing: sysrq triggered crash\r\n---[ end";
        let reset = Some(Shutdown::GuestReset);
        let panicked = Exit::Panicked { message: "sysrq triggered crash".to_owned() };
        assert_eq!(end(0, Ending::Unasked, reset, panic), panicked);
        assert_eq!(end(0, Ending::Unasked, reset, "bye"), Exit::Restarted);
        assert_eq!(end(0, Ending::Unasked, Some(Shutdown::GuestPowerOff), panic), Exit::PoweredOff);
        assert_eq!(end(9, Ending::Asked, None, ""), Exit::Killed);
        let died = |status| Exit::VmmDied { status, stderr: "qemu: no".to_owned() };
        assert_eq!(end(11, Ending::Unasked, None, panic), died(Death::Signal(11)));
        assert_eq!(end(256, Ending::Unasked, None, ""), died(Death::Code(1)));
    }

    #[test]
    fn the_reason_shown_is_qemus_last_line() {
        // Promise: a QEMU that dies gives one clear line.
        assert_eq!(end(256, Ending::Unasked, None, "").to_string(), "QEMU ended with exit code 1: qemu: no");
    }
}
