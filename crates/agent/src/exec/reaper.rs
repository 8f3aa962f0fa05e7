//! Waits for every process that ends, as PID 1 has to, and tells whoever started it.
//!
//! No end is missed: children are started on the same thread that reaps, so a child is entered before the
//! next reaping can see it.

use std::cell::RefCell;
use std::collections::HashMap;

use rustix::process::{Pid, WaitOptions, wait, waitpid};
use tokio::sync::oneshot;

use super::outcome::End;

/// Which processes are reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// All of them: PID 1.
    Everything,
    /// Those entered only, for a process that has other children too.
    Entered,
}

/// The children that somebody waits for.
#[derive(Debug)]
pub(crate) struct Reaper {
    scope: Scope,
    waiting: RefCell<HashMap<Pid, oneshot::Sender<End>>>,
}

impl Reaper {
    /// A reaper with nobody waiting, of the scope that this process's place asks for.
    pub(crate) fn new() -> Reaper {
        let scope = if rustix::process::getpid().is_init() { Scope::Everything } else { Scope::Entered };
        Reaper { scope, waiting: RefCell::default() }
    }

    /// Enters a child that was just started; its end comes once.
    pub(crate) fn enter(&self, pid: Pid) -> oneshot::Receiver<End> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().insert(pid, sender);
        receiver
    }

    /// Reaps all that have ended; gives how many of them nobody waited for.
    pub(crate) fn reap(&self) -> usize {
        match self.scope {
            Scope::Everything => self.reap_everything(),
            Scope::Entered => self.reap_entered(),
        }
    }

    fn reap_everything(&self) -> usize {
        let mut orphans = 0;
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let Some(end) = End::of(status) else { continue };
            match self.waiting.borrow_mut().remove(&pid) {
                Some(waiting) => drop(waiting.send(end)),
                None => orphans += 1,
            }
        }
        orphans
    }

    fn reap_entered(&self) -> usize {
        let pids: Vec<Pid> = self.waiting.borrow().keys().copied().collect();
        for pid in pids {
            let end = match waitpid(Some(pid), WaitOptions::NOHANG) {
                Ok(Some((_, status))) => End::of(status),
                Ok(None) | Err(_) => None,
            };
            if let (Some(end), Some(waiting)) =
                (end, end.and_then(|_| self.waiting.borrow_mut().remove(&pid)))
            {
                let _ = waiting.send(end);
            }
        }
        0
    }
}
