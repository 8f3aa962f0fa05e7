//! Descriptors in the event loop.

#![allow(unsafe_code)]

use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor that the event loop watches for its whole life.
pub(crate) type Watched = AsyncFd<OwnedFd>;

/// Enters a descriptor that does not block into the event loop of this thread.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> std::io::Result<Watched> {
    // SAFETY: an `OwnedFd` is open and the same until it is dropped, and the `AsyncFd` owns it.
    let watched = unsafe { AsyncFd::register_with_interest(fd, interest) };
    watched.map_err(|error| error.into_parts().1)
}
