//! Frames to one lane: a short queue that senders wait for in turn, written in as few writes as it can be.

use pyro_proto::Frame;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::limits::{LANE_QUEUE_FRAMES_MAX, LANE_WRITE_BYTES_MAX};

/// The sending end; waiting senders are served in the order they came.
#[derive(Clone, Debug)]
pub(crate) struct LaneSender(mpsc::Sender<Frame>);

/// The other end, to be written out by one task.
#[derive(Debug)]
pub(crate) struct LaneQueue(mpsc::Receiver<Frame>);

/// A lane's queue.
pub(crate) fn lane() -> (LaneSender, LaneQueue) {
    let (sender, receiver) = mpsc::channel(LANE_QUEUE_FRAMES_MAX);
    (LaneSender(sender), LaneQueue(receiver))
}

impl LaneSender {
    /// Queues a frame once there is room. A lane whose host is gone swallows it: the session that the
    /// frame belongs to is about to end.
    pub(crate) async fn send(&self, frame: Frame) {
        let _ = self.0.send(frame).await;
    }
}

impl LaneQueue {
    /// Writes until the host is gone.
    pub(crate) async fn write_to(mut self, mut sink: impl AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut wire = Vec::with_capacity(LANE_WRITE_BYTES_MAX);
        let mut next = self.0.recv().await;
        while let Some(frame) = next.take() {
            frame.write_to(&mut wire);
            next = self.0.try_recv().ok();
            let fits =
                next.as_ref().is_some_and(|next| wire.len() + next.wire_bytes() <= LANE_WRITE_BYTES_MAX);
            if !fits {
                sink.write_all(&wire).await?;
                wire.clear();
                if next.is_none() {
                    next = self.0.recv().await;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_proto::{Channel, StreamId};
    use std::cell::RefCell;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::{Context, Poll};

    #[derive(Clone, Default)]
    struct Writes(Rc<RefCell<Vec<Vec<u8>>>>);

    impl AsyncWrite for Writes {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
            self.0.borrow_mut().push(buf.to_vec());
            Poll::Ready(Ok(buf.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Small frames share a write, and no write exceeds what the kernel takes at once.
    #[tokio::test]
    async fn frames_are_gathered() {
        let (sender, queue) = lane();
        for size in [10, 20, 30_000, 10, 30_000] {
            sender.send(Frame::data(StreamId(1), Channel::Stdout, &vec![7; size])).await;
        }
        drop(sender);
        let writes = Writes::default();
        queue.write_to(writes.clone()).await.unwrap();
        let sizes: Vec<usize> = writes.0.borrow().iter().map(Vec::len).collect();
        assert_eq!(sizes, [30_040 + 4 * 13, 30_013]);
        assert!(sizes.iter().all(|size| *size <= LANE_WRITE_BYTES_MAX));
    }
}
