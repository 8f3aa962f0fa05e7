//! All that a command has started, taken together: signalled, killed, waited for.
//!
//! By its control group it is found however it hides. Where there is none, its process group stands for it, and for as
//! long only as its first process: afterwards the group's number may be another's.

use std::time::Duration;

use rustix::process::Pid;

use super::cgroup::Cgroup;
use super::child::signal_group;
use super::engine::Engine;
use crate::limits::{TREE_RECHECK_MS_MAX, TREE_RECHECK_MS_MIN};

const SIGKILL: u8 = 9;

/// The processes of one command. Dropped before it is let go of, they are killed.
pub(super) struct Tree<'a> {
    engine: &'a Engine,
    /// The first process, for as long as it is there.
    first: Option<Pid>,
    cgroup: Option<Cgroup>,
    is_let_go: bool,
}

impl<'a> Tree<'a> {
    pub(super) fn new(engine: &'a Engine, first: Pid, cgroup: Option<Cgroup>) -> Tree<'a> {
        Tree { engine, first: Some(first), cgroup, is_let_go: false }
    }

    /// The first process, for as long as it is there.
    pub(super) fn first(&self) -> Option<Pid> {
        self.first
    }

    /// Takes note that the first process is gone.
    pub(super) fn first_is_gone(&mut self) {
        self.first = None;
    }

    /// What is left of it may go on.
    pub(super) fn let_go(&mut self) {
        self.is_let_go = true;
    }

    /// Sends a signal to every process, and lets those go on that are stopped: they would not hear it.
    pub(super) fn signal(&self, signal: u8) {
        match (&self.cgroup, self.first) {
            (Some(cgroup), _) => cgroup.signal(signal),
            (None, Some(first)) => signal_group(first, signal),
            (None, None) => {}
        }
    }

    /// Kills every process.
    pub(super) fn kill(&self) {
        let killed = self.cgroup.as_ref().map(Cgroup::kill);
        if let (None | Some(Err(_)), Some(first)) = (killed, self.first) {
            signal_group(first, SIGKILL);
        }
    }

    /// Returns once no process is left, as far as anybody can tell.
    pub(super) async fn is_gone(&self) {
        let Some(cgroup) = &self.cgroup else { return };
        let mut pause: Duration = TREE_RECHECK_MS_MIN;
        while !cgroup.is_empty() {
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(TREE_RECHECK_MS_MAX);
        }
    }

    /// Processes of it that were killed for want of memory.
    pub(super) fn out_of_memory_kills(&self) -> u32 {
        self.cgroup.as_ref().map_or(0, Cgroup::out_of_memory_kills)
    }
}

impl Drop for Tree<'_> {
    fn drop(&mut self) {
        if !self.is_let_go {
            self.kill();
        }
        self.engine.cgroups.borrow_mut().dispose(self.cgroup.take());
    }
}
