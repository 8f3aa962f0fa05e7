//! The root image's writer: the image crate's thread asks, the asynchronous side runs the VM.

use std::error::Error;
use std::path::PathBuf;
use std::sync::mpsc as blocking;
use std::time::Duration;

use pyro_image::{Agent, Cache, Cancel, GuestKit, Progress, RootJob, RootReport, RootWriter};
use tokio::sync::mpsc;

use crate::Failure;

/// How often the waiting thread looks whether the pull was called off.
const CANCEL_POLL: Duration = Duration::from_millis(50);

/// A root image to be written.
#[derive(Debug)]
pub(super) struct WriteJob {
    pub(super) tar: PathBuf,
    pub(super) tar_bytes: u64,
    pub(super) image: PathBuf,
    pub(super) kit: GuestKit,
    pub(super) news: blocking::Sender<WriteNews>,
}

/// What the asynchronous side tells.
#[derive(Debug)]
pub(super) enum WriteNews {
    Note(&'static str),
    Progress { done: u64, total: u64 },
    Done(Result<u64, Failure>),
}

/// Hands jobs to the asynchronous side and waits.
pub(super) struct VmWriter {
    cache: Cache,
    agent: Agent<'static>,
    jobs: mpsc::UnboundedSender<WriteJob>,
}

impl VmWriter {
    pub(super) fn new(
        cache: Cache,
        agent: Agent<'static>,
        jobs: mpsc::UnboundedSender<WriteJob>,
    ) -> VmWriter {
        VmWriter { cache, agent, jobs }
    }
}

impl RootWriter for VmWriter {
    fn write_root(
        &mut self,
        job: &RootJob<'_>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<RootReport, Box<dyn Error + Send + Sync>> {
        let kit = pyro_image::ensure_guest(&self.cache, job.kernel, self.agent)?;
        let (sender, news) = blocking::channel();
        let (tar, image) = (job.tar.to_owned(), job.image.to_owned());
        self.jobs.send(WriteJob { tar, tar_bytes: job.tar_bytes, image, kit, news: sender })?;
        loop {
            match news.recv_timeout(CANCEL_POLL) {
                Ok(WriteNews::Note(text)) => progress.note(text),
                Ok(WriteNews::Progress { done, total }) => progress.advance(done, Some(total)),
                Ok(WriteNews::Done(written)) => return Ok(RootReport { entries: written? }),
                Err(blocking::RecvTimeoutError::Timeout) => cancel.check()?,
                Err(gone @ blocking::RecvTimeoutError::Disconnected) => return Err(Box::new(gone)),
            }
        }
    }
}
