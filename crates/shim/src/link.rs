//! The host's end of a guest's two lanes. Everything that comes from here is hostile.

use pyro_channel::{FrameReader, Outbox, OutboxError, ReadError, outbox};
use pyro_proto::hello::{Hello, HelloError};
use pyro_proto::{Frame, Kind, Lane, PayloadError, StreamId, agent, decode, encode};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;

use crate::limits::AGENT_QUEUE_BYTES_MAX;

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
}

/// Why the guest can no longer be talked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// Its end of a lane was closed: the VMM is going.
    #[error("the guest's channel was closed")]
    Closed,
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
    pub(crate) fn new(control: UnixStream, bulk: UnixStream) -> AgentLink {
        let (control, control_out) = split(control);
        let (bulk, bulk_out) = split(bulk);
        AgentLink {
            control,
            bulk,
            control_out,
            bulk_out,
            control_ended: false,
            bulk_ended: false,
            streams: 0,
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

    /// Greets the agent; after a fork this is what tells it that it is another one now.
    pub(crate) async fn hello(&mut self, nonce: u64) -> Result<(), LinkError> {
        let payload = encode(&Hello::new(nonce))?;
        self.send(Frame { stream: StreamId::CONNECTION, kind: Kind::Hello, payload })?;
        let answer = self.next().await?;
        if answer.kind != Kind::Hello {
            return Err(LinkError::OutOfTurn(answer.kind));
        }
        decode::<Hello>(&answer.payload)?.check_answer(nonce)?;
        Ok(())
    }

    /// Makes a call that has no data, while no other is open.
    pub(crate) async fn request(
        &mut self,
        request: &agent::Request,
        mut on_event: impl FnMut(agent::Event),
    ) -> Result<agent::Reply, LinkError> {
        let stream = self.next_stream();
        self.send(Frame { stream, kind: Kind::Open, payload: encode(request)? })?;
        loop {
            let frame = self.next().await?;
            match frame.kind {
                Kind::Event if frame.stream == stream => on_event(decode(&frame.payload)?),
                Kind::Reply if frame.stream == stream => return Ok(decode(&frame.payload)?),
                other => return Err(LinkError::OutOfTurn(other)),
            }
        }
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
