//! A tree stream on its way from the thread that reads a tree to the event loop, a few pieces at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyro_proto::limits::DATA_BYTES_MAX;
use pyro_proto::tree::{Item, Side, write_item, write_piece};
use tokio::sync::mpsc;

use super::error::WorkspaceError;
use crate::limits::TRANSFER_QUEUE_PIECES_MAX;

/// The end that the reading thread holds.
#[derive(Debug)]
pub(crate) struct Outlet {
    sender: mpsc::Sender<Vec<u8>>,
    waiting: Vec<u8>,
    canceled: Arc<AtomicBool>,
}

/// Both ends. A receiver that is dropped calls the work off. What is received fits one frame each.
pub(crate) fn outlet(canceled: &Arc<AtomicBool>) -> (Outlet, mpsc::Receiver<Vec<u8>>) {
    let (sender, receiver) = mpsc::channel(TRANSFER_QUEUE_PIECES_MAX);
    (Outlet { sender, waiting: Vec::new(), canceled: Arc::clone(canceled) }, receiver)
}

impl Outlet {
    /// Sends a record that is no piece.
    pub(crate) fn item(&mut self, item: &Item) -> Result<(), WorkspaceError> {
        write_item(item, &mut self.waiting)?;
        self.send(DATA_BYTES_MAX)
    }

    /// Sends bytes of a file.
    pub(crate) fn piece(&mut self, side: Side, offset: u64, bytes: &[u8]) -> Result<(), WorkspaceError> {
        write_piece(side, offset, bytes, &mut self.waiting)?;
        self.send(DATA_BYTES_MAX)
    }

    /// Ends the stream.
    pub(crate) fn finish(mut self) -> Result<(), WorkspaceError> {
        write_item(&Item::End, &mut self.waiting)?;
        self.send(1)
    }

    /// Stops work that was called off, also work that finds nothing to send.
    pub(crate) fn go_on(&self) -> Result<(), WorkspaceError> {
        if self.canceled.load(Ordering::Relaxed) || self.sender.is_closed() {
            return Err(WorkspaceError::Canceled);
        }
        Ok(())
    }

    /// Hands on what waits while it is at least `bytes_min`.
    fn send(&mut self, bytes_min: usize) -> Result<(), WorkspaceError> {
        if self.waiting.len() < bytes_min {
            return Ok(());
        }
        let mut rest = self.waiting.as_slice();
        while rest.len() >= bytes_min {
            let (now, later) = rest.split_at(rest.len().min(DATA_BYTES_MAX));
            self.sender.blocking_send(now.to_vec()).map_err(|_| WorkspaceError::Canceled)?;
            rest = later;
        }
        let sent = self.waiting.len() - rest.len();
        self.waiting.drain(..sent);
        self.go_on()
    }
}
