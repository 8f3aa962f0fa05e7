//! The host's end of a guest's two lanes. Everything that comes from here is hostile.

use std::collections::VecDeque;

use pyro_channel::{FrameReader, Outbox, OutboxError, ReadError, outbox};
use pyro_proto::hello::{Hello, HelloError};
use pyro_proto::{Frame, Kind, Lane, PayloadError, StreamId, agent, decode, encode};
use pyro_vmm::GuestChannels;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;

use crate::limits::{AGENT_QUEUE_BYTES_MAX, FRAME_OVERHEAD_BYTES, HELD_BACK_BYTES_MAX};

/// Frames to and from the agent of one guest.
#[derive(Debug)]
pub(crate) struct AgentLink {
    control: FrameReader<OwnedReadHalf>,
    bulk: FrameReader<OwnedReadHalf>,
    control_out: Outbox,
    bulk_out: Outbox,
    /// The control lane has ended; what is left on the other is still read.
    control_ended: bool,
    bulk_ended: bool,
    streams: u32,
    /// What commands that were taken over have said while the shim spoke for itself.
    early: VecDeque<Frame>,
    early_bytes: usize,
    takes_over: bool,
}

/// Why the guest can no longer be talked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// Its end of a lane was closed: the VMM is going.
    #[error("the guest's channel was closed")]
    Closed,
    /// The guest has not come to where it was awaited.
    #[error("the guest could not be awaited")]
    Awaited(#[source] std::io::Error),
    /// Bytes that are no frames.
    #[error("the guest's channel failed")]
    Read(#[from] ReadError),
    /// A frame on the wrong lane.
    #[error("the guest sent a {0:?} frame on the wrong lane")]
    WrongLane(Kind),
    /// A payload that is no message.
    #[error("the guest sent a malformed message")]
    Payload(#[from] PayloadError),
    /// It is no agent of this release.
    #[error("the guest's handshake failed")]
    Hello(#[from] HelloError),
    /// A frame that makes no sense now.
    #[error("the guest sent a {0:?} frame out of turn")]
    OutOfTurn(Kind),
    /// It was to go on and has started over.
    #[error("the guest has ended the commands that were to go on")]
    StartedOver,
    /// It does not take what it is sent.
    #[error("the guest does not take what it is sent")]
    Stalled(#[from] OutboxError),
}

impl LinkError {
    /// Whether the channel just ended, as it does with its VMM, even in the middle of a frame: what came was
    /// no breach of the protocol.
    pub(crate) fn is_end(&self) -> bool {
        matches!(
            self,
            LinkError::Closed
                | LinkError::Read(ReadError::Io(_) | ReadError::Truncated)
                | LinkError::Stalled(OutboxError::Closed)
        )
    }
}

impl AgentLink {
    /// Takes over the two lanes.
    pub(crate) fn new(channels: GuestChannels) -> AgentLink {
        let (control, control_out) = split(channels.control);
        let (bulk, bulk_out) = split(channels.bulk);
        AgentLink {
            control,
            bulk,
            control_out,
            bulk_out,
            control_ended: false,
            bulk_ended: false,
            streams: 0,
            early: VecDeque::new(),
            early_bytes: 0,
            takes_over: false,
        }
    }

    /// A stream id that this link has not used yet.
    pub(crate) fn next_stream(&mut self) -> StreamId {
        self.streams = self.streams.checked_add(1).unwrap_or(1);
        StreamId(self.streams)
    }

    /// The next frame of either lane; [`LinkError::Closed`] once both have ended. May be dropped at any await
    /// without losing one.
    pub(crate) async fn next(&mut self) -> Result<Frame, LinkError> {
        match self.early.pop_front() {
            Some(frame) => {
                self.early_bytes = self.early_bytes.saturating_sub(frame.wire_bytes() + FRAME_OVERHEAD_BYTES);
                Ok(frame)
            }
            None => self.read().await,
        }
    }

    /// The highest stream id that the guest was told.
    pub(crate) fn last_stream(&self) -> u32 {
        self.streams
    }

    async fn read(&mut self) -> Result<Frame, LinkError> {
        while !(self.control_ended && self.bulk_ended) {
            let (frame, lane) = tokio::select! {
                biased;
                frame = self.control.next(), if !self.control_ended => (frame?, Lane::Control),
                frame = self.bulk.next(), if !self.bulk_ended => (frame?, Lane::Bulk),
            };
            match (frame, lane) {
                (Some(frame), lane) if frame.kind.lane() == lane => return Ok(frame),
                (Some(frame), _) => return Err(LinkError::WrongLane(frame.kind)),
                (None, Lane::Control) => self.control_ended = true,
                (None, Lane::Bulk) => self.bulk_ended = true,
            }
        }
        Err(LinkError::Closed)
    }

    /// Queues a frame on its lane.
    pub(crate) fn send(&self, frame: Frame) -> Result<(), LinkError> {
        let lane = match frame.kind.lane() {
            Lane::Control => &self.control_out,
            Lane::Bulk => &self.bulk_out,
        };
        Ok(lane.send(frame)?)
    }

    /// Greets the agent; after a fork this is what tells it that it is another one now. In a copy of a guest that was
    /// spoken to before, `takes_over` is the last stream that it knows: its calls go on.
    pub(crate) async fn hello(&mut self, nonce: u64, takes_over: Option<u32>) -> Result<(), LinkError> {
        let hello = match takes_over {
            Some(last) => {
                self.streams = last;
                self.takes_over = true;
                Hello::continuing(nonce)
            }
            None => Hello::new(nonce),
        };
        let payload = encode(&hello)?;
        self.send(Frame { stream: StreamId::CONNECTION, kind: Kind::Hello, payload })?;
        let answer = loop {
            let frame = self.read().await?;
            match frame.kind {
                Kind::Hello => break frame,
                _ => self.keep(frame)?,
            }
        };
        let answer = decode::<Hello>(&answer.payload)?;
        answer.check_answer(nonce)?;
        if takes_over.is_some() && !answer.continues {
            return Err(LinkError::StartedOver);
        }
        Ok(())
    }

    /// Makes a call that has no data, while no other is open but those that were taken over.
    pub(crate) async fn request(
        &mut self,
        request: &agent::Request,
        mut on_event: impl FnMut(agent::Event),
    ) -> Result<agent::Reply, LinkError> {
        let stream = self.next_stream();
        self.send(Frame { stream, kind: Kind::Open, payload: encode(request)? })?;
        loop {
            let frame = self.read().await?;
            match frame.kind {
                _ if frame.stream != stream => self.keep(frame)?,
                Kind::Event => on_event(decode(&frame.payload)?),
                Kind::Reply => return Ok(decode(&frame.payload)?),
                Kind::Eof => {} // of a command that says nothing
                other => return Err(LinkError::OutOfTurn(other)),
            }
        }
    }

    /// Keeps what a command that was taken over says, for who will relay it; from any other guest it is out of turn.
    fn keep(&mut self, frame: Frame) -> Result<(), LinkError> {
        self.early_bytes += frame.wire_bytes() + FRAME_OVERHEAD_BYTES;
        if !self.takes_over || self.early_bytes > HELD_BACK_BYTES_MAX {
            return Err(LinkError::OutOfTurn(frame.kind));
        }
        self.early.push_back(frame);
        Ok(())
    }
}

fn split(stream: UnixStream) -> (FrameReader<OwnedReadHalf>, Outbox) {
    let (source, sink) = stream.into_split();
    let (sender, queue) = outbox(AGENT_QUEUE_BYTES_MAX);
    // A failing write shows as a closed lane on the reading side.
    tokio::spawn(async move {
        let _ = queue.write_to(sink).await;
    });
    (FrameReader::new(source), sender)
}
