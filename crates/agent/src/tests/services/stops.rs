//! Stopping: politely, and then not.

use std::time::Duration;

use pyro_proto::agent::{Exec, FailureKind, Input, Outcome, Reply, Request, Service};
use pyro_proto::{Frame, Kind, StreamId};

use super::super::host::{Host, marker, on_terminal, shell, until_gone, until_there, with_host};
use super::{Gate, always, event, file, names, never, probed, serve, service, stop, until_ready};

/// Two processes, one of them hidden from its parent and its session, that hear nothing but a kill.
fn stubborn(marker: &str) -> String {
    format!("(setsid sh -c 'trap \"\" TERM HUP; sleep {marker} & sleep {marker}' > /dev/null 2>&1 &)")
}

/// Whatever a service has started, and however it hides, ends when it is stopped, and when it ends.
#[test]
fn trees_end_whole() {
    with_host(async |host: &mut Host| {
        if !host.has_cgroups {
            return; // there is nothing to find them by
        }
        let (own, hidden) = (marker(), marker());
        let script = format!("trap '' TERM HUP; {}; sleep {own}; sleep {own}", stubborn(&hidden));
        let stream = serve(host, service(&script)).await;
        until_ready(host, stream).await;
        until_there(&hidden, 2).await;
        let done = stop(host, stream, 200).await;
        assert_eq!(done.outcome(), Outcome::Signal(9));
        until_gone(&hidden).await;
        until_gone(&own).await;
        // One whose first process ends leaves nothing behind either.
        let left = marker();
        let gate = Gate::new();
        let stream = serve(host, service(&format!("{}; {}; exit 5", stubborn(&left), gate.wait()))).await;
        until_ready(host, stream).await;
        gate.open();
        assert_eq!(host.finish(stream, b"").await.outcome(), Outcome::Code(5));
        until_gone(&left).await;
        // A tree that obeys is not waited for longer than it takes, though it was stopped in the other sense.
        let stream = serve(host, service("sh -c 'kill -STOP $$; sleep 1000' & exec sleep 1000")).await;
        until_ready(host, stream).await;
        assert_eq!(stop(host, stream, 600_000).await.outcome(), Outcome::Signal(15));
    });
}

/// A stop that is under way can be hurried: by a shorter while, and by a kill.
#[test]
fn a_stop_can_be_hurried() {
    with_host(async |host: &mut Host| {
        for hurry in [Input::Stop { signal: 15, grace_ms: 0 }, Input::Kill] {
            let deaf = marker();
            let scripts = [
                format!("trap '' TERM; sleep {deaf}; sleep {deaf}"),
                format!("{}; sleep 1000", stubborn(&deaf)),
            ];
            for script in &scripts[..1 + usize::from(host.has_cgroups)] {
                let stream = serve(host, always(script)).await;
                until_ready(host, stream).await;
                host.input(stream, Input::Stop { signal: 15, grace_ms: 600_000 }).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
                host.input(stream, hurry).await;
                assert!(matches!(host.finish(stream, b"").await.reply, Reply::Exited(_)));
                until_gone(&deaf).await;
            }
        }
    });
}

/// A service is stopped in the pause between two lives, and tells how the last one ended; it does not come back.
#[test]
fn a_pause_can_be_stopped() {
    with_host(async |host: &mut Host| {
        for order in [Input::Stop { signal: 15, grace_ms: 10_000 }, Input::Kill] {
            let gate = Gate::new();
            let stream = serve(host, always(&format!("{}; exit 6", gate.wait()))).await;
            // The pause behind the fifth life leaves time on a swamped machine.
            gate.live_through(host, stream, 5).await;
            host.input(stream, order).await;
            let done = host.finish(stream, b"").await;
            assert_eq!((done.outcome(), names(&done.events)), (Outcome::Code(6), vec![]));
        }
    });
}

/// A service is stopped while it is probed: that is its end, not a failure.
#[test]
fn probing_can_be_stopped() {
    with_host(async |host: &mut Host| {
        for (order, signal) in [(Input::Stop { signal: 15, grace_ms: 10_000 }, 15), (Input::Kill, 9)] {
            let stream = serve(host, Service { probe: Some(never()), ..always("echo up; sleep 1000") }).await;
            host.until(stream, "up").await;
            host.input(stream, order).await;
            let done = host.finish(stream, b"").await;
            assert_eq!((done.outcome(), names(&done.events)), (Outcome::Signal(signal), vec![]));
        }
    });
}

/// A kill ends the tree, and the policy has no say.
#[test]
fn a_kill_is_final() {
    with_host(async |host: &mut Host| {
        let marker = marker();
        let stream = serve(host, always(&format!("trap '' TERM; sleep {marker} & sleep {marker}"))).await;
        until_ready(host, stream).await;
        host.input(stream, Input::Kill).await;
        assert_eq!(host.finish(stream, b"").await.outcome(), Outcome::Signal(9));
        until_gone(&marker).await;
    });
}

/// Who is told to stop while it is ended for not being ready stays stopped, though its policy would start it again.
#[test]
fn a_stop_outdoes_the_policy() {
    with_host(async |host: &mut Host| {
        let (ready, gate) = (Gate::new(), Gate::new());
        let script = format!(
            "trap 'echo deaf' TERM; {}; rm {} && exit 1; while :; do sleep 0.02; done",
            gate.wait(),
            ready.path().display()
        );
        let late = Service { ready_timeout_ms: 2_000, ..always(&script) };
        let stream = serve(host, Service { probe: Some(file(&ready.path())), ..late }).await;
        assert_eq!(names(&[event(host, stream).await]), ["started"]);
        ready.open();
        gate.live_through(host, stream, 1).await;
        host.until(stream, "deaf").await;
        let done = stop(host, stream, 0).await;
        assert_eq!((done.outcome(), names(&done.events)), (Outcome::Signal(9), vec![]));
    });
}

/// What is stopped before it could be started was never started.
#[test]
fn a_stop_may_come_before_the_start() {
    with_host(async |host: &mut Host| {
        host.send(Frame { stream: StreamId::CONNECTION, kind: Kind::Barrier, payload: Vec::new() }).await;
        let hold = host.open(&Request::Hold).await;
        while host.next(hold).await.kind != Kind::Reply {}
        let marker = marker();
        let stream = serve(host, service(&format!("sleep {marker}"))).await;
        host.input(stream, Input::Stop { signal: 15, grace_ms: 0 }).await;
        let release = host.open(&Request::Release).await;
        host.finish(release, b"").await;
        let done = host.finish(stream, b"").await;
        assert_eq!((done.failure().kind, done.events.len()), (FailureKind::Canceled, 0));
    });
}

/// A host that leaves while a stop is under way leaves nobody behind, service or command.
#[test]
fn a_host_that_leaves_in_a_stop_leaves_nobody() {
    with_host(async |host: &mut Host| {
        if !host.has_cgroups {
            return; // there is nothing to find them by
        }
        for (nonce, is_service) in [(2, true), (3, false)] {
            let (hidden, first) = (marker(), marker());
            let script = format!("{}; sleep {first}", stubborn(&hidden));
            let request = match is_service {
                true => Request::Serve(Box::new(probed(&script, never()))),
                false => Request::Exec(shell(&script)),
            };
            let stream = host.open(&request).await;
            until_there(&hidden, 2).await;
            until_there(&first, 1).await;
            host.input(stream, Input::Stop { signal: 15, grace_ms: 600_000 }).await;
            until_gone(&first).await;
            host.greet(nonce).await;
            until_gone(&hidden).await;
        }
    });
}

/// A shell that is stopped ends with its whole tree, and what that says last is heard.
#[test]
fn shells_end_whole() {
    with_host(async |host: &mut Host| {
        let deaf = marker();
        let script = format!("nohup sleep {deaf} > /dev/null 2>&1 & echo there; cat");
        let stream = host.open(&Request::Exec(on_terminal(&script, 24, 80))).await;
        host.until(stream, "there").await;
        host.input(stream, Input::Stop { signal: 1, grace_ms: 300 }).await;
        let done = host.finish(stream, b"").await;
        assert!(matches!(done.outcome(), Outcome::Signal(_)), "{:?}", done.reply);
        if !host.has_cgroups {
            return; // there is nothing to find the rest by
        }
        until_gone(&deaf).await;
        let slow = "trap 'exit 4' TERM; (trap 'sleep 0.2; echo bye; exit' TERM; echo there; while :; do sleep 0.01; done) & wait; wait";
        let stream = host.open(&Request::Exec(shell(slow))).await;
        host.until(stream, "there").await;
        host.input(stream, Input::Stop { signal: 15, grace_ms: 20_000 }).await;
        let done = host.finish(stream, b"").await;
        assert_eq!((done.outcome(), done.text().as_str()), (Outcome::Code(4), "bye\n"));
    });
}

/// A program that closes its terminal has not ended, and no command on a terminal is the user's own shell.
#[test]
fn terminals_are_kept_open() {
    with_host(async |host: &mut Host| {
        let closing = "exec 0<&- 1>&- 2>&-; sleep 0.2; exec 1>/dev/tty; echo back";
        let closed = host.run_with(on_terminal(closing, 24, 80), b"").await;
        assert_eq!((closed.outcome(), closed.text().as_str()), (Outcome::Code(0), "back\r\n"));
        let own = Exec { argv: Vec::new(), ..on_terminal("", 24, 80) };
        let shell = host.run_with(own, b"echo $((6*7))\nexit 4\n").await;
        assert_eq!(shell.outcome(), Outcome::Code(4));
        assert!(shell.text().contains("42"), "{}", shell.text());
    });
}
