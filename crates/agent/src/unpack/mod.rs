//! A builder's work: a tar archive from one disk becomes a root filesystem on another.
//!
//! The archive is hostile: no path of it leaves the image, no length is believed. Runs beside the event
//! loop on a thread of its own, and ends with everything written out and unmounted.

mod archive;
mod entry_path;
mod header;
mod image;
mod pax;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pyro_proto::agent::{Event, Failure, FailureKind, Reply};
use rustix::io::Errno;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::exec::CallIo;
use crate::failure::{errno_text, failure, system};
use crate::limits::PROGRESS_MS_MIN;

/// Why an archive did not become a root.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    /// The archive breaks its format, or a rule of this agent.
    #[error("the archive is damaged: {0}")]
    Damaged(String),
    /// The archive's disk could not be read.
    #[error("the archive cannot be read: {}", errno_text(*.0))]
    Read(Errno),
    /// An entry could not be written.
    #[error("{path} cannot be written: {}", errno_text(*errno))]
    Write { path: String, errno: Errno },
    /// A step around the unpacking failed.
    #[error("{}", .0.detail)]
    Step(Failure),
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// Writes the root image, telling the host how far it has come.
pub(crate) async fn write_root(archive_bytes: u64, io: &CallIo) -> Result<Reply, Failure> {
    let done = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&done);
    let mut work = tokio::task::spawn_blocking(move || image::write_image(archive_bytes, &counter));
    let mut tick = interval_at(Instant::now() + PROGRESS_MS_MIN, PROGRESS_MS_MIN);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            result = &mut work => {
                let written = result.map_err(|_| failure(FailureKind::System, "the unpacking thread ended"))??;
                return Ok(Reply::RootWritten { entries: written.entries, bytes: written.bytes });
            }
            _ = tick.tick() => {
                io.event(&Event::Progress { done: done.load(Ordering::Relaxed), total: archive_bytes }).await;
            }
        }
    }
}

impl From<UnpackError> for Failure {
    fn from(error: UnpackError) -> Failure {
        let detail = error.to_string();
        match error {
            UnpackError::Damaged(_) => failure(FailureKind::ArchiveDamaged, detail),
            UnpackError::Read(errno) => system("the archive cannot be read", errno),
            UnpackError::Write { path, errno } => system(format_args!("{path} cannot be written"), errno),
            UnpackError::Step(failure) => failure,
        }
    }
}
