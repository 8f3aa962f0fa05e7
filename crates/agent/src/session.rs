//! One host on the two lanes, from its first frame until it is gone.
//!
//! Owns the calls that are open. A handshake starts over: whoever speaks now (another host, or the same after
//! a fork) knows nothing of earlier calls, so they end, and their processes with them. Unless it says that it
//! knows them, having been told by the host that held the lanes. The host is trusted with the guest, yet a
//! frame it cannot have meant ends its calls just the same.

use std::collections::HashMap;
use std::rc::Rc;

use pyro_channel::{FrameReader, ReadError};
use pyro_proto::agent::{Failure, FailureKind, Input, Reply, Request};
use pyro_proto::hello::{Hello, HelloError};
use pyro_proto::limits::CALLS_MAX;
use pyro_proto::{Frame, FrameError, Kind, Lane, PayloadError, StreamId, decode, encode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use crate::console::warn;
use crate::early::{Early, EarlyError};
use crate::exec::CallIo;
use crate::failure::failure;
use crate::guest::Guest;
use crate::hold::Holds;
use crate::lane::{LaneSender, lane};
use crate::limits::LANE_CALLS_MAX;
use crate::mailbox::{Mailbox, MailboxError};

/// Why a host's calls were ended.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{0:?} frame on the wrong lane")]
    WrongLane(Kind),
    #[error("{0:?} frame out of turn")]
    OutOfTurn(Kind),
    #[error("stream {0} does not rise")]
    StreamReused(u32),
    #[error("more than {CALLS_MAX} calls, and no way to say so")]
    TooManyCalls,
    #[error(transparent)]
    Hello(#[from] HelloError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Payload(#[from] PayloadError),
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
    #[error(transparent)]
    Early(#[from] EarlyError),
}

/// The state of one host's calls.
struct Session {
    guest: Rc<Guest>,
    control: LaneSender,
    bulk: LaneSender,
    is_greeted: bool,
    calls: HashMap<StreamId, Rc<Mailbox>>,
    tasks: JoinSet<StreamId>,
    early: Early,
    holds: Holds,
}

/// Serves a host until one of its lanes ends. Each lane is its reading and its writing side.
pub(crate) async fn serve<R, W>(guest: Rc<Guest>, control: (R, W), bulk: (R, W))
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + 'static,
{
    let (control_sender, control_queue) = lane();
    let (bulk_sender, bulk_queue) = lane();
    let mut session = Session {
        guest,
        control: control_sender,
        bulk: bulk_sender,
        is_greeted: false,
        calls: HashMap::new(),
        tasks: JoinSet::new(),
        early: Early::default(),
        holds: Holds::default(),
    };
    let read = session.run(FrameReader::new(control.0), FrameReader::new(bulk.0));
    let outcome = tokio::select! {
        outcome = read => outcome.map_err(|error| error.to_string()),
        outcome = control_queue.write_to(control.1) => outcome.map_err(|error| error.to_string()),
        outcome = bulk_queue.write_to(bulk.1) => outcome.map_err(|error| error.to_string()),
    };
    if let Err(error) = outcome {
        warn(format_args!("the host's channel failed: {error}"));
    }
    session.reset();
}

impl Session {
    async fn run<R: AsyncRead + Unpin>(
        &mut self,
        mut control: FrameReader<R>,
        mut bulk: FrameReader<R>,
    ) -> Result<(), ReadError> {
        loop {
            let (frame, lane) = tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next() => {
                    if let Ok(stream) = ended {
                        self.calls.remove(&stream);
                    }
                    continue;
                }
                frame = control.next() => (frame?, Lane::Control),
                frame = bulk.next() => (frame?, Lane::Bulk),
            };
            let Some(frame) = frame else { return Ok(()) };
            if let Err(fault) = self.take(frame, lane).await {
                warn(format_args!("the host broke the protocol: {fault}"));
                self.reset();
            }
        }
    }

    /// Ends every call; what their tasks own is dropped, and processes with it. What only this host could have
    /// ended ends as well.
    fn reset(&mut self) {
        self.tasks.abort_all();
        self.tasks = JoinSet::new();
        self.calls.clear();
        self.early = Early::default();
        self.is_greeted = false;
        self.control.forget();
        self.bulk.forget();
        self.holds = Holds::default();
        self.guest.engine.go_on();
        self.guest.forsake();
    }

    async fn take(&mut self, frame: Frame, lane: Lane) -> Result<(), Fault> {
        if frame.kind.lane() != lane {
            // The host sends data alone on the bulk lane, and everything else on the other.
            return Err(Fault::WrongLane(frame.kind));
        }
        match frame.kind {
            Kind::Hello => self.greet(&frame),
            // What a host sent before it broke the protocol may still come.
            _ if !self.is_greeted => Ok(()),
            Kind::Open => self.open(&frame).await,
            Kind::Input | Kind::Credit | Kind::Data | Kind::Eof => self.steer(frame),
            Kind::Barrier if frame.stream == StreamId::CONNECTION && self.holds.take_barrier() => Ok(()),
            Kind::Event | Kind::Reply | Kind::Barrier => Err(Fault::OutOfTurn(frame.kind)),
        }
    }

    fn greet(&mut self, frame: &Frame) -> Result<(), Fault> {
        let hello = decode::<Hello>(&frame.payload)?;
        let continues = hello.continues && self.is_greeted && hello.check().is_ok();
        if !continues {
            self.reset();
        }
        // Even a host of another version is answered: it learns ours from it. One that wants to go on where
        // nothing is left learns that.
        let payload = encode(&Hello { continues, ..Hello::new(hello.nonce) })?;
        self.control.send_first(Frame { stream: StreamId::CONNECTION, kind: Kind::Hello, payload });
        self.holds.release();
        hello.check()?;
        self.is_greeted = true;
        Ok(())
    }

    async fn open(&mut self, frame: &Frame) -> Result<(), Fault> {
        let stream = frame.stream;
        let early = self.early.open(stream).ok_or(Fault::StreamReused(stream.0))?;
        let io =
            CallIo { stream, mailbox: Rc::default(), control: self.control.clone(), bulk: self.bulk.clone() };
        let request = decode::<Request>(&frame.payload)?;
        if self.tasks.len() >= CALLS_MAX + LANE_CALLS_MAX {
            return Err(Fault::TooManyCalls);
        }
        match request {
            Request::Hold => return self.hold(io),
            Request::Release => {
                self.release(io);
                return Ok(());
            }
            _ if self.calls.len() < CALLS_MAX => {}
            _ if self.holds.is_kept() => return Err(Fault::TooManyCalls),
            _ => {
                io.reply(&Reply::Failed(too_many_calls())).await;
                return Ok(());
            }
        }
        self.calls.insert(stream, Rc::clone(&io.mailbox));
        for frame in early {
            deliver(&io.mailbox, &frame)?;
        }
        let guest = Rc::clone(&self.guest);
        self.tasks.spawn_local(async move {
            guest.answer(request, &io).await;
            io.stream
        });
        Ok(())
    }

    fn hold(&mut self, io: CallIo) -> Result<(), Fault> {
        let stream = io.stream;
        let hold = self.holds.begin(io)?;
        let guest = Rc::clone(&self.guest);
        self.tasks.spawn_local(async move {
            hold.run(&guest.engine).await;
            stream
        });
        Ok(())
    }

    fn release(&mut self, io: CallIo) {
        let reply = match self.holds.release() {
            true => {
                self.guest.engine.go_on();
                Reply::Released
            }
            false => Reply::Failed(failure(FailureKind::Refused, "the lanes are not held")),
        };
        // Not here: what has waited goes first, and this is what the host's next words are heard by.
        self.tasks.spawn_local(async move {
            io.reply(&reply).await;
            io.stream
        });
    }

    fn steer(&mut self, frame: Frame) -> Result<(), Fault> {
        match self.calls.get(&frame.stream) {
            Some(mailbox) => deliver(mailbox, &frame),
            None => Ok(self.early.keep(frame)?),
        }
    }
}

fn deliver(mailbox: &Mailbox, frame: &Frame) -> Result<(), Fault> {
    match frame.kind {
        Kind::Data => {
            let (channel, bytes) = frame.as_data()?;
            Ok(mailbox.put_data(channel, bytes)?)
        }
        Kind::Eof => Ok(mailbox.put_eof(frame.as_eof()?)?),
        Kind::Credit => {
            let (channel, bytes) = frame.as_credit()?;
            Ok(mailbox.put_credit(channel, bytes)?)
        }
        Kind::Input => Ok(mailbox.put_input(decode::<Input>(&frame.payload)?)?),
        Kind::Hello | Kind::Open | Kind::Event | Kind::Reply | Kind::Barrier => {
            Err(Fault::OutOfTurn(frame.kind))
        }
    }
}

fn too_many_calls() -> Failure {
    failure(FailureKind::Refused, format!("more than {CALLS_MAX} calls at once"))
}
