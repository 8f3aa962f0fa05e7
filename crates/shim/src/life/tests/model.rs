//! An honest agent of a guest with a workspace, without a guest: it does what commands are called after.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pyro_channel::FrameReader;
use pyro_proto::agent::{
    Event, Exited, Failure, FailureKind, Input, Outcome, Reply, Request, Tally, Written,
};
use pyro_proto::hello::Hello;
use pyro_proto::limits::DATA_BYTES_MAX;
use pyro_proto::window::{ReceiveWindow, SendWindow};
use pyro_proto::{Channel, Frame, Kind, Lane, StreamId, decode, encode};
use pyro_vmm::fake::FakeVmm;
use pyro_vmm::{Exit, GuestChannels};
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// What agents were asked, in order, over all VMs of a test.
#[derive(Clone, Default)]
pub(super) struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    /// How long guests take to prepare themselves, and half of it to set their clocks.
    pub(super) patience: Duration,
    /// What their clocks say, in nanoseconds since 1970.
    pub(super) realtime_ns: u64,
}

impl Log {
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn add(&self, line: impl Into<String>) {
        self.lines.lock().unwrap().push(line.into());
    }
}

/// What a stream is.
enum Work {
    /// A tree that comes in: its name, bytes so far.
    Incoming(&'static str, u64, ReceiveWindow),
    /// Output that goes out as room is granted, then the end.
    Flood(u64, SendWindow),
    /// A command that runs until it is killed.
    Sleep,
    /// A shell that says what is typed, granting room as it does, until it is stopped. A deaf one takes nothing.
    Shell { window: ReceiveWindow, out: SendWindow, is_deaf: bool },
    /// A service.
    Service,
}

/// What every guest of these tests still has to write.
pub(super) const WRITTEN: Written = Written { bytes: 4_096, duration_us: 3, entries: 17 };

struct Model {
    control_out: OwnedWriteHalf,
    bulk_out: OwnedWriteHalf,
    log: Log,
    work: HashMap<StreamId, Work>,
    /// Data may overtake what opens its call.
    early: HashMap<StreamId, Vec<Frame>>,
    /// Ids of streams rise, as an agent insists.
    highest: u32,
}

/// A VMM whose guests have such an agent.
pub(super) fn vmm(log: &Log) -> FakeVmm {
    let log = log.clone();
    FakeVmm::new(move |channels| live(channels, log.clone()))
}

async fn live(channels: GuestChannels, log: Log) -> Exit {
    let (control, control_out) = channels.control.into_split();
    let (bulk, bulk_out) = channels.bulk.into_split();
    let (mut control, mut bulk): (FrameReader<OwnedReadHalf>, FrameReader<OwnedReadHalf>) =
        (FrameReader::new(control), FrameReader::new(bulk));
    let mut model =
        Model { control_out, bulk_out, log, work: HashMap::new(), early: HashMap::new(), highest: 0 };
    loop {
        let frame = tokio::select! {
            biased;
            frame = control.next() => frame,
            frame = bulk.next() => frame,
        };
        let Ok(Some(frame)) = frame else { return std::future::pending().await };
        if let Some(exit) = model.on_frame(frame).await {
            return exit;
        }
    }
}

impl Model {
    async fn on_frame(&mut self, frame: Frame) -> Option<Exit> {
        match frame.kind {
            Kind::Hello => {
                let hello: Hello = decode(&frame.payload).unwrap();
                let answer = Hello { continues: hello.continues, ..Hello::new(hello.nonce) };
                self.say(StreamId::CONNECTION, Kind::Hello, &answer).await;
            }
            Kind::Open if frame.stream.0 <= self.highest => {
                return Some(Exit::Panicked { message: "a stream does not rise".to_owned() });
            }
            Kind::Open => {
                self.highest = frame.stream.0;
                let exit = self.on_request(frame.stream, decode(&frame.payload).unwrap()).await;
                for early in self.early.remove(&frame.stream).unwrap_or_default() {
                    self.on_more(early).await;
                }
                return exit;
            }
            _ if !self.work.contains_key(&frame.stream) => {
                self.early.entry(frame.stream).or_default().push(frame);
            }
            _ => self.on_more(frame).await,
        }
        None
    }

    async fn on_request(&mut self, stream: StreamId, request: Request) -> Option<Exit> {
        match request {
            Request::Prepare(prepare) => {
                let (hostname, id) = (prepare.hostname, prepare.machine_id);
                self.log.add(format!("prepare {:?} {hostname} {id}", prepare.workspace));
                tokio::time::sleep(self.log.patience).await;
                self.reply(stream, &Reply::Prepared).await;
            }
            Request::SetClock { .. } => {
                self.log.add("clock");
                tokio::time::sleep(self.log.patience / 2).await;
                self.reply(stream, &Reply::ClockSet).await;
            }
            Request::ReadClock => {
                self.log.add("read clock");
                tokio::time::sleep(self.log.patience / 2).await;
                self.reply(stream, &Reply::Clock { realtime_ns: self.log.realtime_ns }).await;
            }
            Request::AdjustClock { offset_ns } => {
                let is_far_behind = offset_ns > 1_700_000_000_000_000_000;
                self.log.add(if is_far_behind { "clock".to_owned() } else { format!("clock {offset_ns}") });
                self.reply(stream, &Reply::ClockSet).await;
            }
            Request::Sync => {
                self.log.add("sync");
                tokio::time::sleep(self.log.patience).await;
                self.reply(stream, &Reply::Synced(WRITTEN)).await;
            }
            Request::Freeze => {
                self.log.add("freeze");
                self.reply(stream, &Reply::Frozen(WRITTEN)).await;
            }
            Request::Thaw => {
                self.log.add("thaw");
                self.reply(stream, &Reply::Thawed).await;
            }
            Request::Hold => {
                self.log.add("hold");
                // Time enough for clients to come with something else.
                tokio::time::sleep(Duration::from_millis(50)).await;
                self.send(Frame::credit(stream, Channel::Stdin, 0)).await;
                self.reply(stream, &Reply::Held).await;
            }
            Request::Release => {
                self.log.add("release");
                self.reply(stream, &Reply::Released).await;
            }
            Request::Seed => self.take(stream, "seed"),
            Request::Push(_) => self.take(stream, "push"),
            Request::Changes(changes) => {
                self.log.add("changes");
                if changes.contents {
                    // What nobody asked for.
                    self.reply(stream, &Reply::Warmed).await;
                }
                self.send(Frame::data(stream, Channel::Stdout, b"changes")).await;
                self.send(Frame::eof(stream, Channel::Stdout)).await;
                self.reply(stream, &Reply::Changed(Tally { entries: 1, bytes: 7 })).await;
            }
            Request::Exec(exec) if exec.terminal.is_some() => self.shell(stream, &exec.argv).await,
            Request::Exec(exec) => return self.run(stream, &exec.argv).await,
            Request::Serve(service) => self.serve(stream, &service.command.argv).await,
            other => panic!("unexpected {other:?}"),
        }
        None
    }

    fn take(&mut self, stream: StreamId, what: &'static str) {
        self.log.add(what);
        self.work.insert(stream, Work::Incoming(what, 0, ReceiveWindow::default()));
    }

    async fn run(&mut self, stream: StreamId, argv: &[Vec<u8>]) -> Option<Exit> {
        let words: Vec<String> = argv.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        self.log.add(words.join(" "));
        if words[0] == "missing" {
            self.fail(stream, FailureKind::CommandNotFound).await;
            return None;
        }
        self.say(stream, Kind::Event, &Event::Started { pid: 7 }).await;
        match words[0].as_str() {
            "true" => self.exit(stream, Outcome::Code(0)).await,
            "echo" => {
                self.send(Frame::data(stream, Channel::Stdout, words[1].as_bytes())).await;
                self.exit(stream, Outcome::Code(0)).await;
            }
            "flood" => {
                self.work.insert(stream, Work::Flood(words[1].parse().unwrap(), SendWindow::default()));
                self.flood(stream).await;
            }
            "panic" => return Some(Exit::Panicked { message: "asked to".to_owned() }),
            _ => {
                self.work.insert(stream, Work::Sleep);
            }
        }
        None
    }

    async fn shell(&mut self, stream: StreamId, argv: &[Vec<u8>]) {
        let word = argv.first().map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default();
        self.log.add(format!("shell {word}"));
        if word == "missing" {
            return self.fail(stream, FailureKind::CommandNotFound).await;
        }
        self.say(stream, Kind::Event, &Event::Started { pid: 8 }).await;
        self.send(Frame::data(stream, Channel::Stdout, b"$ ")).await;
        let out = SendWindow::default();
        let is_deaf = word == "deaf";
        self.work.insert(stream, Work::Shell { window: ReceiveWindow::default(), out, is_deaf });
    }

    async fn serve(&mut self, stream: StreamId, argv: &[Vec<u8>]) {
        let word = String::from_utf8_lossy(&argv[0]).into_owned();
        self.log.add(format!("serve {word}"));
        self.say(stream, Kind::Event, &Event::Started { pid: 9 }).await;
        self.send(Frame::data(stream, Channel::Stderr, b"hello\n")).await;
        match word.as_str() {
            "early" => {
                return self.exit(stream, Outcome::Code(6)).await;
            }
            // The first one is ready.
            "once" if self.log.lines().iter().filter(|line| *line == "serve once").count() > 1 => {
                return self.exit(stream, Outcome::Code(6)).await;
            }
            "slow" => {}
            _ => self.say(stream, Kind::Event, &Event::Ready).await,
        }
        if word == "again" {
            let ended = Exited { outcome: Outcome::Code(3), out_of_memory_kills: 0, duration_us: 1 };
            let restarting = Event::Restarting { ended: Some(ended), delay_ms: 100 };
            self.say(stream, Kind::Event, &restarting).await;
            self.say(stream, Kind::Event, &Event::Started { pid: 10 }).await;
            self.say(stream, Kind::Event, &Event::Ready).await;
        }
        self.work.insert(stream, Work::Service);
    }

    /// What is typed into a shell comes back; `exit` ends it.
    async fn typed(&mut self, stream: StreamId, bytes: &[u8]) {
        let Some(Work::Shell { window, out, is_deaf }) = self.work.get_mut(&stream) else { return };
        window.receive(bytes.len()).unwrap();
        if *is_deaf {
            return;
        }
        out.spend(bytes.len());
        let grant = window.consume(bytes.len());
        self.send(Frame::data(stream, Channel::Stdout, bytes)).await;
        if let Some(grant) = grant {
            self.send(Frame::credit(stream, Channel::Stdin, grant)).await;
        }
        if bytes == b"exit\n" {
            self.work.remove(&stream);
            self.exit(stream, Outcome::Code(5)).await;
        }
    }

    async fn on_input(&mut self, stream: StreamId, input: Input) {
        match (self.work.get(&stream), input) {
            (Some(Work::Shell { .. } | Work::Service), Input::Stop { signal, .. }) => {
                self.log.add(format!("stop {signal}"));
                self.work.remove(&stream);
                self.exit(stream, Outcome::Signal(signal)).await;
            }
            (Some(Work::Shell { .. }), other) => self.log.add(format!("{other:?}")),
            _ => {}
        }
    }

    async fn on_more(&mut self, frame: Frame) {
        let stream = frame.stream;
        if matches!(self.work.get(&stream), Some(Work::Shell { .. } | Work::Service)) {
            match frame.kind {
                Kind::Data => self.typed(stream, frame.as_data().unwrap().1).await,
                Kind::Input => self.on_input(stream, decode(&frame.payload).unwrap()).await,
                _ => {}
            }
            return;
        }
        let killed = frame.kind == Kind::Input && decode::<Input>(&frame.payload) == Ok(Input::Kill);
        match (self.work.get_mut(&stream), frame.kind) {
            (Some(Work::Incoming(_, bytes, window)), Kind::Data) => {
                let (_, content) = frame.as_data().unwrap();
                *bytes += content.len() as u64;
                window.receive(content.len()).unwrap();
                let (bad, grant) = (content.starts_with(b"bad"), window.consume(content.len()));
                if let Some(grant) = grant {
                    self.send(Frame::credit(stream, Channel::Stdin, grant)).await;
                }
                if bad {
                    self.work.remove(&stream);
                    self.fail(stream, FailureKind::NoSpace).await;
                }
            }
            (Some(Work::Incoming(what, bytes, _)), Kind::Eof) => {
                let tally = Tally { entries: 1, bytes: *bytes };
                let done = if *what == "seed" { Reply::Seeded(tally) } else { Reply::Pushed(tally) };
                self.log.add(format!("{what} of {bytes} done"));
                self.work.remove(&stream);
                self.reply(stream, &done).await;
            }
            (Some(Work::Incoming(what, ..)), _) if killed => {
                self.log.add(format!("{what} canceled"));
                self.work.remove(&stream);
                self.fail(stream, FailureKind::Canceled).await;
            }
            (Some(Work::Flood(_, window)), Kind::Credit) => {
                window.grant(frame.as_credit().unwrap().1).unwrap();
                self.flood(stream).await;
            }
            (Some(Work::Sleep), _) if killed => {
                self.log.add("killed");
                self.work.remove(&stream);
                self.exit(stream, Outcome::Signal(9)).await;
            }
            _ => {}
        }
    }

    async fn flood(&mut self, stream: StreamId) {
        let mut frames = Vec::new();
        let Some(Work::Flood(left, window)) = self.work.get_mut(&stream) else { return };
        while *left > 0 && window.available() > 0 {
            let bytes = window.available().min(DATA_BYTES_MAX).min(usize::try_from(*left).unwrap());
            *left -= bytes as u64;
            window.spend(bytes);
            frames.push(Frame::data(stream, Channel::Stdout, &vec![b'x'; bytes]));
        }
        let is_done = *left == 0;
        for frame in frames {
            self.send(frame).await;
        }
        if is_done {
            self.work.remove(&stream);
            self.exit(stream, Outcome::Code(0)).await;
        }
    }

    async fn exit(&mut self, stream: StreamId, outcome: Outcome) {
        self.send(Frame::eof(stream, Channel::Stdout)).await;
        self.send(Frame::eof(stream, Channel::Stderr)).await;
        let exited = Exited { outcome, out_of_memory_kills: 0, duration_us: 5_000 };
        self.reply(stream, &Reply::Exited(exited)).await;
    }

    async fn fail(&mut self, stream: StreamId, kind: FailureKind) {
        self.reply(stream, &Reply::Failed(Failure { kind, detail: "as asked".to_owned() })).await;
    }

    async fn reply(&mut self, stream: StreamId, reply: &Reply) {
        self.say(stream, Kind::Reply, reply).await;
    }

    async fn say(&mut self, stream: StreamId, kind: Kind, message: &impl Serialize) {
        self.send(Frame { stream, kind, payload: encode(message).unwrap() }).await;
    }

    async fn send(&mut self, frame: Frame) {
        let mut wire = Vec::new();
        frame.write_to(&mut wire);
        let lane = match frame.kind.lane() {
            Lane::Control => &mut self.control_out,
            Lane::Bulk => &mut self.bulk_out,
        };
        let _ = lane.write_all(&wire).await;
    }
}
