//! Who is started again, when, and what comes of it.

use std::path::Path;

use pyro_proto::agent::{Event, Input, Outcome, Probe, Reply, Request, Restart, Service};
use pyro_proto::limits::WINDOW_BYTES;
use pyro_proto::{Channel, Frame, Kind, StreamId, decode};

use super::super::host::{Host, exec, marker, until_gone, until_there, with_host};
use super::{Gate, always, event, file, names, run, serve, service, stop, until_ready, until_restarting};

fn lives(count: &Path) -> usize {
    std::fs::read_to_string(count).unwrap_or_default().lines().count()
}

async fn hold(host: &mut Host) {
    host.send(Frame { stream: StreamId::CONNECTION, kind: Kind::Barrier, payload: Vec::new() }).await;
    let hold = host.open(&Request::Hold).await;
    loop {
        let frame = host.next(hold).await;
        if frame.kind == Kind::Reply {
            return assert_eq!(decode::<Reply>(&frame.payload).unwrap(), Reply::Held);
        }
    }
}

/// Policies decide who is started again; each start is told in order, with a pause that grows.
#[test]
fn policies_are_kept() {
    with_host(async |host: &mut Host| {
        let directory = tempfile::tempdir().unwrap();
        let (count, gate) = (directory.path().join("count"), Gate::new());
        // Ready each time; the third life ends well.
        let script = format!(
            "echo life >> {0}; {1}; test $(wc -l < {0}) -ge 3 && exit 0; exit 7",
            count.display(),
            gate.wait()
        );
        for (restart, expected) in [(Restart::No, 1), (Restart::OnFailure, 3)] {
            let _ = std::fs::remove_file(&count);
            let stream = serve(host, Service { restart, ..service(&script) }).await;
            assert_eq!(names(&until_ready(host, stream).await), ["started"]);
            for delay_ms in [100, 200].into_iter().take(expected - 1) {
                gate.open();
                let told = event(host, stream).await;
                let Event::Restarting { ended: Some(ended), delay_ms: pause } = told else {
                    panic!("{told:?}")
                };
                assert_eq!((ended.outcome, pause), (Outcome::Code(7), delay_ms));
                assert_eq!(names(&until_ready(host, stream).await), ["started"]);
            }
            gate.open();
            let done = host.finish(stream, b"").await;
            assert_eq!((lives(&count), done.events.len()), (expected, 0));
            assert_eq!(done.outcome(), Outcome::Code(if expected == 1 { 7 } else { 0 }));
            assert_eq!(done.eofs, [Channel::Stdout, Channel::Stderr]);
        }
    });
}

/// One that has been ready and then is not, or cannot be started any more, is tried again, and the loss is told.
#[test]
fn a_service_that_was_ready_is_tried_again() {
    with_host(async |host: &mut Host| {
        let (ready, gate) = (Gate::new(), Gate::new());
        let script = format!("{}; rm {} && exit 1; sleep 1000", gate.wait(), ready.path().display());
        let late = Service { ready_timeout_ms: 2_000, probe: Some(file(&ready.path())), ..always(&script) };
        let stream = serve(host, late).await;
        assert_eq!(names(&[event(host, stream).await]), ["started"]);
        ready.open();
        assert!(matches!(gate.live_through(host, stream, 1).await, Event::Restarting { ended: Some(_), .. }));
        let restarting = until_restarting(host, stream).await;
        assert!(matches!(restarting, Event::Restarting { ended: None, delay_ms: 200 }));
        assert_eq!(names(&[event(host, stream).await]), ["started"]);
        ready.open();
        until_ready(host, stream).await;
        stop(host, stream, 5_000).await;
    });
}

/// A program that is gone when its service is to be started again may come back.
#[test]
fn a_program_may_be_gone_for_a_while() {
    with_host(async |host: &mut Host| {
        let (gate, directory) = (Gate::new(), tempfile::tempdir().unwrap());
        let program = directory.path().join("program");
        std::os::unix::fs::symlink("/bin/sh", &program).unwrap();
        let command = exec(&[program.to_str().unwrap(), "-c", &format!("{}; exit 6", gate.wait())]);
        let stream = serve(host, Service { command, ..always("") }).await;
        until_ready(host, stream).await;
        std::fs::remove_file(&program).unwrap();
        gate.open();
        until_restarting(host, stream).await;
        let restarting = event(host, stream).await;
        assert!(matches!(restarting, Event::Restarting { ended: None, delay_ms: 200 }));
        std::os::unix::fs::symlink("/bin/sh", &program).unwrap();
        until_ready(host, stream).await;
        std::fs::remove_file(&program).unwrap();
        gate.open();
        for _ in 0..3 {
            until_restarting(host, stream).await;
        }
        let done = stop(host, stream, 5_000).await;
        assert_eq!(done.outcome(), Outcome::Code(6), "how it ended when it last ran");
    });
}

/// Both outputs are kept apart and in order across lives.
#[test]
fn outputs_are_kept_apart_across_lives() {
    with_host(async |host: &mut Host| {
        let directory = tempfile::tempdir().unwrap();
        let count = directory.path().join("count");
        let script = format!(
            "echo life >> {0}; n=$(wc -l < {0}); seq -f \"out $n.%g\" 9000; seq -f \"err $n.%g\" 9000 >&2; sleep 1; \
            exit $((n < 3))",
            count.display()
        );
        let done = run(host, Service { restart: Restart::OnFailure, ..service(&script) }).await;
        let expected = |word: &str| {
            let lines = (1..=3).flat_map(|life| (1..=9000).map(move |line| (life, line)));
            lines.map(|(life, line)| format!("{word} {life}.{line}\n")).collect::<String>()
        };
        assert!(done.text() == expected("out"));
        assert!(String::from_utf8(done.stderr).unwrap() == expected("err"));
    });
}

/// A host that does not read stops what the service writes and nothing else: it is probed, started again, heard on its
/// other output and stopped all the same.
#[test]
fn nobody_waits_for_a_full_window() {
    with_host(async |host: &mut Host| {
        let (writer, sleeper) = (marker(), marker());
        let script = format!("echo alive >&2; yes {writer} & (sleep {sleeper} &); sleep 1; exit 7");
        let stream = serve(host, always(&script)).await;
        let (mut out, mut alive, mut starts) = (0, 0, 0);
        while starts < 3 || alive < 3 {
            let frame = host.next(stream).await;
            match frame.kind {
                Kind::Event => starts += u32::from(decode::<Event>(&frame.payload).unwrap() == Event::Ready),
                _ => match frame.as_data().unwrap() {
                    (Channel::Stderr, bytes) => alive += bytes.split(|byte| *byte == b'\n').count() - 1,
                    (_, bytes) => out += bytes.len(),
                },
            }
        }
        assert_eq!(out, WINDOW_BYTES as usize, "it was written as far as there was room");
        host.input(stream, Input::Stop { signal: 15, grace_ms: 0 }).await;
        if host.has_cgroups {
            until_gone(&sleeper).await;
        }
        until_gone(&writer).await;
        host.send(Frame::credit(stream, Channel::Stdout, WINDOW_BYTES / 2)).await;
        let done = host.finish(stream, b"").await;
        assert!(matches!(done.reply, Reply::Exited(_)), "{:?}", done.reply);
        assert!(!done.stdout.is_empty(), "what was left in the pipe comes when it is granted");
    });
}

/// Whatever a life leaves behind is gone before the next one.
#[test]
fn a_life_ends_whole_before_the_next() {
    with_host(async |host: &mut Host| {
        if !host.has_cgroups {
            return; // there is nothing to find the rest by
        }
        let (gate, directory) = (Gate::new(), tempfile::tempdir().unwrap());
        let lock = directory.path().join("lock");
        // A daemon that forks away keeps what its next life needs.
        let script = format!(
            "mkfifo {0} 2> /dev/null; exec 3<> {0}; flock -n 3 || exit 9; \
            (setsid sh -c 'trap \"\" TERM HUP; sleep 1000' &); {1}; exit 3",
            lock.display(),
            gate.wait()
        );
        let stream = serve(host, always(&script)).await;
        for _ in 0..3 {
            let restarting = gate.live_through(host, stream, 1).await;
            let Event::Restarting { ended: Some(ended), .. } = restarting else { panic!("{restarting:?}") };
            assert_eq!(ended.outcome, Outcome::Code(3));
        }
        stop(host, stream, 5_000).await;
    });
}

/// Nothing is started while the guest is held for a copy: not a service, not one again, not a probe.
#[test]
fn nothing_is_started_while_held() {
    with_host(async |host: &mut Host| {
        let directory = tempfile::tempdir().unwrap();
        let (count, tries) = (directory.path().join("count"), directory.path().join("tries"));
        let gate = Gate::new();
        let again = serve(host, always(&format!("echo life >> {}; {}", count.display(), gate.wait()))).await;
        let probe = Probe::Command(format!("echo try >> {}; false", tries.display()).into_bytes());
        let probed = serve(host, Service { probe: Some(probe), ..service("sleep 1000") }).await;
        // The pause behind the fourth life leaves time for a hold.
        gate.live_through(host, again, 4).await;
        hold(host).await;
        let late = (lives(&count), lives(&tries));
        assert_eq!(late.0, 4);
        tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
        assert_eq!((lives(&count), lives(&tries)), late, "something was started");
        let release = host.open(&Request::Release).await;
        host.finish(release, b"").await;
        until_ready(host, again).await;
        assert_eq!(lives(&count), late.0 + 1);
        while lives(&tries) <= late.1 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        for stream in [again, probed] {
            stop(host, stream, 5_000).await;
        }
    });
}

/// A host that is gone takes its services along, in whatever part of their lives.
#[test]
fn services_end_with_their_host() {
    with_host(async |host: &mut Host| {
        let directory = tempfile::tempdir().unwrap();
        let count = directory.path().join("count");
        let (running, probing) = (marker(), marker());
        let gate = Gate::new();
        let pausing =
            serve(host, always(&format!("echo life >> {}; {}", count.display(), gate.wait()))).await;
        let probe = Probe::Command(format!("sleep {probing}").into_bytes());
        serve(host, Service { probe: Some(probe), ..always(&format!("sleep {running} & sleep {running}")) })
            .await;
        until_there(&running, 2).await;
        until_there(&probing, 1).await;
        gate.live_through(host, pausing, 3).await;
        host.greet(2).await;
        until_gone(&running).await;
        until_gone(&probing).await;
        let before = lives(&count);
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        assert_eq!(lives(&count), before);
        assert_eq!(run(host, service("exit 1")).await.outcome(), Outcome::Code(1));
    });
}
