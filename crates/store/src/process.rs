//! Telling one process from a later one with the same number.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

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
        let _ = self.signal();
    }

    /// The same, and waits until it is gone; `false` when it is still there after `patience`.
    pub fn kill_and_wait(&self, patience: Duration) -> bool {
        match self.signal() {
            Some(descriptor) => ends_within(&descriptor, patience).unwrap_or_else(|| !self.is_alive()),
            None => !self.is_alive(),
        }
    }

    /// Waits until it is gone by itself; `false` when it is still there after `patience`.
    pub fn wait(&self, patience: Duration) -> bool {
        match self.open() {
            Some(descriptor) => ends_within(&descriptor, patience).unwrap_or_else(|| !self.is_alive()),
            None => !self.is_alive(),
        }
    }

    /// `None` when there is nothing to signal.
    fn signal(&self) -> Option<OwnedFd> {
        let descriptor = self.open()?;
        let _ = rustix::process::pidfd_send_signal(&descriptor, rustix::process::Signal::KILL);
        Some(descriptor)
    }

    /// A descriptor of that very process, if it is there.
    fn open(&self) -> Option<OwnedFd> {
        let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw)?;
        // The descriptor pins the process, so that the check and what follows concern the same one.
        let descriptor = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
        self.is_alive().then_some(descriptor)
    }
}

/// Whether a process ends in time; `None` when that cannot be waited for.
fn ends_within(descriptor: &OwnedFd, patience: Duration) -> Option<bool> {
    let deadline = Instant::now() + patience;
    loop {
        // A process descriptor is readable once its process has ended, reaped or not (pidfd_open(2)).
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
        match poll(&mut [PollFd::new(descriptor, PollFlags::IN)], Some(&timeout)) {
            Ok(count) => return Some(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
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
        assert!(impostor.kill_and_wait(Duration::ZERO) && impostor.wait(Duration::ZERO));
    }

    /// A process is waited for without being touched, and for no longer than that.
    #[test]
    fn an_end_is_waited_for() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let identity = ProcessIdentity::of(child.id()).unwrap();
        assert!(!identity.wait(Duration::from_millis(20)) && identity.is_alive());
        drop(child.stdin.take());
        assert!(identity.wait(Duration::from_secs(60)));
        assert!(child.wait().unwrap().success());
    }
}
