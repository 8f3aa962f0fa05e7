//! A client's connection to a shim: handshake, and one call at a time.

use pyro_channel::{FrameReader, Outbox, outbox};
use pyro_proto::hello::Hello;
use pyro_proto::limits::DATA_BYTES_MAX;
use pyro_proto::window::{ReceiveWindow, SendWindow};
use pyro_proto::{Channel, Frame, Kind, StreamId, agent, decode, encode, shim};
use pyro_store::ProcessIdentity;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;

use crate::failure::chain;
use crate::limits::{SHIM_ANSWER_SECONDS_MAX, SHIM_GONE_SECONDS_MAX};
use crate::socket::peer_pid;
use crate::{Code, Failure};

/// Bytes waiting for a shim; a client's own windows keep it far below.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A connection to a shim.
#[derive(Debug)]
pub(crate) struct Connection {
    frames: FrameReader<OwnedReadHalf>,
    outbox: Outbox,
    streams: u32,
    /// The number of the process that listened there.
    shim_pid: Option<u32>,
}

/// A call that is open: its data in both directions, its news, its end. Dropping it leaves the call to the
/// shim, which ends it when the connection goes.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    connection: &'a mut Connection,
    stream: StreamId,
    input: SendWindow,
    stdout: ReceiveWindow,
    stderr: ReceiveWindow,
    /// Data handed out by the last [`Self::next`]: it counts as consumed when the next is asked for.
    unconsumed: Option<(Channel, usize)>,
}

/// What comes of a call.
#[derive(Debug)]
pub(crate) enum News {
    /// Bytes of standard output or error.
    Data(Channel, Vec<u8>),
    /// There is more room for input again, see [`Call::room`].
    Room,
    /// Something happened.
    Event(shim::Event),
    /// The end; nothing comes behind it.
    Reply(shim::Reply),
}

impl Connection {
    /// Greets the shim at the other end of `socket`.
    pub(crate) async fn greet(socket: UnixStream) -> Result<Connection, Failure> {
        // Of a pair of sockets, this process made both.
        let shim_pid = peer_pid(&socket).filter(|pid| *pid != std::process::id());
        let (source, sink) = socket.into_split();
        let (outbox, queue) = outbox(QUEUE_BYTES_MAX);
        tokio::spawn(async move {
            let _ = queue.write_to(sink).await;
        });
        let mut connection = Connection { frames: FrameReader::new(source), outbox, streams: 0, shim_pid };
        match tokio::time::timeout(SHIM_ANSWER_SECONDS_MAX, connection.hello()).await {
            Ok(result) => result?,
            Err(_) => return Err(lost("it did not answer in time")),
        }
        Ok(connection)
    }

    async fn hello(&mut self) -> Result<(), Failure> {
        let mut nonce = [0; 8];
        rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty()).map_err(lost)?;
        let nonce = u64::from_le_bytes(nonce);
        let payload = encode(&Hello::new(nonce)).map_err(lost)?;
        self.send(Frame { stream: StreamId::CONNECTION, kind: Kind::Hello, payload })?;
        let answer = self.next().await?;
        decode::<Hello>(&answer.payload).map_err(lost)?.check_answer(nonce).map_err(lost)
    }

    /// Makes a call without data.
    pub(crate) async fn request(
        &mut self,
        request: &shim::Request,
        mut on_event: impl FnMut(shim::Event),
    ) -> Result<shim::Reply, Failure> {
        let mut call = self.call(request)?;
        loop {
            match call.next().await? {
                News::Event(event) => on_event(event),
                News::Reply(reply) => return Ok(reply),
                News::Data(..) | News::Room => {}
            }
        }
    }

    /// Opens a call.
    pub(crate) fn call(&mut self, request: &shim::Request) -> Result<Call<'_>, Failure> {
        let stream = self.open(request)?;
        Ok(Call {
            connection: self,
            stream,
            input: SendWindow::default(),
            stdout: ReceiveWindow::default(),
            stderr: ReceiveWindow::default(),
            unconsumed: None,
        })
    }

    /// Waits until a shim that ends has closed its end, which it does when nothing of its VM is left, and is gone.
    pub(crate) async fn closed(&mut self) {
        let shim = self.shim_pid.and_then(ProcessIdentity::of);
        while let Ok(Some(_)) = self.frames.next().await {}
        if let Some(shim) = shim {
            let _ = tokio::task::spawn_blocking(move || shim.wait(SHIM_GONE_SECONDS_MAX)).await;
        }
    }

    fn open(&mut self, request: &shim::Request) -> Result<StreamId, Failure> {
        self.streams += 1;
        let stream = StreamId(self.streams);
        let payload = encode(request).map_err(lost)?;
        if payload.len() > Kind::Open.payload_bytes_max() {
            return Err(Failure::new(
                Code::InvalidArgument,
                "the command's arguments and environment are too long",
            )
            .because(format!("{} bytes, a Linux process takes at most 2 MiB", payload.len()))
            .fix("pass the data on standard input instead"));
        }
        self.send(Frame { stream, kind: Kind::Open, payload })?;
        Ok(stream)
    }

    fn send(&self, frame: Frame) -> Result<(), Failure> {
        self.outbox.send(frame).map_err(lost)
    }

    async fn next(&mut self) -> Result<Frame, Failure> {
        match self.frames.next().await {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(lost("it closed the connection")),
            Err(error) => Err(lost(chain(&error))),
        }
    }
}

impl Call<'_> {
    /// What comes next. May be dropped at any await without losing anything.
    pub(crate) async fn next(&mut self) -> Result<News, Failure> {
        self.settle()?;
        loop {
            let frame = self.connection.next().await?;
            if frame.stream != self.stream && !frame.is_last() {
                continue;
            }
            match frame.kind {
                Kind::Data => {
                    let (channel, bytes) = frame.as_data().map_err(lost)?;
                    self.unconsumed = Some((channel, bytes.len()));
                    return Ok(News::Data(channel, bytes.to_vec()));
                }
                Kind::Credit => {
                    let (_, bytes) = frame.as_credit().map_err(lost)?;
                    self.input.grant(bytes).map_err(lost)?;
                    return Ok(News::Room);
                }
                Kind::Event => return Ok(News::Event(decode(&frame.payload).map_err(lost)?)),
                Kind::Reply => return Ok(News::Reply(decode(&frame.payload).map_err(lost)?)),
                _ => {}
            }
        }
    }

    /// Bytes of input that may be sent now; [`News::Room`] tells when there is more room.
    pub(crate) fn room(&self) -> usize {
        self.input.available().min(DATA_BYTES_MAX)
    }

    /// Sends input, at most [`Self::room`] bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.input.spend(bytes.len());
        self.connection.send(Frame::data(self.stream, Channel::Stdin, bytes))
    }

    /// Ends the input.
    pub(crate) fn close(&mut self) -> Result<(), Failure> {
        self.connection.send(Frame::eof(self.stream, Channel::Stdin))
    }

    /// Resizes, signals or calls off.
    pub(crate) fn steer(&mut self, input: agent::Input) -> Result<(), Failure> {
        let payload = encode(&input).map_err(lost)?;
        self.connection.send(Frame { stream: self.stream, kind: Kind::Input, payload })
    }

    /// Grants room for what the caller has taken.
    fn settle(&mut self) -> Result<(), Failure> {
        let Some((channel, bytes)) = self.unconsumed.take() else { return Ok(()) };
        let window = match channel {
            Channel::Stderr => &mut self.stderr,
            Channel::Stdout | Channel::Stdin => &mut self.stdout,
        };
        window.receive(bytes).map_err(lost)?;
        match window.consume(bytes) {
            Some(grant) => self.connection.send(Frame::credit(self.stream, channel, grant)),
            None => Ok(()),
        }
    }
}

/// A shim that answers something else than was asked.
pub(crate) fn unexpected(reply: &shim::Reply) -> Failure {
    lost(format!("it answered {reply:?} out of turn"))
}

/// The shim is gone or talks nonsense.
pub(crate) fn lost(cause: impl std::fmt::Display) -> Failure {
    Failure::new(Code::SupervisorLost, "the VM's supervisor was lost")
        .because(cause)
        .fix("run the command again")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a supervisor says last answers a request that it has never read.
    #[tokio::test]
    async fn the_last_words_are_an_answer() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let failure = shim::Failure {
            code: shim::FailureCode::Expired,
            message: "over".to_owned(),
            console: Vec::new(),
        };
        let last = shim::Reply::Failed(failure);
        let supervisor = async {
            let (source, sink) = theirs.into_split();
            let (outbox, queue) = outbox(QUEUE_BYTES_MAX);
            let hello = FrameReader::new(source).next().await.unwrap().unwrap();
            for (kind, payload) in [(Kind::Hello, hello.payload), (Kind::Reply, encode(&last).unwrap())] {
                outbox.send(Frame { stream: StreamId::CONNECTION, kind, payload }).unwrap();
            }
            drop(outbox);
            queue.write_to(sink).await.unwrap();
        };
        let client = async {
            let mut connection = Connection::greet(ours).await.unwrap();
            connection.request(&shim::Request::Status, |_| {}).await.unwrap()
        };
        let ((), answer) = tokio::join!(supervisor, client);
        assert_eq!(answer, last);
    }
}
