//! The way out of this crate: records, gathered into batches for whoever sends them on. It holds one batch.

use pyro_proto::agent::Tally;
use pyro_proto::tree::{Entry, Item, Mtime, Node, NodeKind, Side, TreePath, write_item, write_piece};

use super::SourceError;
use crate::limits::SOURCE_BATCH_BYTES;

/// Takes the stream, batch by batch, in order. May block as long as the receiver does.
pub trait TreeSink {
    /// Takes a batch of at most [`pyro_proto::limits::TREE_PIECE_BYTES_MAX`] bytes.
    fn send(&mut self, bytes: Vec<u8>) -> Result<(), SinkClosed>;
}

/// Nobody takes the stream any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receiver is gone")]
pub struct SinkClosed;

impl<F: FnMut(Vec<u8>) -> Result<(), SinkClosed>> TreeSink for F {
    fn send(&mut self, bytes: Vec<u8>) -> Result<(), SinkClosed> {
        self(bytes)
    }
}

/// How far a source is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Entries sent.
    pub entries: u64,
    /// Bytes read: of files' contents, or of the archive as it lies on the disk.
    pub bytes: u64,
    /// Bytes to be read in all.
    pub bytes_total: u64,
}

/// Gathers records and counts them.
pub(super) struct Outlet<'a> {
    sink: &'a mut dyn TreeSink,
    batch: Vec<u8>,
    tally: Tally,
}

impl<'a> Outlet<'a> {
    pub(super) fn new(sink: &'a mut dyn TreeSink) -> Outlet<'a> {
        Outlet { sink, batch: Vec::new(), tally: Tally::default() }
    }

    /// Any record that is neither an entry nor a piece.
    pub(super) fn item(&mut self, item: &Item) -> Result<(), SourceError> {
        write_item(item, &mut self.batch)?;
        self.flush_over(SOURCE_BATCH_BYTES)
    }

    /// An entry; all but the root count.
    pub(super) fn entry(
        &mut self,
        path: TreePath,
        kind: NodeKind,
        mode: u32,
        mtime: Mtime,
    ) -> Result<(), SourceError> {
        self.tally.entries += u64::from(!path.is_root());
        let node = Node { kind, mode: mode & 0o7777, mtime };
        self.item(&Item::Entry(Entry { path, node, version: 0 }))
    }

    /// Bytes of the entry that came last, at most [`crate::limits::SOURCE_READ_BYTES`].
    pub(super) fn piece(&mut self, offset: u64, bytes: &[u8]) -> Result<(), SourceError> {
        write_piece(Side::After, offset, bytes, &mut self.batch)?;
        self.tally.bytes += bytes.len() as u64;
        self.flush_over(SOURCE_BATCH_BYTES)
    }

    /// What was sent so far.
    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// Ends the stream. Dropped without this, the stream stays without its end, and is not taken for whole.
    pub(super) fn end(mut self) -> Result<Tally, SourceError> {
        write_item(&Item::End, &mut self.batch)?;
        self.flush_over(0)?;
        Ok(self.tally)
    }

    fn flush_over(&mut self, bytes: usize) -> Result<(), SourceError> {
        if self.batch.len() > bytes {
            self.sink.send(std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }
}
