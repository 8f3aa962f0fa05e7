//! The life of a VM with a workspace: what stays, what goes, and who waits for whom.

use std::path::PathBuf;

use pyro_proto::agent::{Changes, FailureKind, Push, Tally};
use pyro_proto::shim::{NewWorkspace, SeedSource, Subject, Transfer, Workspace, WorkspaceOrder};
use pyro_store::limits::{HISTORY_HEAD_BYTES, HISTORY_TAIL_BYTES};
use pyro_store::{ExecOutcome, WorkspaceId, WorkspaceRecord, WorkspaceState};

use super::model::{Log, vmm};
use super::*;
use crate::limits::REQUEST_SECONDS_MAX;

impl Bench {
    /// A bench that makes a workspace.
    pub(super) fn creating(seed: bool, ttl_seconds: Option<u64>) -> Bench {
        let mut bench = Bench::new(ttl_seconds);
        let Purpose::Run { template, template_key, base, blank } = bench.start.purpose else {
            unreachable!()
        };
        std::fs::write(base.to_path(), b"base").unwrap();
        let seed = seed.then(|| SeedSource { kind: "directory".to_owned(), path: base.clone() });
        bench.start.purpose = Purpose::Workspace(Box::new(Workspace {
            id: WorkspaceId::random().unwrap().to_string(),
            template,
            template_key,
            memory: false,
            order: WorkspaceOrder::Create(NewWorkspace {
                name: Some("fix-1".to_owned()),
                labels: vec![("team".to_owned(), "x".to_owned())],
                base,
                base_digest: "0123abcd".to_owned(),
                blank,
                blank_recipe: "ext4-1".to_owned(),
                seed,
            }),
        }));
        bench
    }

    /// The next start finds what the one before has left.
    pub(super) fn reopening(mut self) -> Bench {
        self.start.vm_id = VmId::random().unwrap().to_string();
        if let Purpose::Workspace(workspace) = &mut self.start.purpose {
            workspace.order = WorkspaceOrder::Open;
        }
        self
    }

    pub(super) fn workspace_id(&self) -> WorkspaceId {
        let Purpose::Workspace(workspace) = &self.start.purpose else { unreachable!() };
        WorkspaceId::parse(&workspace.id).unwrap()
    }

    pub(super) fn store(&self) -> Store {
        Store::open(&self.directories.database(), Durability::Crash).unwrap()
    }

    pub(super) fn record(&self) -> Option<WorkspaceRecord> {
        self.store().workspace(&self.workspace_id()).unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.directories.vm(&VmId::parse(&self.start.vm_id).unwrap()).socket()
    }

    fn assert_nothing_is_left(&self) {
        assert_eq!(self.record(), None);
        assert!(!self.directories.workspace(&self.workspace_id()).directory.exists());
    }

    pub(super) async fn another(&self) -> Client {
        let (source, out) = UnixStream::connect(self.socket()).await.unwrap().into_split();
        let mut client = Client { frames: FrameReader::new(source), out };
        client.hello().await;
        client
    }
}

pub(super) fn command(words: &str, detach: bool) -> Request {
    let Request::Exec(mut exec) = super::exec(None) else { unreachable!() };
    exec.command.argv = words.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    exec.command.stdin = false;
    exec.detach = detach;
    Request::Exec(exec)
}

pub(super) fn follow(sequence: u64) -> Request {
    Request::Follow { subject: Subject::Command(sequence), from: 0 }
}

pub(super) fn push() -> Request {
    Request::Transfer(Transfer::Push(Push { directory: Vec::new() }))
}

fn changes(contents: bool) -> Request {
    Request::Transfer(Transfer::Changes(Changes { paths: Vec::new(), contents, file_bytes_max: 0 }))
}

impl Client {
    pub(super) async fn call(&mut self, stream: u32, request: &Request) -> Reply {
        self.open(stream, request).await;
        self.reply(stream).await.1
    }

    pub(super) async fn tree(&mut self, stream: u32, bytes: &[u8]) {
        self.send(Frame::data(StreamId(stream), Channel::Stdin, bytes)).await;
        self.send(Frame::eof(StreamId(stream), Channel::Stdin)).await;
    }

    pub(super) async fn stop(&mut self) {
        assert_eq!(self.call(99, &Request::Stop { discard: false }).await, Reply::Stopped);
    }
}

pub(super) fn code_of(reply: &Reply) -> Option<FailureCode> {
    if let Reply::Failed(failure) = reply { Some(failure.code) } else { None }
}

fn exited(reply: &Reply) -> Option<Outcome> {
    if let Reply::Exited(exited) = reply { Some(exited.outcome) } else { None }
}

/// A workspace outlives its starter and its VM: disk, name and history are there at the next start.
#[tokio::test]
async fn a_workspace_outlives_its_vm() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            let record = bench.record().unwrap();
            assert_eq!(record.state, WorkspaceState::Ready);
            assert_eq!(record.vm_id.unwrap().as_str(), bench.start.vm_id);
            client.open(5, &command("echo hello", false)).await;
            let (before, reply) = client.reply(5).await;
            assert_eq!(before[0].kind, Kind::Event);
            let recorded: Event = decode(&before[0].payload).unwrap();
            assert_eq!(recorded, Event::Recorded { sequence: 1 });
            assert_eq!(exited(&reply), Some(Outcome::Code(0)));
            // Recorded before it is answered.
            let end = bench.store().exec(&bench.workspace_id(), 1).unwrap().unwrap().end.unwrap();
            assert_eq!((end.outcome, end.exit_code, end.stdout_bytes), (ExecOutcome::Exited, Some(0), 5));
            let mut other = bench.another().await;
            drop(client);
            assert!(matches!(other.call(1, &command("missing", false)).await, Reply::Refused(_)));
            other.stop().await;
        })
        .await;
    let record = bench.record().unwrap();
    assert_eq!((record.state, record.vm_id, record.next_sequence), (WorkspaceState::Ready, None, 3));
    assert!(bench.directories.layer(&bench.record().unwrap().head).exists());
    let bench = bench.reopening();
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            assert!(matches!(client.call(5, &command("echo x", false)).await, Reply::Exited(_)));
            client.stop().await;
        })
        .await;
    assert_eq!(bench.record().unwrap().next_sequence, 4);
    let lines = log.lines();
    let id = lines[0].strip_prefix("prepare Empty fix-1 ").unwrap();
    assert_eq!(id.len(), 32);
    let again = format!("prepare Existing fix-1 {id}");
    let expected = ["sync", "echo hello", "missing", "sync", &again, "echo x", "sync"];
    assert_eq!(lines[1..], expected);
}

/// A workspace with a seed exists from the end of its seeding on, and takes nothing before.
#[tokio::test]
async fn a_seed_makes_the_workspace() {
    let (bench, log) = (Bench::creating(true, Some(1)), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            assert_eq!(bench.record().unwrap().state, WorkspaceState::Creating);
            for early in [command("echo x", false), push(), follow(1)] {
                assert_eq!(code_of(&client.call(5, &early).await), Some(FailureCode::Refused));
            }
            let mut other = bench.another().await;
            let seed = Request::Transfer(Transfer::Seed);
            assert_eq!(code_of(&other.call(5, &seed).await), Some(FailureCode::Refused));
            client.open(6, &seed).await;
            client.tree(6, b"tree").await;
            let done = client.reply(6).await.1;
            assert_eq!(done, Reply::Transferred(Tally { entries: 1, bytes: 4 }));
            assert_eq!(bench.record().unwrap().state, WorkspaceState::Ready);
            assert_eq!(code_of(&client.call(7, &seed).await), Some(FailureCode::Refused));
            drop(client);
            assert!(matches!(other.call(6, &command("echo x", false)).await, Reply::Exited(_)));
            other.stop().await;
        })
        .await;
    assert!(log.lines()[0].starts_with("prepare Unseeded"));
}

/// Nothing is left of a workspace whose maker leaves or fails before it exists; its name is free again.
#[tokio::test]
async fn unborn_workspaces_leave_nothing() {
    for (case, code) in
        [("leave", None), ("bad", Some(FailureCode::NoSpace)), ("stop", Some(FailureCode::Stopped))]
    {
        let bench = Bench::creating(true, None);
        bench
            .run(vmm(&Log::default()), async |mut client| {
                client.started().await;
                client.open(6, &Request::Transfer(Transfer::Seed)).await;
                client.send(Frame::data(StreamId(6), Channel::Stdin, case.as_bytes())).await;
                match case {
                    "leave" => return,
                    "stop" => client.open(7, &Request::Stop { discard: false }).await,
                    _ => {}
                }
                assert_eq!(code_of(&client.reply(6).await.1), code);
                bench.assert_nothing_is_left();
            })
            .await;
        bench.assert_nothing_is_left();
    }
}

/// A workspace without a seed, too: as long as it is not announced, its maker's leaving calls it off, also while the guest
/// writes its disk out.
#[tokio::test]
async fn a_maker_that_leaves_late_leaves_nothing() {
    let (bench, mut log) = (Bench::creating(false, None), Log::default());
    log.patience = Duration::from_millis(200);
    let life = bench.run(vmm(&log), async |client| {
        while !log.lines().contains(&"sync".to_owned()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(client);
    });
    tokio::time::timeout(Duration::from_secs(30), life).await.expect("the VM goes on");
    bench.assert_nothing_is_left();
}

/// A workspace that runs is not waited for by who came to start it: one that was started behind a client that was killed
/// is found by the next one.
#[tokio::test]
async fn a_workspace_that_runs_is_not_waited_for() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            let mut rival = Bench::creating(false, None);
            rival.start.state_directory = bench.start.state_directory.clone();
            rival.start.runtime_directory = bench.start.runtime_directory.clone();
            rival.start.purpose = bench.start.purpose.clone();
            let rival = Bench { directories: bench.directories.clone(), ..rival }.reopening();
            let begun = Instant::now();
            // Not by the bench, which looks for leftovers of its own VM alone.
            let (ours, theirs) = UnixStream::pair().unwrap();
            let (source, out) = ours.into_split();
            let mut late = Client { frames: FrameReader::new(source), out };
            let order = Order { start: rival.start.clone(), stream: StreamId(1), unconfined: Vec::new() };
            let mut signals = Signals::install().unwrap();
            let shim = async {
                let connection = Connection::accept(theirs).await.unwrap();
                supervise(vmm(&log), connection, &order, &mut signals).await;
            };
            let person = async {
                late.hello().await;
                late.failure(1).await
            };
            let ((), failure) = tokio::join!(shim, person);
            assert_eq!(failure.code, FailureCode::WorkspaceHeld);
            assert!(begun.elapsed() < Duration::from_secs(20), "it was waited for");
            client.stop().await;
        })
        .await;
}

/// A start that fails leaves a workspace that was there, and none that was not; a taken name is told.
#[tokio::test(start_paused = true)]
async fn failed_starts_lose_nothing() {
    let silent = || FakeVmm::new(async |_| std::future::pending().await).with_fault(Fault::SilentGuest);
    let bench = Bench::creating(false, None);
    let failure = bench.run(silent(), async |mut client| client.failure(1).await).await;
    assert_eq!(failure.code, FailureCode::GuestSilent);
    bench.assert_nothing_is_left();

    let log = Log::default();
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            client.stop().await;
        })
        .await;
    let mut rival = Bench::creating(false, None);
    rival.start.state_directory = bench.start.state_directory.clone();
    let rival = Bench { directories: bench.directories.clone(), ..rival };
    let failure = rival.run(vmm(&log), async |mut client| client.failure(1).await).await;
    assert_eq!(failure.code, FailureCode::NameTaken);

    let bench = bench.reopening();
    bench.run(silent(), async |mut client| client.failure(1).await).await;
    assert_eq!(bench.record().unwrap().state, WorkspaceState::Ready);
    assert!(bench.directories.layer(&bench.record().unwrap().head).exists());
    bench.store().mark_deleting(&bench.workspace_id()).unwrap();
    let failure = bench.run(vmm(&log), async |mut client| client.failure(1).await).await;
    assert_eq!(failure.code, FailureCode::WorkspaceGone);
}

/// Another shim's workspace is waited for, and refused when it is not let go of.
#[tokio::test(start_paused = true)]
async fn a_held_workspace_is_refused() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            client.stop().await;
        })
        .await;
    let bench = bench.reopening();
    let claim = bench.store().claim_workspace(&bench.directories, &bench.workspace_id()).unwrap();
    let failure = bench.run(vmm(&log), async |mut client| client.failure(1).await).await;
    assert_eq!(failure.code, FailureCode::WorkspaceHeld);
    let (let_go, ()) = tokio::join!(
        bench.run(vmm(&log), async |mut client| {
            client.started().await;
            client.stop().await;
        }),
        async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            drop(claim);
        }
    );
    let_go
}

/// A workspace's VM ends when nobody has used it for its time to live, counted from the last use; a command
/// in the background is a use.
#[tokio::test(start_paused = true)]
async fn idle_vms_end() {
    let (bench, log) = (Bench::creating(false, Some(60)), Log::default());
    let start = Instant::now();
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            assert_eq!(client.call(5, &command("sleep", true)).await, Reply::Detached);
            tokio::time::sleep(Duration::from_secs(1_000)).await;
            client.open(6, &follow(1)).await;
            assert_eq!(client.call(7, &Request::SetTtl(Some(30))).await, Reply::TtlSet);
            tokio::time::sleep(Duration::from_secs(1_000)).await;
            assert!(matches!(client.call(8, &Request::Status).await, Reply::Status(_)));
            client.stop().await;
        })
        .await;
    assert!(start.elapsed() >= Duration::from_secs(2_000));

    let bench = bench.reopening();
    let start = Instant::now();
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            tokio::time::sleep(Duration::from_secs(50)).await;
            assert!(matches!(client.call(5, &command("echo x", false)).await, Reply::Exited(_)));
            tokio::time::sleep(Duration::from_secs(50)).await;
            assert_eq!(client.call(6, &Request::SetTtl(Some(20))).await, Reply::TtlSet);
            while client.frames.next().await.unwrap().is_some() {}
        })
        .await;
    let seconds = start.elapsed().as_secs();
    assert!((120..125).contains(&seconds), "{seconds}");
    assert_eq!(log.lines().last().unwrap(), "sync");
    assert_eq!(bench.record().unwrap().state, WorkspaceState::Ready);
}

/// A detached command runs on without its client, and whoever follows gets what is kept and hears of the rest.
#[tokio::test]
async fn detached_commands_are_followed() {
    let total = 2 * (HISTORY_HEAD_BYTES + HISTORY_TAIL_BYTES);
    let (bench, log) = (Bench::creating(false, None), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            let flood = command(&format!("flood {total}"), true);
            assert_eq!(client.call(5, &flood).await, Reply::Detached);
            assert!(matches!(client.call(6, &command("missing", true)).await, Reply::Refused(_)));
            drop(client);

            let mut other = bench.another().await;
            other.open(1, &follow(1)).await;
            let (mut bytes, mut cut) = (0, 0);
            let reply = loop {
                let frame = other.frames.next().await.unwrap().unwrap();
                match frame.kind {
                    Kind::Data => {
                        let (channel, piece) = frame.as_data().unwrap();
                        bytes += piece.len() as u64;
                        let grant = u32::try_from(piece.len()).unwrap();
                        other.send(Frame::credit(StreamId(1), channel, grant)).await;
                    }
                    Kind::Event => match decode(&frame.payload).unwrap() {
                        Event::Cut { of_stderr: false, bytes } => cut += bytes,
                        other => panic!("{other:?}"),
                    },
                    Kind::Reply => break decode::<Reply>(&frame.payload).unwrap(),
                    _ => {}
                }
            };
            assert_eq!(exited(&reply), Some(Outcome::Code(0)));
            assert_eq!(bytes + cut, total);
            assert!(bytes >= HISTORY_HEAD_BYTES + HISTORY_TAIL_BYTES);
            let refused = other.call(2, &follow(2)).await;
            assert!(matches!(refused, Reply::Refused(it) if it.kind == FailureKind::CommandNotFound));
            let unknown = other.call(3, &follow(9)).await;
            assert_eq!(code_of(&unknown), Some(FailureCode::CommandUnknown));
            other.stop().await;
        })
        .await;
    let execs = bench.store().execs(&bench.workspace_id(), 1, 10).unwrap();
    assert!(execs.iter().all(|exec| exec.exec.detached));
    let ends: Vec<_> = execs.iter().map(|exec| exec.end.unwrap()).collect();
    assert_eq!((ends[0].stdout_bytes, ends[1].outcome), (total, ExecOutcome::Failed));
    assert_eq!(ends[1].exit_code, Some(127));
}

/// What ran when a VM ended, by itself or because it was asked to, is told to who waits and recorded as lost.
#[tokio::test]
async fn the_end_of_a_vm_is_the_end_of_its_commands() {
    for (last, code) in [
        (command("panic", false), FailureCode::GuestPanicked),
        (Request::Stop { discard: false }, FailureCode::Stopped),
    ] {
        let (bench, log) = (Bench::creating(false, None), Log::default());
        let asked = last == Request::Stop { discard: false };
        bench
            .run(vmm(&log), async |mut client| {
                client.started().await;
                client.open(5, &command("sleep", false)).await;
                client.frames.next().await.unwrap().unwrap();
                let mut other = bench.another().await;
                other.open(1, &follow(1)).await;
                assert!(matches!(other.call(2, &Request::Status).await, Reply::Status(_)));
                other.open(3, &last).await;
                assert_eq!(code_of(&client.reply(5).await.1), Some(code));
                assert_eq!(code_of(&other.reply(1).await.1), Some(code));
            })
            .await;
        let first = bench.store().exec(&bench.workspace_id(), 1).unwrap().unwrap();
        assert_eq!(first.end.unwrap().outcome, ExecOutcome::Lost);
        assert_eq!(bench.record().unwrap().state, WorkspaceState::Ready);
        // A guest that is well has written its disk out; one that is not cannot be asked.
        assert_eq!(log.lines().last().unwrap() == "sync", asked);
    }
}

/// An idle workspace's time is over, but not between a client's question whether it is well and what the client came for.
#[tokio::test(start_paused = true)]
async fn a_client_that_was_told_so_finds_a_vm() {
    let (bench, log) = (Bench::creating(false, Some(1)), Log::default());
    let second = Duration::from_secs(1);
    let born = bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            drop(client);
            let mut slow = bench.another().await;
            assert!(matches!(slow.call(1, &Request::Status).await, Reply::Status(_)));
            tokio::time::sleep(3 * second).await;
            let ended = slow.call(2, &command("true", false)).await;
            assert_eq!(exited(&ended), Some(Outcome::Code(0)));
            // One that stays without a wish does not keep it.
            let asked = Instant::now();
            assert!(matches!(slow.call(3, &Request::Status).await, Reply::Status(_)));
            assert!(slow.frames.next().await.unwrap().is_none(), "the VM ends, and says nothing");
            let idle = asked.elapsed();
            assert!(idle >= REQUEST_SECONDS_MAX && idle < REQUEST_SECONDS_MAX + second, "{idle:?}");
            Instant::now()
        })
        .await;
    let bench = bench.reopening();
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            drop(client);
            let mut brief = bench.another().await;
            assert!(matches!(brief.call(1, &Request::Status).await, Reply::Status(_)));
        })
        .await;
    assert!(born.elapsed() < REQUEST_SECONDS_MAX, "nor does one that has left");
}

/// A push keeps others out in the order in which they came; one whose client leaves is called off first, and
/// what was sent for the next meanwhile is not lost.
#[tokio::test]
async fn transfers_take_turns() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            let (mut first, mut second) = (bench.another().await, bench.another().await);
            first.open(1, &push()).await;
            first.send(Frame::data(StreamId(1), Channel::Stdin, b"half")).await;
            assert!(matches!(first.call(2, &Request::Status).await, Reply::Status(_)));
            second.open(1, &changes(false)).await;
            second.open(2, &push()).await;
            second.tree(2, &vec![7; 100_000 / 4]).await;
            second.open(3, &push()).await;
            let payload = encode(&agent::Input::Kill).unwrap();
            second.send(Frame { stream: StreamId(3), kind: Kind::Input, payload }).await;
            let called_off = second.reply(3).await.1;
            assert!(matches!(called_off, Reply::Refused(it) if it.kind == FailureKind::Canceled));
            drop(first);
            assert_eq!(second.reply(1).await.1, Reply::Transferred(Tally { entries: 1, bytes: 7 }));
            let pushed = second.reply(2).await.1;
            assert_eq!(pushed, Reply::Transferred(Tally { entries: 1, bytes: 25_000 }));
            client.stop().await;
        })
        .await;
    let turns = ["push", "push canceled", "changes", "push", "push of 25000 done"];
    assert_eq!(log.lines()[2..7], turns);
}

/// Another call's reply is no reply, and a transfer that hangs ends its VM in bounded time.
#[tokio::test(start_paused = true)]
async fn hostile_and_hung_transfers_end() {
    let log = Log::default();
    let reply = Bench::creating(false, None)
        .run(vmm(&log), async |mut client| {
            client.started().await;
            client.call(5, &changes(true)).await
        })
        .await;
    assert_eq!(code_of(&reply), Some(FailureCode::GuestFaulty));

    // The agent of commands alone says nothing to a push.
    let silent = FakeVmm::new(|channels| async move {
        let mut agent = Agent::new(channels);
        loop {
            let Some(frame) = agent.next().await else { return Exit::PoweredOff };
            match (frame.kind, decode::<agent::Request>(&frame.payload)) {
                (Kind::Hello, _) => {
                    let hello: Hello = decode(&frame.payload).unwrap();
                    let payload = encode(&Hello::new(hello.nonce)).unwrap();
                    agent.send(Frame { stream: StreamId::CONNECTION, kind: Kind::Hello, payload }).await;
                }
                (Kind::Open, Ok(agent::Request::Prepare(_))) => {
                    agent.reply(frame.stream, &agent::Reply::Prepared).await;
                }
                (Kind::Open, Ok(agent::Request::SetClock { .. })) => {
                    agent.reply(frame.stream, &agent::Reply::ClockSet).await;
                }
                (Kind::Open, Ok(agent::Request::Sync)) => {
                    agent.reply(frame.stream, &agent::Reply::Synced(agent::Written::default())).await;
                }
                _ => {}
            }
        }
    });
    let reply = Bench::creating(false, None)
        .run(silent, async |mut client| {
            client.started().await;
            client.open(5, &push()).await;
            client.tree(5, b"tree").await;
            client.reply(5).await.1
        })
        .await;
    assert_eq!(code_of(&reply), Some(FailureCode::GuestSilent));
}

/// A command that cannot be recorded is not started.
#[tokio::test]
async fn unrecorded_commands_do_not_run() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            let history = bench.directories.workspace(&bench.workspace_id()).history();
            std::fs::remove_dir_all(history).unwrap();
            assert_eq!(code_of(&client.call(5, &command("echo x", false)).await), Some(FailureCode::System));
            client.stop().await;
        })
        .await;
    assert!(!log.lines().contains(&"echo x".to_owned()));
    let exec = bench.store().exec(&bench.workspace_id(), 1).unwrap().unwrap();
    assert_eq!(exec.end.unwrap().outcome, ExecOutcome::Failed);
}

/// What only a workspace has is refused where there is none, and the VM lives on.
#[tokio::test]
async fn other_vms_have_no_workspace() {
    let vmm = guest(async |mut agent: Agent, stream| {
        agent.exit(stream, 0).await;
        std::future::pending().await
    });
    Bench::new(None)
        .run(vmm, async |mut client| {
            client.started().await;
            let senseless = [push(), follow(1), Request::SetTtl(None), command("echo x", true)];
            for request in senseless {
                assert_eq!(code_of(&client.call(5, &request).await), Some(FailureCode::Refused));
            }
            assert!(matches!(client.call(6, &super::exec(None)).await, Reply::Exited(_)));
        })
        .await;
}
