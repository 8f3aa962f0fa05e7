//! Frames to one lane: a short queue that senders wait for in turn, written in as few writes as it can be.
//!
//! A lane can be silenced: everything queued before is written, then nothing until it is let go. What calls
//! send meanwhile waits in the queue, and they with it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pyro_proto::Frame;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot, watch};

use crate::limits::{LANE_QUEUE_FRAMES_MAX, LANE_WRITE_BYTES_MAX};

/// The sending end; waiting senders are served in the order they came.
#[derive(Clone, Debug)]
pub(crate) struct LaneSender {
    queue: mpsc::Sender<Queued>,
    shared: Rc<Shared>,
}

/// The other end, to be written out by one task.
#[derive(Debug)]
pub(crate) struct LaneQueue {
    queue: mpsc::Receiver<Queued>,
    shared: Rc<Shared>,
}

/// Silence lasts for as long as the other end of this is kept.
pub(crate) type Kept = watch::Receiver<()>;

#[derive(Debug, Default)]
struct Shared {
    /// Frames of an earlier epoch belong to calls that have ended.
    epoch: Cell<u32>,
    /// What goes before all that waits.
    first: RefCell<Option<Frame>>,
}

#[derive(Debug)]
enum Queued {
    Frame {
        frame: Frame,
        epoch: u32,
    },
    Silence(Silence),
    /// There is something to be sent first.
    Nudge,
}

#[derive(Debug)]
struct Silence {
    last: Frame,
    is_silent: oneshot::Sender<()>,
    kept: Kept,
}

/// A lane's queue.
pub(crate) fn lane() -> (LaneSender, LaneQueue) {
    let (sender, receiver) = mpsc::channel(LANE_QUEUE_FRAMES_MAX);
    let shared = Rc::new(Shared::default());
    (LaneSender { queue: sender, shared: Rc::clone(&shared) }, LaneQueue { queue: receiver, shared })
}

impl LaneSender {
    /// Queues a frame once there is room. A lane whose host is gone swallows it: the session that the
    /// frame belongs to is about to end.
    pub(crate) async fn send(&self, frame: Frame) {
        let epoch = self.shared.epoch.get();
        let _ = self.queue.send(Queued::Frame { frame, epoch }).await;
    }

    /// Sends a frame before all that waits, and waits for nothing.
    pub(crate) fn send_first(&self, frame: Frame) {
        self.shared.first.replace(Some(frame));
        // A queue without room has the writer look here anyway.
        let _ = self.queue.try_send(Queued::Nudge);
    }

    /// Drops what waits but for what goes first: whoever hears it next would take it for something else.
    pub(crate) fn forget(&self) {
        self.shared.epoch.set(self.shared.epoch.get().wrapping_add(1));
    }

    /// Sends what waits, then `last`, then nothing while `kept` is. Returns once the silence has begun; false
    /// when it was over before that.
    pub(crate) async fn silence(&self, last: Frame, kept: Kept) -> bool {
        let (is_silent, begun) = oneshot::channel();
        let _ = self.queue.send(Queued::Silence(Silence { last, is_silent, kept })).await;
        begun.await.is_ok()
    }
}

impl LaneQueue {
    /// Writes until the host is gone.
    pub(crate) async fn write_to(mut self, mut sink: impl AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut wire = Vec::with_capacity(LANE_WRITE_BYTES_MAX);
        let mut next = self.queue.recv().await;
        while let Some(queued) = next.take() {
            let silence = self.gather(queued, &mut wire);
            next = self.queue.try_recv().ok();
            let fits =
                next.as_ref().is_some_and(|next| wire.len() + next.wire_bytes() <= LANE_WRITE_BYTES_MAX);
            if !fits || silence.is_some() {
                sink.write_all(&wire).await?;
                wire.clear();
                if let Some(silence) = silence {
                    sink.flush().await?;
                    silence.last().await;
                }
                if next.is_none() {
                    next = self.queue.recv().await;
                }
            }
        }
        Ok(())
    }

    /// Takes what is next to the wire; gives the silence that is to follow it.
    fn gather(&self, queued: Queued, wire: &mut Vec<u8>) -> Option<Silence> {
        if let Some(first) = self.shared.first.take() {
            first.write_to(wire);
        }
        match queued {
            Queued::Frame { frame, epoch } if epoch == self.shared.epoch.get() => frame.write_to(wire),
            Queued::Silence(silence) if silence.kept.has_changed().is_ok() => {
                silence.last.write_to(wire);
                return Some(silence);
            }
            Queued::Frame { .. } | Queued::Silence(_) | Queued::Nudge => {}
        }
        None
    }
}

impl Queued {
    fn wire_bytes(&self) -> usize {
        match self {
            Queued::Frame { frame, .. } => frame.wire_bytes(),
            Queued::Silence(silence) => silence.last.wire_bytes(),
            Queued::Nudge => 0,
        }
    }
}

impl Silence {
    async fn last(mut self) {
        let _ = self.is_silent.send(());
        while self.kept.changed().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_proto::{Channel, StreamId};
    use std::pin::Pin;
    use std::task::{Context, Poll};

    #[derive(Clone, Default)]
    struct Writes(Rc<RefCell<Vec<Vec<u8>>>>);

    impl Writes {
        fn sizes(&self) -> Vec<usize> {
            self.0.borrow().iter().map(Vec::len).collect()
        }
    }

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

    fn data(bytes: usize) -> Frame {
        Frame::data(StreamId(1), Channel::Stdout, &vec![7; bytes])
    }

    /// Small frames share a write, and no write exceeds what the kernel takes at once.
    #[tokio::test]
    async fn frames_are_gathered() {
        let (sender, queue) = lane();
        for size in [10, 20, 30_000, 10, 30_000] {
            sender.send(data(size)).await;
        }
        drop(sender);
        let writes = Writes::default();
        queue.write_to(writes.clone()).await.unwrap();
        assert_eq!(writes.sizes(), [30_040 + 4 * 13, 30_013]);
        assert!(writes.sizes().iter().all(|size| *size <= LANE_WRITE_BYTES_MAX));
    }

    /// A silenced lane says what it had to say, then its last word, and goes on where it stopped.
    #[tokio::test]
    async fn silence_is_kept() {
        let (sender, queue) = lane();
        let writes = Writes::default();
        let (keeper, kept) = watch::channel(());
        let talk = async {
            sender.send(data(10)).await;
            assert!(sender.silence(data(20), kept).await);
            assert_eq!(writes.sizes(), [23 + 33]);
            sender.send(data(30)).await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            assert_eq!(writes.sizes().len(), 1, "it was not silent");
            sender.send_first(data(40));
            drop((keeper, sender));
        };
        let (written, ()) = tokio::join!(queue.write_to(writes.clone()), talk);
        written.unwrap();
        assert_eq!(writes.sizes(), [23 + 33, 53 + 43]);
        assert_eq!(writes.0.borrow()[1][53 - 40], 7);
    }

    /// A silence that nobody keeps does not begin; what is forgotten is never said.
    #[tokio::test]
    async fn what_is_called_off_is_not_said() {
        let (sender, queue) = lane();
        let writes = Writes::default();
        sender.send(data(10)).await;
        sender.forget();
        sender.send(data(20)).await;
        let talk = async {
            let (keeper, kept) = watch::channel(());
            drop(keeper);
            assert!(!sender.silence(data(30), kept).await);
            drop(sender);
        };
        let (written, ()) = tokio::join!(queue.write_to(writes.clone()), talk);
        written.unwrap();
        assert_eq!(writes.sizes(), [33]);
    }
}
