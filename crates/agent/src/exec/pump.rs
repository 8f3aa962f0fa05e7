//! Bytes between a command's streams and its host, as fast as the windows allow and no faster.

use std::cell::RefCell;
use std::os::fd::AsFd;
use std::rc::Rc;

use pyro_proto::limits::DATA_BYTES_MAX;
use pyro_proto::{Channel, Frame, StreamId};
use rustix::io::Errno;
use tokio::sync::watch;

use super::foreground::Way;
use super::stdio::end_of_file;
use crate::lane::LaneSender;
use crate::limits::TERMINAL_DRAIN_BYTES_MAX;
use crate::mailbox::{Mailbox, Stdin};
use crate::watched::Watched;

/// Turns true once the command's first process has ended.
pub(crate) type Ended = watch::Receiver<bool>;

/// One output of a command.
pub(crate) struct Output<'a> {
    pub(crate) source: Rc<Watched>,
    pub(crate) is_terminal: bool,
    pub(crate) stream: StreamId,
    pub(crate) channel: Channel,
    pub(crate) mailbox: &'a Mailbox,
    pub(crate) bulk: &'a LaneSender,
    /// Room for one read, shared by all outputs of the agent's one thread.
    pub(crate) buffer: &'a RefCell<Box<[u8]>>,
    /// Makes way for those who go first.
    pub(crate) way: Option<Way<'a>>,
}

/// The input of a command.
pub(crate) struct Input<'a> {
    /// `None` when the command reads `/dev/null`: what the host sends all the same is dropped.
    pub(crate) sink: Option<Rc<Watched>>,
    pub(crate) is_terminal: bool,
    pub(crate) stream: StreamId,
    pub(crate) mailbox: &'a Mailbox,
    pub(crate) control: &'a LaneSender,
}

impl Output<'_> {
    /// Sends what the command writes, until nobody can write any more, or the command has ended and all
    /// that was written by then is sent.
    pub(crate) async fn pump(mut self, mut ended: Ended) {
        let mut left = None;
        loop {
            if left.is_none() && *ended.borrow_and_update() {
                left = Some(self.pending());
            }
            let room = self.mailbox.room(self.channel).min(DATA_BYTES_MAX).min(left.unwrap_or(usize::MAX));
            if left == Some(0) {
                return;
            }
            if room == 0 {
                self.wait(self.mailbox.granted(self.channel), &mut ended, left).await;
                continue;
            }
            match self.read(room) {
                Ok(None) => return,
                Ok(Some((frame, count))) => {
                    self.mailbox.spend(self.channel, count);
                    left = left.map(|left| left.saturating_sub(count));
                    self.bulk.send(frame).await;
                    if let Some(way) = &mut self.way {
                        way.make(count).await;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if left.is_none() => self.wait(self.readable(), &mut ended, left).await,
                // A terminal without anybody on the other side says EIO.
                Err(_) => return,
            }
        }
    }

    /// What can be read at once, at most `room` bytes; `None` at the end.
    fn read(&self, room: usize) -> rustix::io::Result<Option<(Frame, usize)>> {
        let mut buffer = self.buffer.borrow_mut();
        let room = room.min(buffer.len());
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        let count = rustix::io::read(&*self.source, &mut *buffer)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        Ok((count > 0).then(|| (Frame::data(self.stream, self.channel, bytes), count)))
    }

    async fn wait(&self, what: impl Future<Output = ()>, ended: &mut Ended, left: Option<usize>) {
        tokio::select! {
            () = what => {}
            _ = ended.changed(), if left.is_none() => {}
        }
    }

    async fn readable(&self) {
        match self.source.readable().await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Bytes that wait to be read.
    fn pending(&self) -> usize {
        if self.is_terminal {
            return TERMINAL_DRAIN_BYTES_MAX;
        }
        let waiting = rustix::io::ioctl_fionread(&*self.source).unwrap_or(0);
        usize::try_from(waiting).unwrap_or(usize::MAX)
    }
}

impl Input<'_> {
    /// Hands on what the host sends. Once nobody reads it any more it is dropped, and credit given all the
    /// same, so that a host is never left waiting.
    pub(crate) async fn pump(mut self, mut ended: Ended) {
        let mut at_line_start = true;
        loop {
            let next = tokio::select! {
                next = self.mailbox.stdin() => next,
                _ = ended.wait_for(|ended| *ended) => return,
            };
            let Stdin::Bytes(bytes) = next else { break };
            at_line_start = bytes.last() == Some(&b'\n');
            self.write_all(&bytes, &mut ended).await;
            if let Some(grant) = self.mailbox.stdin_consumed(bytes.len()) {
                self.control.send(Frame::credit(self.stream, Channel::Stdin, grant)).await;
            }
        }
        self.end(at_line_start, &mut ended).await;
    }

    async fn end(&mut self, at_line_start: bool, ended: &mut Ended) {
        let Some(sink) = self.sink.as_ref().filter(|_| self.is_terminal) else {
            return; // dropping a pipe's last end closes it
        };
        let keys = end_of_file(sink.get_ref().as_fd(), at_line_start);
        self.write_all(&keys, ended).await;
    }

    /// Writes as the command reads; gives the command up when it does not read any more.
    async fn write_all(&mut self, bytes: &[u8], ended: &mut Ended) {
        let mut rest = bytes;
        while let Some(sink) = self.sink.as_ref().filter(|_| !rest.is_empty()) {
            match rustix::io::write(&**sink, rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if !writable(sink, ended).await => return,
                Err(Errno::AGAIN) => {}
                Err(_) => self.sink = None,
            }
        }
    }
}

/// Waits for room; false when the command has ended instead.
async fn writable(sink: &Watched, ended: &mut Ended) -> bool {
    tokio::select! {
        ready = sink.writable() => {
            if let Ok(mut ready) = ready {
                ready.clear_ready();
            }
            true
        }
        _ = ended.wait_for(|ended| *ended) => false,
    }
}
