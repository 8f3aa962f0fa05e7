//! Snapshots, pauses, resets and copies of workspaces: what the guest is asked, and what is there afterwards.

use pyro_proto::shim::{Captured, Keep, NewFork, Snapshot, Transfer, WorkspaceOrder};
use pyro_store::{LayerId, SnapshotName, WorkspaceId, WorkspaceState};
use pyro_vmm::fake::Fault;

use super::model::{Log, WRITTEN, vmm};
use super::workspaces::{code_of, command, push};
use super::*;

fn snapshot(name: &str, memory: bool) -> Request {
    Request::Snapshot(Snapshot { keep: Keep::Name(name.to_owned()), memory })
}

fn captured(reply: Reply) -> Captured {
    match reply {
        Reply::Snapshotted(captured) | Reply::Paused(captured) => captured,
        other => panic!("{other:?} instead of a capture"),
    }
}

impl Bench {
    fn order(mut self, order: WorkspaceOrder, image: Option<&str>) -> Bench {
        self = self.reopening();
        let directories = self.directories.clone();
        let Purpose::Workspace(workspace) = &mut self.start.purpose else { unreachable!() };
        workspace.order = order;
        if let Some(layer) = image {
            workspace.memory = true;
            workspace.template =
                HostPath::from(directories.memory(&LayerId::parse(layer).unwrap()).as_path());
            workspace.template_key = memory_key();
        }
        self
    }
}

fn memory_key() -> String {
    let shape = Shape::new(pyro_vmm::Accelerator::Tcg, pyro_vmm::Transport::Serial, 1, 128).unwrap();
    TemplateKey::of_memory(shape, "qemu 7.2.0", pyro_proto::limits::PROTOCOL_VERSION).as_str().to_owned()
}

/// A snapshot freezes the guest, seals what was written and says what that took; names are taken once.
#[tokio::test]
async fn a_snapshot_seals_the_disk() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            let before = bench.record().unwrap().head;
            let taken = captured(client.call(5, &snapshot("one", false)).await);
            assert_eq!((taken.layer.as_str(), taken.entries), (before.as_str(), WRITTEN.entries));
            // Once when it is told to write all out, and once more when it freezes.
            assert_eq!((taken.written_bytes, taken.memory_bytes), (2 * WRITTEN.bytes, 0));
            let record = bench.record().unwrap();
            assert_ne!(record.head, before);
            assert!(bench.directories.layer(&record.head).exists());
            for name in ["one", "baseline"] {
                let refused = client.call(6, &snapshot(name, false)).await;
                assert_eq!(code_of(&refused), Some(FailureCode::SnapshotTaken), "{name}");
            }
            assert_eq!(code_of(&client.call(7, &snapshot("../x", false)).await), Some(FailureCode::System));
            client.stop().await;
        })
        .await;
    let kept = bench.store().snapshots(&bench.workspace_id()).unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].name.as_str(), kept[0].entries, kept[0].has_memory), ("one", WRITTEN.entries, false));
    let lines = log.lines();
    assert!(lines.windows(2).any(|pair| pair == ["freeze", "thaw"]), "{lines:?}");
}

/// A seeded workspace's baseline is a layer of its own, and can be gone back to.
#[tokio::test]
async fn a_seed_is_sealed_as_the_baseline() {
    let (bench, log) = (Bench::creating(true, None), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            client.open(6, &Request::Transfer(Transfer::Seed)).await;
            client.tree(6, b"tree").await;
            assert!(matches!(client.reply(6).await.1, Reply::Transferred(_)));
            client.stop().await;
        })
        .await;
    let record = bench.record().unwrap();
    assert_eq!(record.state, WorkspaceState::Ready);
    let baseline = record.baseline.unwrap();
    assert_ne!(baseline, record.head);
    assert!(bench.store().chain(&record.head).unwrap().contains(&baseline));
}

/// With its memory: the guest falls silent, goes on, and the image can be forked; a push waits for it.
#[tokio::test]
async fn memory_is_kept_beside_the_disk() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    let layer = bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            assert_eq!(client.call(4, &command("sleep", true)).await, Reply::Detached);
            client.open(5, &snapshot("warm", true)).await;
            client.open(6, &push()).await;
            client.tree(6, b"x").await;
            while !log.lines().contains(&"hold".to_owned()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // While the guest is silent: a command, and a client that leaves.
            let mut other = bench.another().await;
            other.open(1, &command("sleep", false)).await;
            drop(other);
            client.open(8, &command("echo late", false)).await;
            // They end in any order: the image is still being stored when the guest goes on.
            let mut replies = Vec::new();
            while replies.len() < 3 {
                let frame = client.frames.next().await.unwrap().unwrap();
                if frame.kind == Kind::Reply {
                    replies.push((frame.stream.0, decode::<Reply>(&frame.payload).unwrap()));
                }
            }
            replies.sort_by_key(|(stream, _)| *stream);
            let [(5, taken), (6, Reply::Transferred(_)), (8, Reply::Exited(_))] = &replies[..] else {
                panic!("{replies:?}");
            };
            let taken = captured(taken.clone());
            assert!(matches!(client.call(9, &command("echo on", false)).await, Reply::Exited(_)));
            client.stop().await;
            taken.layer
        })
        .await;
    let lines = log.lines();
    let at = |what: &str| lines.iter().position(|line| line == what).unwrap();
    assert!(at("hold") < at("release") && at("release") < at("push"), "{lines:?}");
    assert!(at("release") < at("echo late"), "{lines:?}");
    let kept = bench.store().snapshot(&bench.workspace_id(), &SnapshotName::parse("warm").unwrap());
    assert!(kept.unwrap().unwrap().has_memory);

    // Back to it: the command goes on, under a number of its own, and is ended with its VM.
    let bench = bench.order(WorkspaceOrder::Reset { snapshot: "warm".to_owned() }, Some(&layer));
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            let record = bench.record().unwrap();
            assert_eq!((record.reset_count, record.next_sequence), (1, 2));
            let running = bench.store().exec(&bench.workspace_id(), 1).unwrap().unwrap();
            assert_eq!((running.exec.command, running.end), (vec!["sleep".to_owned()], None));
            client.stop().await;
        })
        .await;
}

/// A paused workspace has no VM; it goes on from its image, once, and without one it cannot.
#[tokio::test]
async fn a_pause_keeps_the_memory() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            client.open(5, &Request::Pause).await;
            // Who asks now gets no answer that a pause would make untrue.
            client.open(6, &Request::Status).await;
            let (before, reply) = client.reply(5).await;
            captured(reply);
            assert!(before.iter().all(|frame| frame.kind != Kind::Reply), "{before:?}");
            assert!(!matches!(client.frames.next().await, Ok(Some(frame)) if frame.kind == Kind::Reply));
        })
        .await;
    let paused = bench.record().unwrap().paused.unwrap();
    assert_ne!(log.lines().last().unwrap(), "release");
    let bench = bench.reopening();
    let refused = bench.run(vmm(&log), async |mut client| client.failure(1).await).await;
    assert_eq!(refused.code, FailureCode::Refused);
    let bench = bench.order(WorkspaceOrder::Open, Some(paused.as_str()));
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            assert_eq!(bench.record().unwrap().paused, None);
            client.stop().await;
        })
        .await;
    let bench = bench.order(WorkspaceOrder::Open, Some(paused.as_str()));
    let refused = bench.run(vmm(&log), async |mut client| client.failure(1).await).await;
    assert_eq!(refused.code, FailureCode::Refused);
}

/// A reset happens when its VM is there: a start that fails has changed nothing.
#[tokio::test(start_paused = true)]
async fn a_reset_happens_or_not() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            assert!(matches!(client.call(5, &command("echo x", false)).await, Reply::Exited(_)));
            assert_eq!(client.call(9, &Request::Stop { discard: true }).await, Reply::Stopped);
        })
        .await;
    assert_eq!(log.lines().last().unwrap(), "echo x", "what will be reset is not written out");
    let before = bench.record().unwrap();
    let reset = || WorkspaceOrder::Reset { snapshot: "baseline".to_owned() };
    let bench = bench.order(reset(), None);
    let silent = FakeVmm::new(async |_| std::future::pending().await).with_fault(Fault::SilentGuest);
    bench.run(silent, async |mut client| client.failure(1).await).await;
    assert_eq!(bench.record().unwrap().head, before.head);
    let bench = bench.order(reset(), None);
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            client.stop().await;
        })
        .await;
    let after = bench.record().unwrap();
    assert_ne!(after.head, before.head);
    assert_eq!((after.reset_count, after.next_sequence, after.baseline), (1, 1, before.baseline));
    let unknown = bench.order(WorkspaceOrder::Reset { snapshot: "gone".to_owned() }, None);
    let failure = unknown.run(vmm(&log), async |mut client| client.failure(1).await).await;
    assert_eq!(failure.code, FailureCode::SnapshotUnknown);
}

/// A guest that takes long to prepare itself, as on a swamped machine, has its clock measured, until it answers at once or
/// it has been asked often enough, and set by what that says.
#[tokio::test(start_paused = true)]
async fn the_time_is_told_when_it_is_heard() {
    for (patience_ms, times) in [(50, 0), (76, 1), (1_000, 8)] {
        let mut log = Log::default();
        log.patience = Duration::from_millis(patience_ms);
        Bench::creating(false, None)
            .run(vmm(&log), async |mut client| {
                client.started().await;
                client.stop().await;
            })
            .await;
        let count = |word| log.lines().iter().filter(|line| *line == word).count();
        assert_eq!((count("read clock"), count("clock")), (times, times.min(1)), "{patience_ms}");
    }
    // One that seems to be ahead was asked while the answer took long: no clock goes back.
    let mut log = Log::default();
    (log.patience, log.realtime_ns) = (Duration::from_secs(1), u64::MAX / 4);
    let life = Bench::creating(false, None);
    life.run(vmm(&log), async |mut client| {
        client.started().await;
        client.stop().await;
    })
    .await;
    assert!(log.lines().contains(&"clock 0".to_owned()), "{:?}", log.lines());
}

/// A copy is a workspace of its own on the layer it was made from, with another identity.
#[tokio::test]
async fn a_fork_is_another_workspace() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            client.stop().await;
        })
        .await;
    let source = bench.record().unwrap();
    let layer = source.baseline.clone().unwrap();
    let fork = NewFork {
        source: source.workspace.id.to_string(),
        layer: layer.to_string(),
        name: Some("copy".to_owned()),
        labels: Vec::new(),
    };
    let mut bench = bench.order(WorkspaceOrder::Fork(fork), None);
    if let Purpose::Workspace(workspace) = &mut bench.start.purpose {
        workspace.id = WorkspaceId::random().unwrap().to_string();
    }
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            client.stop().await;
        })
        .await;
    let copy = bench.record().unwrap();
    assert_eq!((copy.state, copy.baseline), (WorkspaceState::Ready, Some(layer)));
    assert_eq!(copy.workspace.base_digest, source.workspace.base_digest);
    let prepared: Vec<String> = log.lines().into_iter().filter(|line| line.starts_with("prepare")).collect();
    assert!(prepared[1].starts_with("prepare Existing copy ") && prepared[0][20..] != prepared[1][20..]);
}
