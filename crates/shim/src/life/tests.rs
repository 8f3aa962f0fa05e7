//! A shim's life against a fake VMM whose guests are scripted agents, honest and hostile.

use std::path::Path;
use std::time::Duration;

use pyro_channel::FrameReader;
use pyro_proto::agent::{self, Exited, Outcome};
use pyro_proto::hello::Hello;
use pyro_proto::limits::WINDOW_BYTES;
use pyro_proto::shim::{Accelerator, Exec, FailureCode, HostPath, Machine, Transport};
use pyro_proto::{Channel, Frame, StreamId, encode};
use pyro_store::{Directories, Durability, Store, VmId};
use pyro_vmm::fake::{FakeVmm, Fault};
use pyro_vmm::{Draft, Exit, GuestChannels, KeyInputs, Shape, TemplateKey};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::*;
use crate::limits::EXEC_GRACE_SECONDS;

mod captures;
mod model;
mod parked;
mod services;
mod shells;
mod workspaces;

/// One agent of a fake guest: honest until its script says otherwise.
struct Agent {
    control: FrameReader<OwnedReadHalf>,
    control_out: OwnedWriteHalf,
    bulk_out: OwnedWriteHalf,
    _bulk: OwnedReadHalf,
}

impl Agent {
    fn new(channels: GuestChannels) -> Agent {
        let (control, control_out) = channels.control.into_split();
        let (bulk, bulk_out) = channels.bulk.into_split();
        Agent { control: FrameReader::new(control), control_out, bulk_out, _bulk: bulk }
    }

    async fn next(&mut self) -> Option<Frame> {
        self.control.next().await.ok().flatten()
    }

    async fn send(&mut self, frame: Frame) {
        let mut wire = Vec::new();
        frame.write_to(&mut wire);
        let lane = match frame.kind.lane() {
            pyro_proto::Lane::Control => &mut self.control_out,
            pyro_proto::Lane::Bulk => &mut self.bulk_out,
        };
        let _ = lane.write_all(&wire).await;
    }

    async fn reply(&mut self, stream: StreamId, reply: &agent::Reply) {
        self.send(Frame { stream, kind: Kind::Reply, payload: encode(reply).unwrap() }).await;
    }

    /// Handshake and preparation, as every agent has to; gives the first command's stream.
    async fn until_exec(&mut self) -> Option<(StreamId, agent::Exec)> {
        loop {
            let frame = self.next().await?;
            match frame.kind {
                Kind::Hello => {
                    let hello: Hello = decode(&frame.payload).unwrap();
                    let payload = encode(&Hello::new(hello.nonce)).unwrap();
                    self.send(Frame { stream: StreamId::CONNECTION, kind: Kind::Hello, payload }).await;
                }
                Kind::Open => match decode::<agent::Request>(&frame.payload).unwrap() {
                    agent::Request::Prepare(_) => self.reply(frame.stream, &agent::Reply::Prepared).await,
                    agent::Request::SetClock { .. } => {
                        self.reply(frame.stream, &agent::Reply::ClockSet).await
                    }
                    agent::Request::Exec(exec) => return Some((frame.stream, exec)),
                    other => panic!("unexpected {other:?}"),
                },
                _ => {}
            }
        }
    }

    async fn exit(&mut self, stream: StreamId, code: u8) {
        self.send(Frame::eof(stream, Channel::Stdout)).await;
        self.send(Frame::eof(stream, Channel::Stderr)).await;
        let outcome = Outcome::Code(code);
        self.reply(stream, &agent::Reply::Exited(Exited { outcome, out_of_memory_kills: 0, duration_us: 1 }))
            .await;
    }
}

/// A client at one end, a shim's life at the other.
struct Bench {
    _root: tempfile::TempDir,
    directories: Directories,
    start: Start,
}

/// The client's end.
struct Client {
    frames: FrameReader<OwnedReadHalf>,
    out: OwnedWriteHalf,
}

impl Bench {
    fn new(ttl_seconds: Option<u64>) -> Bench {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let directories = Directories { state: path("state"), cache: path("cache"), runtime: path("run") };
        directories.create().unwrap();
        let key = template(&path("template"));
        std::fs::File::create(path("blank")).unwrap().set_len(1 << 30).unwrap();
        let host = |path: &Path| HostPath::from(path);
        let start = Start {
            vm_id: VmId::random().unwrap().to_string(),
            purpose: Purpose::Run {
                template: host(&path("template")),
                template_key: key.as_str().to_owned(),
                base: host(&path("base")),
                blank: host(&path("blank")),
            },
            environment: "debian:12".to_owned(),
            machine: Machine {
                vmm_path: host(Path::new("/nonexistent")),
                vmm_version: "7.2.0".to_owned(),
                accelerator: Accelerator::Tcg,
                transport: Transport::Serial,
                vcpu_count: 1,
                memory_mib: 128,
                kernel: host(&path("kernel")),
                initrd: host(&path("initrd")),
            },
            state_directory: host(&directories.state),
            cache_directory: host(&directories.cache),
            runtime_directory: host(&directories.runtime),
            ttl_seconds,
            run_as: None,
        };
        Bench { _root: root, directories, start }
    }

    /// Runs `client` against a shim over `vmm`; checks that nothing is left behind.
    async fn run<T>(&self, vmm: FakeVmm, client: impl AsyncFnOnce(Client) -> T) -> T {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (source, out) = ours.into_split();
        let mut client_end = Client { frames: FrameReader::new(source), out };
        let shim = async {
            let connection = Connection::accept(theirs).await.unwrap();
            let order = Order { start: self.start.clone(), stream: StreamId(1), unconfined: Vec::new() };
            let mut signals = Signals::install().unwrap();
            supervise(vmm, connection, &order, &mut signals).await;
        };
        let person = async {
            client_end.hello().await;
            client(client_end).await
        };
        let ((), result) = tokio::join!(shim, person);
        let store = Store::open(&self.directories.database(), Durability::Crash).unwrap();
        assert!(store.vms().unwrap().is_empty(), "the VM is still recorded");
        let place = self.directories.vm(&VmId::parse(&self.start.vm_id).unwrap());
        assert!(!place.disks.exists() && !place.runtime.exists(), "the VM's directories are still there");
        result
    }
}

fn template(directory: &Path) -> TemplateKey {
    let shape = Shape::new(pyro_vmm::Accelerator::Tcg, pyro_vmm::Transport::Serial, 1, 128).unwrap();
    let key = TemplateKey::new(&KeyInputs { shape, vmm: "fake", parts: &[] });
    let mut draft = Draft::create(directory, 128 << 20).unwrap();
    pyro_vmm::create_overlay(&draft.disk_path(), 1 << 30).unwrap();
    let disk = draft.disk_path();
    draft.add_disk(&disk, "0123456789ab").unwrap();
    draft.finish(&key).unwrap();
    key
}

impl Client {
    async fn send(&mut self, frame: Frame) {
        let mut wire = Vec::new();
        frame.write_to(&mut wire);
        self.out.write_all(&wire).await.unwrap();
    }

    async fn hello(&mut self) {
        let payload = encode(&Hello::new(7)).unwrap();
        self.send(Frame { stream: StreamId::CONNECTION, kind: Kind::Hello, payload }).await;
        assert_eq!(self.frames.next().await.unwrap().unwrap().kind, Kind::Hello);
    }

    async fn open(&mut self, stream: u32, request: &Request) {
        let payload = encode(request).unwrap();
        self.send(Frame { stream: StreamId(stream), kind: Kind::Open, payload }).await;
    }

    /// The reply on a stream; what comes before it is given too.
    async fn reply(&mut self, stream: u32) -> (Vec<Frame>, Reply) {
        let mut before = Vec::new();
        loop {
            let frame = self.frames.next().await.unwrap().expect("the shim left without a reply");
            if frame.kind == Kind::Reply && frame.stream == StreamId(stream) {
                return (before, decode(&frame.payload).unwrap());
            }
            before.push(frame);
        }
    }

    /// The replies on several streams, whichever comes first, and the bytes of standard output that come before the last
    /// of them.
    async fn replies<const COUNT: usize>(&mut self, streams: [u32; COUNT]) -> (Vec<u8>, [Reply; COUNT]) {
        let (mut bytes, mut replies) = (Vec::new(), [const { None }; COUNT]);
        while replies.iter().any(Option::is_none) {
            let frame = self.frames.next().await.unwrap().expect("the shim left without a reply");
            match (frame.kind, streams.iter().position(|stream| frame.stream == StreamId(*stream))) {
                (Kind::Reply, Some(place)) => replies[place] = Some(decode(&frame.payload).unwrap()),
                (Kind::Data, _) => bytes.extend_from_slice(frame.as_data().unwrap().1),
                _ => {}
            }
        }
        (bytes, replies.map(Option::unwrap))
    }

    /// Waits until the shim has closed its end.
    async fn closed(&mut self) {
        while let Ok(Some(_)) = self.frames.next().await {}
    }

    async fn started(&mut self) {
        let (_, reply) = self.reply(1).await;
        assert!(matches!(reply, Reply::Started(_)), "{reply:?}");
    }

    async fn failure(&mut self, stream: u32) -> Failure {
        match self.reply(stream).await.1 {
            Reply::Failed(failure) => failure,
            other => panic!("{other:?} instead of a failure"),
        }
    }
}

fn exec(timeout_ms: Option<u64>) -> Request {
    let command = agent::Exec {
        argv: vec![b"x".to_vec()],
        environment: Vec::new(),
        directory: None,
        user: None,
        terminal: None,
        stdin: true,
        timeout_ms,
    };
    Request::Exec(Exec { command, detach: false })
}

/// A guest that runs `script` once its first command is there, and then stays.
fn guest<R>(script: impl Fn(Agent, StreamId) -> R + Send + Sync + Clone + 'static) -> FakeVmm
where
    R: Future<Output = ()> + Send + 'static,
{
    FakeVmm::new(move |channels| {
        let script = script.clone();
        async move {
            let mut agent = Agent::new(channels);
            if let Some((stream, _)) = agent.until_exec().await {
                script(agent, stream).await;
            }
            std::future::pending::<Exit>().await
        }
    })
}

/// A command's output and end reach the client in order, and `Stop` is answered when nothing is left.
#[tokio::test]
async fn a_command_runs_and_the_vm_goes() {
    let vmm = guest(async |mut agent: Agent, stream| {
        agent.send(Frame::data(stream, Channel::Stdout, b"hello")).await;
        agent.exit(stream, 7).await;
        std::future::pending().await
    });
    Bench::new(None)
        .run(vmm, async |mut client| {
            client.started().await;
            client.open(5, &exec(None)).await;
            let (before, reply) = client.reply(5).await;
            assert_eq!(
                before.iter().map(|frame| frame.kind).collect::<Vec<_>>(),
                [Kind::Data, Kind::Eof, Kind::Eof]
            );
            assert!(matches!(reply, Reply::Exited(Exited { outcome: Outcome::Code(7), .. })));
            client.open(6, &Request::Stop { discard: false }).await;
            assert_eq!(client.reply(6).await.1, Reply::Stopped);
        })
        .await;
}

/// A starter that leaves, during a command or before any, takes the VM with it.
#[tokio::test]
async fn the_vm_ends_with_its_starter() {
    for leave_in_command in [false, true] {
        let vmm = guest(async |_agent: Agent, _| std::future::pending().await);
        Bench::new(None)
            .run(vmm, async |mut client| {
                client.started().await;
                if leave_in_command {
                    client.open(5, &exec(None)).await;
                }
            })
            .await;
    }
}

/// A guest that hangs or panics, and a VMM that dies, each give one clear failure and leave nothing.
#[tokio::test(start_paused = true)]
async fn bad_starts_are_told_apart() {
    let cases = [
        (Fault::SilentGuest, FailureCode::GuestSilent),
        (Fault::PanickedGuest, FailureCode::GuestPanicked),
        (Fault::DiesAtStart, FailureCode::VmmDied),
    ];
    for (fault, code) in cases {
        let vmm = FakeVmm::new(async |_| std::future::pending().await).with_fault(fault);
        let failure = Bench::new(None).run(vmm, async |mut client| client.failure(1).await).await;
        assert_eq!(failure.code, code, "{fault:?}: {failure:?}");
        if fault == Fault::PanickedGuest {
            assert!(String::from_utf8_lossy(&failure.console).contains("Kernel panic"));
        }
    }
}

/// A damaged template is reported as such, so that it can be made again.
#[tokio::test]
async fn a_damaged_template_asks_to_be_made_again() {
    let bench = Bench::new(None);
    let Purpose::Run { template, .. } = &bench.start.purpose else { unreachable!() };
    std::fs::remove_file(template.to_path().join("state")).unwrap();
    let vmm = FakeVmm::new(async |_| std::future::pending().await);
    let failure = bench.run(vmm, async |mut client| client.failure(1).await).await;
    assert_eq!(failure.code, FailureCode::TemplateUnusable);
}

/// Time to live and a command's deadline hold even when the guest says nothing any more.
#[tokio::test(start_paused = true)]
async fn time_limits_hold_against_a_silent_guest() {
    let silent = || guest(async |_agent: Agent, _| std::future::pending().await);
    let limit = Duration::from_secs(1);
    for (ttl, timeout, code, due) in [
        (Some(60), None, FailureCode::Expired, Duration::from_secs(60)),
        (None, Some(1_000), FailureCode::GuestSilent, limit + EXEC_GRACE_SECONDS),
    ] {
        let (failure, took) = Bench::new(ttl)
            .run(silent(), async |mut client| {
                client.started().await;
                let begun = Instant::now();
                client.open(5, &exec(timeout)).await;
                (client.failure(5).await, begun.elapsed())
            })
            .await;
        assert_eq!(failure.code, code);
        assert!(took >= due.saturating_sub(limit) && took < due + 3 * limit, "{took:?}");
    }
}

/// A VM whose time is over before it is up, or before its command is there, says so.
#[tokio::test(start_paused = true)]
async fn a_time_to_live_may_be_too_short() {
    let never_up = FakeVmm::new(async |_| std::future::pending().await).with_fault(Fault::SilentGuest);
    let failure = Bench::new(Some(1)).run(never_up, async |mut client| client.failure(1).await).await;
    assert_eq!(failure.code, FailureCode::Expired);
    let up = guest(async |_agent: Agent, _| std::future::pending().await);
    let failure = Bench::new(Some(1))
        .run(up, async |mut client| {
            client.started().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            client.failure(StreamId::CONNECTION.0).await
        })
        .await;
    assert_eq!(failure.code, FailureCode::Expired);
}

/// The VM's end in the middle of a command is the command's answer, with the console's end.
#[tokio::test]
async fn a_panic_ends_open_commands() {
    let vmm = FakeVmm::new(|channels| async move {
        let mut agent = Agent::new(channels);
        agent.until_exec().await;
        Exit::Panicked { message: "boom".to_owned() }
    });
    let failure = Bench::new(None)
        .run(vmm, async |mut client| {
            client.started().await;
            client.open(5, &exec(None)).await;
            client.failure(5).await
        })
        .await;
    assert_eq!(failure.code, FailureCode::GuestPanicked);
    assert!(failure.message.contains("boom"));
}

/// An agent that breaks the protocol, in whatever way, is told as that, and its VM is gone.
#[tokio::test]
async fn a_hostile_agent_is_ended() {
    let raw = |kind: u8, length: u32, zero: u8| {
        let mut wire = length.to_le_bytes().to_vec();
        wire.extend([1, 0, 0, 0, kind, zero, 0, 0]);
        wire
    };
    let frame = |frame: Frame| {
        let mut wire = Vec::new();
        frame.write_to(&mut wire);
        wire
    };
    // The command is the third call on the link: stream 2, behind `Prepare`.
    let stream = StreamId(2);
    let news =
        |news: agent::Event| frame(Frame { stream, kind: Kind::Event, payload: encode(&news).unwrap() });
    let attacks: Vec<(&str, bool, Vec<u8>)> = vec![
        ("unknown kind", false, raw(99, 0, 0)),
        ("reserved bytes", false, raw(6, 0, 1)),
        ("absurd length", false, raw(6, u32::MAX, 0)),
        ("data on the control lane", true, frame(Frame::data(stream, Channel::Stdout, b"x"))),
        ("credit on the bulk lane", false, frame(Frame::credit(stream, Channel::Stdin, 1))),
        ("output on stdin", false, frame(Frame::data(stream, Channel::Stdin, b"x"))),
        ("end of stdin", false, frame(Frame::eof(stream, Channel::Stdin))),
        ("empty data", false, frame(Frame { stream, kind: Kind::Data, payload: Vec::new() })),
        ("unknown channel", false, frame(Frame { stream, kind: Kind::Data, payload: vec![9] })),
        ("grant beyond the window", true, frame(Frame::credit(stream, Channel::Stdin, 1))),
        ("grant for stdout", true, frame(Frame::credit(stream, Channel::Stdout, 1))),
        ("short grant", true, frame(Frame { stream, kind: Kind::Credit, payload: vec![0, 1] })),
        ("malformed reply", false, frame(Frame { stream, kind: Kind::Reply, payload: vec![255; 9] })),
        ("empty reply", false, frame(Frame { stream, kind: Kind::Reply, payload: Vec::new() })),
        ("another call's reply", false, {
            let payload = encode(&agent::Reply::Warmed).unwrap();
            frame(Frame { stream, kind: Kind::Reply, payload })
        }),
        ("a call from the guest", true, frame(Frame { stream, kind: Kind::Open, payload: vec![0] })),
        ("an input from the guest", true, frame(Frame { stream, kind: Kind::Input, payload: vec![0] })),
        ("data without bytes", false, frame(Frame::data(stream, Channel::Stdout, b""))),
        ("a grant of nothing", true, frame(Frame::credit(stream, Channel::Stdin, 0))),
        ("a second end", false, frame(Frame::eof(stream, Channel::Stdout)).repeat(2)),
        ("output behind its end", false, {
            let mut wire = frame(Frame::eof(stream, Channel::Stderr));
            wire.extend(frame(Frame::data(stream, Channel::Stderr, b"x")));
            wire
        }),
        ("malformed news", false, frame(Frame { stream, kind: Kind::Event, payload: vec![99] })),
        ("progress of a command", false, news(agent::Event::Progress { done: 1, total: 2 })),
        ("a flood of news", false, news(agent::Event::Started { pid: 7 }).repeat(300)),
        ("an end before that of its output", false, {
            let exited = Exited { outcome: Outcome::Code(0), out_of_memory_kills: 0, duration_us: 1 };
            let payload = encode(&agent::Reply::Exited(exited)).unwrap();
            frame(Frame { stream, kind: Kind::Reply, payload })
        }),
        ("more than the window", false, {
            let piece = frame(Frame::data(stream, Channel::Stdout, &[0; 32_000]));
            piece.repeat(WINDOW_BYTES as usize / 32_000 + 1)
        }),
    ];
    for (name, on_control, bytes) in attacks {
        let vmm = guest(move |mut agent: Agent, _| {
            let bytes = bytes.clone();
            async move {
                let lane = if on_control { &mut agent.control_out } else { &mut agent.bulk_out };
                let _ = lane.write_all(&bytes).await;
                std::future::pending().await
            }
        });
        let failure = Bench::new(None)
            .run(vmm, async |mut client| {
                client.started().await;
                client.open(5, &exec(None)).await;
                tokio::time::timeout(Duration::from_secs(10), client.failure(5)).await.expect(name)
            })
            .await;
        assert_eq!(failure.code, FailureCode::GuestFaulty, "{name}: {failure:?}");
    }
}

/// Frames of calls that nobody knows, however many, are passed over: an agent may be slower than a client.
#[tokio::test]
async fn stragglers_are_passed_over() {
    let vmm = guest(async |mut agent: Agent, stream| {
        for _ in 0..1000 {
            agent.send(Frame::data(StreamId(999), Channel::Stdout, b"late")).await;
        }
        agent.exit(stream, 0).await;
        std::future::pending().await
    });
    Bench::new(None)
        .run(vmm, async |mut client| {
            client.started().await;
            client.open(5, &exec(None)).await;
            assert!(matches!(client.reply(5).await.1, Reply::Exited(_)));
        })
        .await;
}

/// What a guest said before its VM ended is handed on, and an end in the middle of a frame is no breach.
#[tokio::test]
async fn last_words_are_handed_on() {
    let vmm = FakeVmm::new(|channels| async move {
        let mut agent = Agent::new(channels);
        let Some((stream, _)) = agent.until_exec().await else { return Exit::PoweredOff };
        for _ in 0..20 {
            agent.send(Frame::data(stream, Channel::Stdout, b"last words")).await;
        }
        let mut half = Vec::new();
        Frame::data(stream, Channel::Stdout, b"cut off").write_to(&mut half);
        let _ = agent.bulk_out.write_all(&half[..half.len() - 3]).await;
        Exit::PoweredOff
    });
    Bench::new(None)
        .run(vmm, async |mut client| {
            client.started().await;
            client.open(5, &exec(None)).await;
            let (before, reply) = client.reply(5).await;
            assert_eq!(before.iter().filter(|frame| frame.kind == Kind::Data).count(), 20);
            assert!(matches!(reply, Reply::Failed(failure) if failure.code == FailureCode::GuestEnded));
        })
        .await;
}

/// One client's nonsense ends that client's commands and nobody else's, also when its output was held up.
#[tokio::test]
async fn a_bad_client_harms_nobody_else() {
    let vmm = guest(async |mut agent: Agent, first: StreamId| {
        // The other client's command fills its window; once it is killed, and room is granted, both end.
        let second = loop {
            match agent.next().await {
                Some(frame) if frame.kind == Kind::Open => break frame.stream,
                Some(_) => {}
                None => return,
            }
        };
        for _ in 0..8 {
            agent.send(Frame::data(second, Channel::Stdout, &[0; 32_000])).await;
        }
        let (mut killed, mut granted) = (false, 0);
        while !(killed && granted >= 8 * 32_000) {
            match agent.next().await {
                Some(frame) if frame.stream == second && frame.kind == Kind::Input => killed = true,
                Some(frame) if frame.stream == second && frame.kind == Kind::Credit => {
                    granted += frame.as_credit().unwrap().1;
                }
                Some(_) => {}
                None => return,
            }
        }
        agent.exit(second, 0).await;
        agent.exit(first, 9).await;
        std::future::pending().await
    });
    let bench = Bench::new(None);
    let socket = bench.directories.vm(&VmId::parse(&bench.start.vm_id).unwrap()).socket();
    bench
        .run(vmm, async |mut client| {
            client.started().await;
            client.open(5, &exec(None)).await;
            let (source, out) = UnixStream::connect(&socket).await.unwrap().into_split();
            let mut other = Client { frames: FrameReader::new(source), out };
            other.hello().await;
            other.open(1, &exec(None)).await;
            other.frames.next().await.unwrap().unwrap();
            other.send(Frame::eof(StreamId(1), Channel::Stdout)).await;
            let (_, reply) = client.reply(5).await;
            assert!(matches!(reply, Reply::Exited(Exited { outcome: Outcome::Code(9), .. })));
        })
        .await;
}
