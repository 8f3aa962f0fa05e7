//! A tree stream on its way from the event loop to the thread that writes it, a few pieces at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyro_proto::tree::{Record, TreeDecoder};
use tokio::sync::mpsc;

use super::error::WorkspaceError;
use crate::limits::TRANSFER_QUEUE_PIECES_MAX;

/// What the event loop hands over.
#[derive(Debug)]
pub(crate) enum Fed {
    /// Bytes of the stream.
    Bytes(Vec<u8>),
    /// The host sends no more.
    End,
}

/// The end that the writing thread holds.
#[derive(Debug)]
pub(crate) struct Inlet {
    fed: mpsc::Receiver<Fed>,
    decoder: TreeDecoder,
    canceled: Arc<AtomicBool>,
}

/// Both ends. A sender that is dropped calls the work off.
pub(crate) fn inlet(canceled: &Arc<AtomicBool>) -> (mpsc::Sender<Fed>, Inlet) {
    let (sender, fed) = mpsc::channel(TRANSFER_QUEUE_PIECES_MAX);
    (sender, Inlet { fed, decoder: TreeDecoder::default(), canceled: Arc::clone(canceled) })
}

impl Inlet {
    /// Waits for the next record; a stream that stops before its end is damaged.
    pub(crate) fn next(&mut self) -> Result<Record, WorkspaceError> {
        loop {
            self.go_on()?;
            if let Some(record) = self.decoder.next_record()? {
                return Ok(record);
            }
            match self.fed.blocking_recv() {
                Some(Fed::Bytes(bytes)) => self.decoder.push(&bytes),
                Some(Fed::End) => return Err(WorkspaceError::Damaged("it stops before its end".to_owned())),
                None => return Err(WorkspaceError::Canceled),
            }
        }
    }

    /// To be called behind the last record: anything that came behind it makes the stream damaged.
    pub(crate) fn finish(&mut self) -> Result<(), WorkspaceError> {
        self.decoder.next_record()?;
        self.go_on()
    }

    /// Stops work that was called off.
    pub(crate) fn go_on(&self) -> Result<(), WorkspaceError> {
        if self.canceled.load(Ordering::Relaxed) { Err(WorkspaceError::Canceled) } else { Ok(()) }
    }
}
