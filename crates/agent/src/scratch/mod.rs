//! The scratch disk's filesystem as a whole: written out, frozen, thawed, counted.
//!
//! While it is frozen whoever wants to change it stands still, and may hold locks that readers of the same
//! directory wait for: the event loop must not go there then. [`Scratch::thawed`] is what to wait for.

mod frost;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use pyro_proto::agent::{Failure, FailureKind, Written};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::watch;

use self::frost::{freeze, thaw};
use crate::console::warn;
use crate::failure::{errno_text, failure, system};
use crate::limits::SMALL_FILE_BYTES_MAX;

/// Bytes of what the kernel counts a disk's writes in, whatever the disk (`Documentation/block/stat.rst`).
const SECTOR_BYTES: u64 = 512;
/// Where sectors written stand in a disk's counters.
const SECTORS_WRITTEN: usize = 6;

/// The filesystem and who may change it.
#[derive(Debug)]
pub(crate) struct Scratch {
    root: OwnedFd,
    /// The disk's counters; none where there is no disk below (a test).
    counters: Option<OwnedFd>,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Thawed,
    /// What there is to write is written, before anybody has to wait for it.
    Writing,
    /// A thread is at it.
    Freezing,
    /// A thread is at it, and is to undo it at once.
    Forsaken,
    Frozen,
}

/// What is counted from.
#[derive(Debug)]
struct Start {
    at: Instant,
    sectors: u64,
}

impl Scratch {
    /// The filesystem that `root` is the root of.
    pub(crate) fn new(root: OwnedFd) -> Scratch {
        let counters = counters(root.as_fd());
        Scratch { root, counters, state: watch::Sender::new(State::Thawed) }
    }

    /// Returns once the filesystem may be changed.
    pub(crate) async fn thawed(&self) {
        // It fails when the sender is gone, which is `self`.
        let _ = self.state.subscribe().wait_for(|state| state.is_thawed()).await;
    }

    /// Whether it may be changed right now.
    pub(crate) fn is_thawed(&self) -> bool {
        self.state.borrow().is_thawed()
    }

    /// Writes everything out and lets nobody change it.
    pub(crate) async fn freeze(self: &Arc<Self>) -> Result<Written, Failure> {
        if !self.replace(State::Thawed, State::Writing) {
            return Err(failure(FailureKind::Refused, "the scratch disk is frozen already"));
        }
        let start = self.now();
        let frozen = match self.on_thread(|scratch| rustix::fs::syncfs(&scratch.root)).await {
            Ok(()) if self.replace(State::Writing, State::Freezing) => {
                self.on_thread(move |scratch| scratch.freeze_since(&start)).await
            }
            Ok(()) => Err(Errno::CANCELED),
            Err(errno) => {
                self.replace(State::Writing, State::Thawed);
                Err(errno)
            }
        };
        frozen.map_err(|errno| system("the scratch disk cannot be frozen", errno))
    }

    /// Undoes [`Self::freeze`].
    pub(crate) fn thaw(&self) -> Result<(), Failure> {
        if *self.state.borrow() != State::Frozen {
            return Err(failure(FailureKind::Refused, "the scratch disk is not frozen"));
        }
        thaw(self.root.as_fd()).map_err(|errno| system("the scratch disk cannot be thawed", errno))?;
        self.state.send_replace(State::Thawed);
        Ok(())
    }

    /// Thaws for a host that has left, or never heard that it was frozen.
    pub(crate) fn forsake(&self) {
        let is_coming =
            self.replace(State::Writing, State::Thawed) || self.replace(State::Freezing, State::Forsaken);
        if is_coming || *self.state.borrow() != State::Frozen {
            return;
        }
        if let Err(failure) = self.thaw() {
            warn(failure);
        }
    }

    /// Writes everything to all disks; tells of this one.
    pub(crate) async fn sync(self: &Arc<Self>) -> Result<Written, Failure> {
        let start = self.now();
        let synced = self.on_thread(move |scratch| {
            rustix::fs::sync();
            Ok(scratch.written_since(&start))
        });
        synced.await.map_err(|errno| system("the disks could not be written", errno))
    }

    fn freeze_since(&self, start: &Start) -> rustix::io::Result<Written> {
        let frozen = freeze(self.root.as_fd()).map(|()| self.written_since(start));
        let next = if frozen.is_ok() { State::Frozen } else { State::Thawed };
        if !self.replace(State::Freezing, next) {
            if let Some(errno) = frozen.is_ok().then(|| thaw(self.root.as_fd()).err()).flatten() {
                warn(format_args!("the scratch disk cannot be thawed: {}", errno_text(errno)));
            }
            self.state.send_replace(State::Thawed);
            return Err(Errno::CANCELED);
        }
        frozen
    }

    async fn on_thread<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Scratch) -> rustix::io::Result<T> + Send + 'static,
    ) -> rustix::io::Result<T> {
        let scratch = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&scratch)).await;
        done.unwrap_or(Err(Errno::CANCELED))
    }

    fn now(&self) -> Start {
        Start { at: Instant::now(), sectors: self.sectors_written() }
    }

    fn written_since(&self, start: &Start) -> Written {
        let sectors = self.sectors_written().saturating_sub(start.sectors);
        // Nothing may fail here: what was done is done.
        let entries = rustix::fs::fstatvfs(&self.root)
            .map_or(0, |filesystem| filesystem.f_files.saturating_sub(filesystem.f_ffree));
        Written {
            bytes: sectors.saturating_mul(SECTOR_BYTES),
            duration_us: u64::try_from(start.at.elapsed().as_micros()).unwrap_or(u64::MAX),
            entries,
        }
    }

    fn sectors_written(&self) -> u64 {
        let mut text = vec![0; SMALL_FILE_BYTES_MAX];
        let count =
            self.counters.as_ref().and_then(|counters| rustix::io::pread(counters, &mut *text, 0).ok());
        sectors_written(text.get(..count.unwrap_or(0)).unwrap_or_default())
    }

    fn replace(&self, from: State, to: State) -> bool {
        self.state.send_if_modified(|state| {
            let is_from = *state == from;
            if is_from {
                *state = to;
            }
            is_from
        })
    }
}

impl State {
    fn is_thawed(self) -> bool {
        matches!(self, State::Thawed | State::Writing)
    }
}

impl AsFd for Scratch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

fn counters(root: BorrowedFd<'_>) -> Option<OwnedFd> {
    let device = rustix::fs::fstat(root).ok()?.st_dev;
    let path = format!("/sys/dev/block/{}:{}/stat", rustix::fs::major(device), rustix::fs::minor(device));
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

fn sectors_written(counters: &[u8]) -> u64 {
    let text = std::str::from_utf8(counters).unwrap_or_default();
    text.split_ascii_whitespace().nth(SECTORS_WRITTEN).and_then(|sectors| sectors.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
