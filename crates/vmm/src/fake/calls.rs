//! What was asked of the fake.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::machine::{Flush, Machine, Serial};

/// One thing asked of the fake or of one of its VMs, whether or not it worked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// A machine was booted.
    Boot(Machine),
    /// A machine was forked from the template in that directory.
    Fork(Machine, PathBuf),
    /// A VM was paused.
    Pause,
    /// A VM was let go on.
    Resume,
    /// A disk was to get a new top.
    AddLayer {
        /// The disk.
        serial: Serial,
        /// The new top.
        overlay: PathBuf,
    },
    /// Flushes of a disk were to count, or not.
    SetFlush {
        /// The disk.
        serial: Serial,
        /// Whether they count.
        flush: Flush,
    },
    /// The memory a VM was forked from was to be copied.
    BaseCopy,
    /// A VM's state was to be copied.
    Capture,
    /// A VM was to become a template.
    Save,
    /// A VM was ended.
    Kill,
}

/// All of them, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls(Arc<Mutex<Vec<Call>>>);

impl Calls {
    pub(super) fn note(&self, call: Call) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    pub(super) fn all(&self) -> Vec<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
