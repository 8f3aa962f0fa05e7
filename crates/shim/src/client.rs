//! One client's connection: its handshake, its frames on their way to the driver, its queue.

use std::time::Duration;

use pyro_channel::{FrameReader, Outbox, ReadError, outbox};
use pyro_proto::hello::Hello;
use pyro_proto::{Frame, Kind, StreamId, decode, encode, shim};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::call::ClientId;
use crate::limits::{CLIENT_QUEUE_BYTES_MAX, HELLO_SECONDS_MAX, REQUEST_SECONDS_MAX};

/// What clients send the driver.
#[derive(Debug)]
pub(crate) enum ClientEvent {
    /// A client is there and has said hello.
    Joined(ClientId, Client),
    /// It sent a frame.
    Frame(ClientId, Frame),
    /// It left, or broke the protocol.
    Left(ClientId),
}

impl ClientEvent {
    /// Whether a client wants to know if the VM is well. A VMM that was just killed must not be called well
    /// because nobody has noticed yet: what the client asks for next would be lost with it.
    pub(crate) fn asks_for_status(&self) -> bool {
        match self {
            ClientEvent::Frame(_, frame) if frame.kind == Kind::Open => {
                matches!(decode::<shim::Request>(&frame.payload), Ok(shim::Request::Status))
            }
            _ => false,
        }
    }
}

/// The way to a client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) outbox: Outbox,
    /// Until when a request is expected of it, if one is.
    pub(crate) expected_until: Option<Instant>,
    writer: JoinHandle<()>,
}

impl Client {
    /// It was told that the VM is well, and has yet to say what it wants of it.
    pub(crate) fn expect(&mut self, now: Instant) {
        self.expected_until = now.checked_add(REQUEST_SECONDS_MAX);
    }

    /// Lets what is queued be written, for as long as the client takes it within `patience`.
    pub(crate) async fn flush(self, patience: Duration) {
        drop(self.outbox);
        let _ = tokio::time::timeout(patience, self.writer).await;
    }
}

/// A connection before it is anybody's client: after the handshake, frames come and go.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) frames: FrameReader<OwnedReadHalf>,
    pub(crate) client: Client,
}

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("no handshake came in time")]
    Silent,
    #[error("the connection was closed")]
    Closed,
    #[error("reading failed")]
    Read(#[from] ReadError),
    #[error("the handshake failed: {0}")]
    Hello(String),
}

impl Connection {
    /// Takes over a socket and answers the handshake.
    pub(crate) async fn accept(socket: UnixStream) -> Result<Connection, ConnectionError> {
        let (source, sink) = socket.into_split();
        let (outbox, queue) = outbox(CLIENT_QUEUE_BYTES_MAX);
        // A client that is gone shows on the reading side.
        let writer = tokio::spawn(async move {
            let _ = queue.write_to(sink).await;
        });
        let mut connection = Connection {
            frames: FrameReader::new(source),
            client: Client { outbox, expected_until: None, writer },
        };
        connection.greet(HELLO_SECONDS_MAX).await?;
        Ok(connection)
    }

    async fn greet(&mut self, patience: Duration) -> Result<(), ConnectionError> {
        let frame = tokio::time::timeout(patience, self.frames.next())
            .await
            .map_err(|_| ConnectionError::Silent)??
            .ok_or(ConnectionError::Closed)?;
        let hello =
            decode::<Hello>(&frame.payload).map_err(|error| ConnectionError::Hello(error.to_string()))?;
        // The answer goes out before the check, so that a client of another release can say which.
        let payload =
            encode(&Hello::new(hello.nonce)).map_err(|error| ConnectionError::Hello(error.to_string()))?;
        let answer = Frame { stream: StreamId::CONNECTION, kind: Kind::Hello, payload };
        self.client.outbox.send(answer).map_err(|_| ConnectionError::Closed)?;
        hello.check().map_err(|error| ConnectionError::Hello(error.to_string()))
    }

    /// Introduces the client to the driver, and hands its frames on until it leaves.
    pub(crate) async fn pump(self, id: ClientId, driver: mpsc::Sender<ClientEvent>) {
        if driver.send(ClientEvent::Joined(id, self.client)).await.is_ok() {
            relay(self.frames, id, driver).await;
        }
    }
}

/// Hands a client's frames to the driver until it leaves.
pub(crate) async fn relay(
    mut frames: FrameReader<OwnedReadHalf>,
    id: ClientId,
    driver: mpsc::Sender<ClientEvent>,
) {
    while let Ok(Some(frame)) = frames.next().await {
        if driver.send(ClientEvent::Frame(id, frame)).await.is_err() {
            return;
        }
    }
    let _ = driver.send(ClientEvent::Left(id)).await;
}

/// The end of a call, as a frame.
pub(crate) fn reply(stream: StreamId, reply: &shim::Reply) -> Option<Frame> {
    encode(reply).ok().map(|payload| Frame { stream, kind: Kind::Reply, payload })
}

/// News of a call, as a frame.
pub(crate) fn event(stream: StreamId, event: &shim::Event) -> Option<Frame> {
    encode(event).ok().map(|payload| Frame { stream, kind: Kind::Event, payload })
}
