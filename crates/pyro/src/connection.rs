//! A client's connection to a shim: handshake, calls, and one running command at a time.

use pyro_channel::{FrameReader, Outbox, outbox};
use pyro_proto::hello::Hello;
use pyro_proto::limits::DATA_BYTES_MAX;
use pyro_proto::window::{ReceiveWindow, SendWindow};
use pyro_proto::{Channel, Frame, Kind, StreamId, agent, decode, encode, shim};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;

use crate::failure::chain;
use crate::limits::SHIM_ANSWER_SECONDS_MAX;
use crate::{Code, Failure};

/// Bytes waiting for a shim; a client's own windows keep it far below.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A connection to a shim.
#[derive(Debug)]
pub(crate) struct Connection {
    frames: FrameReader<OwnedReadHalf>,
    outbox: Outbox,
    streams: u32,
}

/// What comes from a running command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Bytes of its standard output.
    Stdout(Vec<u8>),
    /// Bytes of its standard error.
    Stderr(Vec<u8>),
    /// Its standard input takes more again, see [`Execution::stdin_room`].
    Room,
    /// It ended; nothing comes after this.
    Exited(agent::Exited),
}

/// A running command. Dropping it leaves the command to the shim, which kills it when the connection goes.
#[derive(Debug)]
pub struct Execution<'a> {
    connection: &'a mut Connection,
    stream: StreamId,
    stdin: SendWindow,
    stdout: ReceiveWindow,
    stderr: ReceiveWindow,
    /// Output handed out by the last [`Self::next`]: it counts as consumed when the next is asked for.
    unconsumed: Option<(Channel, usize)>,
}

impl Connection {
    /// Greets the shim at the other end of `socket`.
    pub(crate) async fn greet(socket: UnixStream) -> Result<Connection, Failure> {
        let (source, sink) = socket.into_split();
        let (outbox, queue) = outbox(QUEUE_BYTES_MAX);
        tokio::spawn(async move {
            let _ = queue.write_to(sink).await;
        });
        let mut connection = Connection { frames: FrameReader::new(source), outbox, streams: 0 };
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
        let stream = self.open(request)?;
        loop {
            let frame = self.next().await?;
            match frame.kind {
                Kind::Event if frame.stream == stream => on_event(decode(&frame.payload).map_err(lost)?),
                Kind::Reply if frame.stream == stream => return decode(&frame.payload).map_err(lost),
                _ => {}
            }
        }
    }

    /// Starts a command; its end comes from [`Execution::next`].
    pub(crate) fn exec(&mut self, exec: agent::Exec) -> Result<Execution<'_>, Failure> {
        let stream = self.open(&shim::Request::Exec(exec))?;
        Ok(Execution {
            connection: self,
            stream,
            stdin: SendWindow::default(),
            stdout: ReceiveWindow::default(),
            stderr: ReceiveWindow::default(),
            unconsumed: None,
        })
    }

    /// Waits until the shim has closed its end.
    pub(crate) async fn closed(&mut self) {
        while let Ok(Some(_)) = self.frames.next().await {}
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

impl Execution<'_> {
    /// The command's next output or its end. May be dropped at any await without losing anything.
    pub async fn next(&mut self) -> Result<Output, Failure> {
        self.settle()?;
        loop {
            let frame = self.connection.next().await?;
            if frame.stream != self.stream {
                continue;
            }
            match frame.kind {
                Kind::Data => {
                    let (channel, bytes) = frame.as_data().map_err(lost)?;
                    self.unconsumed = Some((channel, bytes.len()));
                    return Ok(match channel {
                        Channel::Stderr => Output::Stderr(bytes.to_vec()),
                        Channel::Stdout | Channel::Stdin => Output::Stdout(bytes.to_vec()),
                    });
                }
                Kind::Credit => {
                    let (_, bytes) = frame.as_credit().map_err(lost)?;
                    self.stdin.grant(bytes).map_err(lost)?;
                    return Ok(Output::Room);
                }
                Kind::Reply => return end_of(decode(&frame.payload).map_err(lost)?).map(Output::Exited),
                _ => {}
            }
        }
    }

    /// Bytes of standard input that may be sent now; [`Self::next`] tells when there is more room.
    pub fn stdin_room(&self) -> usize {
        self.stdin.available().min(DATA_BYTES_MAX)
    }

    /// Sends standard input, at most [`Self::stdin_room`] bytes.
    pub fn send_stdin(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdin.spend(bytes.len());
        self.connection.send(Frame::data(self.stream, Channel::Stdin, bytes))
    }

    /// Ends standard input.
    pub fn close_stdin(&mut self) -> Result<(), Failure> {
        self.connection.send(Frame::eof(self.stream, Channel::Stdin))
    }

    /// Resizes the terminal, signals or kills.
    pub fn input(&mut self, input: agent::Input) -> Result<(), Failure> {
        let payload = encode(&input).map_err(lost)?;
        self.connection.send(Frame { stream: self.stream, kind: Kind::Input, payload })
    }

    /// Lets as much more come as was handed out.
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

fn end_of(reply: shim::Reply) -> Result<agent::Exited, Failure> {
    match reply {
        shim::Reply::Exec(agent::Reply::Exited(exited)) => Ok(exited),
        shim::Reply::Exec(agent::Reply::Failed(failure)) => Err(failure.into()),
        shim::Reply::Failed(failure) => Err(failure.into()),
        other => Err(unexpected(&other)),
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
