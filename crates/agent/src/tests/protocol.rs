//! What a host may and may not do on the lanes.

use super::host::{Host, exec, marker, plain, shell, until_gone, until_there, with_host, with_host_at};
use crate::guest::Stage;
use pyro_proto::agent::{Exec, FailureKind, Outcome, Prepare, Reply, Request, WorkspaceDisk, Written};
use pyro_proto::{Channel, Frame, Kind, StreamId};

/// A new handshake ends every call of the one before, and their processes.
#[test]
fn a_handshake_starts_over() {
    with_host(async |host: &mut Host| {
        let marker = marker();
        host.open(&Request::Exec(shell(&format!("sleep {marker} & sleep {marker}")))).await;
        until_there(&marker, 2).await;
        host.greet(2).await;
        until_gone(&marker).await;
        host.open_as(StreamId(1), &Request::Exec(exec(&["true"]))).await;
        assert_eq!(host.finish(StreamId(1), b"").await.outcome(), Outcome::Code(0));
    });
}

/// A host that breaks the protocol loses its calls, and is served again after a handshake.
#[test]
fn a_broken_rule_ends_the_calls() {
    with_host(async |host: &mut Host| {
        let bad = [
            Frame { stream: StreamId(90), kind: Kind::Open, payload: vec![250; 9] },
            Frame { stream: StreamId(90), kind: Kind::Reply, payload: Vec::new() },
            Frame { stream: StreamId::CONNECTION, kind: Kind::Hello, payload: b"HTTP".to_vec() },
        ];
        for (nonce, frame) in (10..).zip(bad) {
            let marker = marker();
            host.open(&Request::Exec(exec(&["sleep", &marker]))).await;
            until_there(&marker, 1).await;
            host.send(frame).await;
            until_gone(&marker).await;
            host.greet(nonce).await;
        }
        let marker = marker();
        let stream = host.open(&Request::Exec(exec(&["sleep", &marker]))).await;
        until_there(&marker, 1).await;
        host.send(Frame::credit(stream, Channel::Stdout, 1)).await;
        until_gone(&marker).await;
    });
}

/// A host that leaves takes its commands with it.
#[test]
fn a_host_that_leaves_ends_its_calls() {
    let marker = marker();
    with_host(async |host: &mut Host| {
        host.open(&Request::Exec(exec(&["sleep", &marker]))).await;
        until_there(&marker, 1).await;
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(until_gone(&marker));
}

/// Input that overtakes its command on the other lane is not lost.
#[test]
fn input_may_overtake_its_command() {
    with_host(async |host: &mut Host| {
        let stream = host.next_stream();
        host.send(Frame::data(stream, Channel::Stdin, b"early")).await;
        host.send(Frame::eof(stream, Channel::Stdin)).await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        host.open_as(stream, &Request::Exec(Exec { stdin: true, ..exec(&["cat"]) })).await;
        let mut seen = Vec::new();
        loop {
            let frame = host.next(stream).await;
            match frame.kind {
                Kind::Data => seen.extend_from_slice(frame.as_data().unwrap().1),
                Kind::Reply => break,
                _ => {}
            }
        }
        assert_eq!(seen, b"early");
    });
}

/// Requests at the wrong moment of a guest's life are refused, and change nothing.
#[test]
fn the_wrong_moment_is_refused() {
    with_host_at(Stage::Booted, async |host: &mut Host| {
        host.greet(1).await;
        assert_eq!(host.run(exec(&["true"])).await.failure().kind, FailureKind::Refused);
        assert_eq!(host.call(&Request::Warm).await.failure().kind, FailureKind::DiskMissing);
    });
    with_host(async |host: &mut Host| {
        let prepare = Prepare {
            entropy: [0; 32],
            realtime_ns: 0,
            hostname: "vm".to_owned(),
            machine_id: "0".repeat(32),
            workspace: WorkspaceDisk::Plain,
            boot_id: None,
        };
        assert_eq!(host.call(&Request::Prepare(prepare)).await.failure().kind, FailureKind::Refused);
        assert_eq!(host.call(&Request::Warm).await.failure().kind, FailureKind::Refused);
        assert_eq!(host.call(&Request::Sync).await.reply, Reply::Synced(Written::default()));
        for request in [Request::Freeze, Request::Thaw, Request::Release] {
            assert_eq!(host.call(&request).await.failure().kind, FailureKind::Refused, "{request:?}");
        }
    });
}

/// Nothing is done for a host that has not said hello.
#[test]
fn a_host_says_hello_first() {
    with_host_at(plain(), async |host: &mut Host| {
        let marker = marker();
        host.open(&Request::Exec(exec(&["sleep", &marker]))).await;
        host.greet(3).await;
        assert_eq!(host.run(exec(&["true"])).await.outcome(), Outcome::Code(0));
        until_gone(&marker).await;
    });
}
