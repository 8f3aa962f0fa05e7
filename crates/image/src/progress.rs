//! How long work tells of itself and is stopped. It never prints: the caller decides what a person sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The steps of a pull, in the order they happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Another process pulls the same environment: wait for it.
    Wait,
    /// Packages are downloaded, unpacked and configured. Units: package steps.
    Packages,
    /// The kernel is decompressed and its modules are sorted. Units: bytes.
    Kernel,
    /// The root image is written. Units: bytes of the archive.
    Image,
    /// The result is checked and its digest taken. Units: bytes.
    Verify,
    /// The environment is installed.
    Ready,
}

impl Phase {
    /// The phase's name in machine-readable progress.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Wait => "wait",
            Phase::Packages => "packages",
            Phase::Kernel => "kernel",
            Phase::Image => "image",
            Phase::Verify => "verify",
            Phase::Ready => "ready",
        }
    }
}

/// Where progress goes. Calls are frequent and must not block.
pub trait Progress: Sync {
    /// A phase begins; the phase before it is over.
    fn phase(&self, phase: Phase);
    /// `done` units of the phase are done, of `total` when that is known.
    fn advance(&self, done: u64, total: Option<u64>);
    /// One line about what happens right now (a package's name, for example).
    fn note(&self, text: &str);
}

/// Progress that nobody looks at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn phase(&self, _phase: Phase) {}
    fn advance(&self, _done: u64, _total: Option<u64>) {}
    fn note(&self, _text: &str) {}
}

/// Long work looks at this flag often and stops soon after it is raised. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

/// The work was stopped because its [`Cancel`] was raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("canceled")]
pub struct Canceled;

impl Cancel {
    /// A flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag. Only stores an atomic, so it may be called from a signal handler's thread.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the flag is raised.
    pub fn is_canceled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// An error once the flag is raised, for `?`.
    pub fn check(&self) -> Result<(), Canceled> {
        if self.is_canceled() { Err(Canceled) } else { Ok(()) }
    }
}
