//! Telling one process from a later one with the same number.

use std::fs;

/// A process: its id and when it started, which together are never used twice in one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// Process id.
    pub pid: u32,
    /// Clock ticks after boot, field 22 of `/proc/PID/stat` (proc(5)).
    pub start_ticks: u64,
}

impl ProcessIdentity {
    /// The process that has `pid` now.
    pub fn of(pid: u32) -> Option<ProcessIdentity> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything; fields are counted from behind it.
        let fields = stat.rsplit_once(')')?.1;
        let start_ticks = fields.split_ascii_whitespace().nth(19)?.parse().ok()?;
        Some(ProcessIdentity { pid, start_ticks })
    }

    /// Whether that very process is still there.
    pub fn is_alive(&self) -> bool {
        ProcessIdentity::of(self.pid) == Some(*self)
    }

    /// Ends that very process; one that is gone, or another that has its number, is let be.
    pub fn kill(&self) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw) else { return };
        // The descriptor pins the process, so that the check and the signal concern the same one.
        let Ok(descriptor) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else {
            return;
        };
        if self.is_alive() {
            let _ = rustix::process::pidfd_send_signal(&descriptor, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reused process id is another process.
    #[test]
    fn identity_is_more_than_a_number() {
        let own = ProcessIdentity::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        let impostor = ProcessIdentity { start_ticks: own.start_ticks + 1, ..own };
        assert!(!impostor.is_alive());
        impostor.kill();
    }
}
