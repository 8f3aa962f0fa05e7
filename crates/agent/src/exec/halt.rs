//! All commands stopped together, for a copy of the guest's memory: none runs in the copy before that is a computer of
//! its own, with its own random numbers and the time of now.
//!
//! By the freezer of control groups (`cgroup.freeze`, Documentation/admin-guide/cgroup-v2.rst). A process that sleeps in the
//! kernel stops on its way out. While all are stopped none is started: its birth would wait for its first
//! instruction, and the agent for its birth.

use tokio::sync::watch;

use super::cgroup::Cgroups;
use super::engine::Engine;
use crate::console::warn;
use crate::failure::errno_text;
use crate::limits::{HALT_RECHECK_MS, HALT_WAIT_MS_MAX};

/// Whether commands are stopped.
#[derive(Debug, Default)]
pub(super) struct Halt(watch::Sender<bool>);

impl Halt {
    /// Whether they are.
    pub(super) fn is_on(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until they are not.
    pub(super) async fn is_over(&self) {
        // The sender is here: it cannot be gone.
        let _ = self.0.subscribe().wait_for(|halted| !halted).await;
    }
}

impl Engine {
    /// Stops all commands; returns when they stand, or will as soon as they leave the kernel.
    pub(crate) async fn halt(&self) {
        if self.halt.0.send_replace(true) {
            return;
        }
        self.set_frozen(true);
        let stand = async {
            while !self.cgroups.borrow().are_frozen() {
                tokio::time::sleep(HALT_RECHECK_MS).await;
            }
        };
        let _ = tokio::time::timeout(HALT_WAIT_MS_MAX, stand).await;
    }

    /// Lets them run again.
    pub(crate) fn go_on(&self) {
        if self.halt.0.send_replace(false) {
            self.set_frozen(false);
        }
    }

    fn set_frozen(&self, frozen: bool) {
        if let Err(errno) = Cgroups::set_frozen(&self.cgroups.borrow(), frozen) {
            warn(format_args!("commands cannot be stopped or let go on: {}", errno_text(errno)));
        }
    }
}
