//! Workspaces through the lanes, as a host uses them.

use std::sync::Arc;

use pyro_proto::agent::{Changes, Export, FailureKind, Input, Outcome, Push, Reply, Request, Tally};
use pyro_proto::tree::Side;
use pyro_proto::tree::{Item, NodeKind, TreeDecoder, write_item, write_piece};
use pyro_proto::{Channel, Frame, Kind, StreamId, decode};

use super::super::attach::Joint;
use super::super::{Unattached, Workspace};
use super::{Bench, directory, entry, file, open, stream};
use crate::guest::Stage;
use crate::tests::host::{Host, exec, shell, with_host, with_host_at};

/// A workspace on plain directories.
pub(crate) fn workspace(bench: &Bench, is_kept: bool) -> Arc<Workspace> {
    let joint = Joint { tree: open(&bench.tree("")), stage: open(&bench.stage("")) };
    let disk = super::super::disk::Disk::open(open(bench.directory.path())).unwrap();
    Arc::new(Workspace::new(disk, joint, open(bench.directory.path()), is_kept))
}

/// A guest with a workspace that is kept.
fn with_workspace(test: impl AsyncFnOnce(&mut Host, &Bench)) {
    let bench = Bench::new();
    with_host_at(Stage::Prepared(workspace(&bench, true)), async |host: &mut Host| {
        host.greet(1).await;
        test(host, &bench).await;
    });
}

fn push(directory: &str) -> Request {
    Request::Push(Push { directory: directory.as_bytes().to_vec() })
}

fn export() -> Request {
    Request::Export(Export { path: Vec::new(), depth_max: u32::MAX, contents: Some(u64::MAX) })
}

async fn reply(host: &mut Host, stream: StreamId) -> Reply {
    loop {
        let frame = host.next(stream).await;
        if frame.kind == Kind::Reply {
            return decode(&frame.payload).unwrap();
        }
    }
}

/// Megabytes go in and come out again through the windows, and both outputs end before the reply.
#[test]
fn trees_come_through_the_lanes() {
    with_workspace(async |host: &mut Host, bench: &Bench| {
        let mut sent = Vec::new();
        let contents: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
        for name in ["a", "b", "c"] {
            let kind = NodeKind::File { bytes: contents.len() as u64 };
            let super::Streamed::Item(item) = entry(name, kind, 0o644) else { panic!("no item") };
            write_item(&item, &mut sent).unwrap();
            write_piece(Side::After, 0, &contents, &mut sent).unwrap();
        }
        write_item(&Item::End, &mut sent).unwrap();
        let call = host.open(&push("deep/er")).await;
        let done = host.finish(call, &sent).await;
        assert_eq!(done.reply, Reply::Pushed(Tally { entries: 3, bytes: 9_000_000 }));
        assert!(std::fs::read(bench.tree("deep/er/b")).unwrap() == contents);
        let done = host.call(&export()).await;
        assert_eq!(done.reply, Reply::Exported(Tally { entries: 6, bytes: 9_000_000 }));
        assert_eq!(done.eofs, [Channel::Stdout, Channel::Stderr]);
        let mut decoder = TreeDecoder::default();
        decoder.push(&done.stdout);
        let mut bytes = 0;
        while let Some(record) = decoder.next_record().unwrap() {
            bytes += record.bytes.len();
        }
        assert!(decoder.has_ended() && bytes == 9_000_000);
        // The baseline is empty, and so is what was copied up: there are no layers here.
        let all = Changes { paths: Vec::new(), contents: true, file_bytes_max: 0 };
        let done = host.call(&Request::Changes(all)).await;
        assert_eq!(done.reply, Reply::Changed(Tally::default()));
        assert_eq!(done.eofs, [Channel::Stdout, Channel::Stderr]);
    });
}

/// A host that calls a push off, stops in the middle, or sends nonsense without end gets its answer, and the tree
/// stays as it was; commands and other pushes go on.
#[test]
fn a_push_that_does_not_come_whole_leaves_nothing() {
    with_workspace(async |host: &mut Host, bench: &Bench| {
        let whole = stream(&[vec![directory("d")], file("d/f", "contents")].concat());
        let waiting = host.open(&push("")).await;
        host.send(Frame::data(waiting, Channel::Stdin, &whole[..whole.len() - 2])).await;
        // Another waits for its turn, and can be called off while it does.
        let behind = host.open(&push("")).await;
        host.input(behind, Input::Kill).await;
        let Reply::Failed(failure) = reply(host, behind).await else { panic!("it was called off") };
        assert_eq!(failure.kind, FailureKind::Canceled);
        assert_eq!(host.run(shell("exit 3")).await.outcome(), Outcome::Code(3));
        host.input(waiting, Input::Kill).await;
        let Reply::Failed(failure) = reply(host, waiting).await else { panic!("it was called off") };
        assert_eq!(failure.kind, FailureKind::Canceled);

        let cut = host.open(&push("")).await;
        let done = host.finish(cut, &whole[..whole.len() - 2]).await;
        assert_eq!(done.failure().kind, FailureKind::ArchiveDamaged);
        let nonsense = host.open(&push("")).await;
        let done = host.finish(nonsense, &vec![0xff; 200_000]).await;
        assert_eq!(done.failure().kind, FailureKind::ArchiveDamaged);
        assert_eq!(std::fs::read_dir(bench.tree("")).unwrap().count(), 0);

        let call = host.open(&push("")).await;
        let done = host.finish(call, &whole).await;
        assert_eq!(done.reply, Reply::Pushed(Tally { entries: 2, bytes: 8 }));
        while std::fs::read_dir(bench.stage("")).unwrap().count() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
}

/// An export that nobody reads waits, can be called off, and holds no command up.
#[test]
fn an_export_that_nobody_reads_can_be_called_off() {
    with_workspace(async |host: &mut Host, bench: &Bench| {
        std::fs::write(bench.tree("large"), vec![7; 4_000_000]).unwrap();
        let mut calls = Vec::new();
        // More than may go on at once.
        for _ in 0..6 {
            calls.push(host.open(&export()).await);
        }
        assert_eq!(host.run(exec(&["true"])).await.outcome(), Outcome::Code(0));
        for call in calls {
            host.input(call, Input::Kill).await;
            let Reply::Failed(failure) = reply(host, call).await else { panic!("it was called off") };
            assert_eq!(failure.kind, FailureKind::Canceled);
        }
        assert!(matches!(host.call(&export()).await.reply, Reply::Exported(_)));
    });
}

/// A host that leaves in the middle of a push leaves nothing of it.
#[test]
fn a_host_that_leaves_ends_its_push() {
    with_workspace(async |host: &mut Host, bench: &Bench| {
        let call = host.open(&push("")).await;
        host.send(Frame::data(call, Channel::Stdin, &stream(&file("f", "x"))[..9])).await;
        host.greet(2).await;
        host.open_as(StreamId(9), &push("")).await;
        let done = host.finish(StreamId(9), &stream(&file("g", "x"))).await;
        assert_eq!(done.reply, Reply::Pushed(Tally { entries: 1, bytes: 1 }));
        assert_eq!(std::fs::read_dir(bench.tree("")).unwrap().count(), 1);
    });
}

/// A guest without a root, or whose workspace waits for its baseline, refuses what it cannot do.
#[test]
fn the_wrong_moment_for_a_workspace_is_refused() {
    let changes = Changes { paths: Vec::new(), contents: false, file_bytes_max: 0 };
    let requests = [push(""), export(), Request::Changes(changes), Request::Seed];
    with_host_at(Stage::Booted, async |host: &mut Host| {
        host.greet(1).await;
        for request in &requests {
            assert_eq!(host.call(request).await.failure().kind, FailureKind::Refused, "{request:?}");
        }
    });
    with_host(async |host: &mut Host| {
        assert_eq!(host.call(&Request::Seed).await.failure().kind, FailureKind::Refused);
    });
    let bench = Bench::new();
    let root = || open(bench.directory.path());
    let stage = Stage::Unseeded(Unattached::open(root(), root()).unwrap());
    with_host_at(stage, async |host: &mut Host| {
        host.greet(1).await;
        for request in &requests[..3] {
            assert_eq!(host.call(request).await.failure().kind, FailureKind::Refused, "{request:?}");
        }
        assert_eq!(host.run(exec(&["true"])).await.failure().kind, FailureKind::Refused);
        // A seed that is damaged can be followed by another.
        for _ in 0..2 {
            let call = host.open(&Request::Seed).await;
            let done = host.finish(call, b"nonsense").await;
            assert_eq!(done.failure().kind, FailureKind::ArchiveDamaged);
        }
    });
}
