//! Frames to bytes, through a bounded queue that is written in as few writes as it can be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyro_proto::Frame;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Bytes of one write, into which frames are gathered. Over vsock it becomes one packet, for which many kernels need memory in
/// one piece; with what belongs to it, it is no more than the 32 KiB that they give reliably.
pub const WRITE_BYTES_MAX: usize = 28 * 1024;

/// Why a frame was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboxError {
    /// The peer does not read what it asked for.
    #[error("{bytes_max} bytes are waiting for a peer that does not read")]
    Full {
        /// The queue's bound.
        bytes_max: usize,
    },
    /// The connection is gone.
    #[error("the connection is closed")]
    Closed,
}

/// The sending end of a connection's queue.
#[derive(Clone, Debug)]
pub struct Outbox {
    frames: mpsc::UnboundedSender<Frame>,
    queued_bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// The other end of an [`Outbox`], to be given to the task that writes.
#[derive(Debug)]
pub struct OutboxQueue {
    frames: mpsc::UnboundedReceiver<Frame>,
    queued_bytes: Arc<AtomicUsize>,
}

/// A queue of at most `bytes_max` bytes.
pub fn outbox(bytes_max: usize) -> (Outbox, OutboxQueue) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let queued_bytes = Arc::new(AtomicUsize::new(0));
    (
        Outbox { frames: sender, queued_bytes: Arc::clone(&queued_bytes), bytes_max },
        OutboxQueue { frames: receiver, queued_bytes },
    )
}

impl Outbox {
    /// Queues a frame.
    pub fn send(&self, frame: Frame) -> Result<(), OutboxError> {
        let bytes = frame.wire_bytes();
        if self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.bytes_max {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(OutboxError::Full { bytes_max: self.bytes_max });
        }
        self.frames.send(frame).map_err(|_| OutboxError::Closed)
    }
}

impl OutboxQueue {
    /// Writes until every [`Outbox`] is dropped and all is written, or the peer is gone.
    pub async fn write_to(mut self, mut sink: impl AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut wire = Vec::with_capacity(2 * WRITE_BYTES_MAX);
        while let Some(first) = self.frames.recv().await {
            first.write_to(&mut wire);
            while wire.len() < WRITE_BYTES_MAX
                && let Ok(frame) = self.frames.try_recv()
            {
                frame.write_to(&mut wire);
            }
            for piece in wire.chunks(WRITE_BYTES_MAX) {
                sink.write_all(piece).await?;
            }
            self.queued_bytes.fetch_sub(wire.len(), Ordering::Relaxed);
            wire.clear();
        }
        sink.flush().await
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::*;
    use pyro_proto::{Channel, StreamId};

    /// A sink that takes no large pieces.
    struct Pieces<'a>(&'a mut Vec<u8>);

    impl AsyncWrite for Pieces<'_> {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            piece: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            assert!(piece.len() <= WRITE_BYTES_MAX, "{}", piece.len());
            self.0.extend_from_slice(piece);
            Poll::Ready(Ok(piece.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// A peer that does not read costs a bounded amount of memory.
    #[tokio::test]
    async fn a_full_queue_refuses() {
        let (outbox, queue) = outbox(100);
        let frame = Frame::data(StreamId(1), Channel::Stdout, &[0; 60]);
        assert_eq!(outbox.send(frame.clone()), Ok(()));
        assert_eq!(outbox.send(frame.clone()), Err(OutboxError::Full { bytes_max: 100 }));
        drop(queue);
        let (outbox, queue) = super::outbox(1000);
        drop(queue);
        assert_eq!(outbox.send(frame), Err(OutboxError::Closed));
    }

    /// Everything queued is written, in order and in pieces of a packet, before the writer ends.
    #[tokio::test]
    async fn the_queue_is_written_in_order() {
        let (outbox, queue) = outbox(1 << 20);
        for byte in 0..200u8 {
            outbox.send(Frame::data(StreamId(1), Channel::Stdout, &[byte; 500])).unwrap();
        }
        drop(outbox);
        let mut wire = Vec::new();
        queue.write_to(Pieces(&mut wire)).await.unwrap();
        let mut reader = crate::FrameReader::new(&wire[..]);
        for byte in 0..200u8 {
            let frame = reader.next().await.unwrap().unwrap();
            assert_eq!(frame.as_data().unwrap().1, &[byte; 500]);
        }
    }
}
