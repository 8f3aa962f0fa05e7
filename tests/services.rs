//! Services: programs of a workspace that are kept running.

use std::time::Instant;

use rustix::process::Signal;

use crate::support::{HANG_SECONDS_MAX, Machine, wait_until};

#[test]
fn a_service_goes_on_until_it_is_stopped() {
    // Promise: a service outlives its client, keeps its two outputs apart with their times, and leaves no trace in /workspace.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let script = "echo out $GREETING in $PWD as $(id -un); echo err >&2; sleep 0.3; printf 'no newline'; exec sleep 4321";
    let options = ["--cwd", "/usr/lib", "--env", "GREETING=hi", "--user", "nobody"];
    let starting = workspace.start("app.1", &options, &["sh", "-c", script]).start();
    wait_until("it runs", || workspace.runs("sleep 4321"));
    starting.signal(Signal::KILL);
    drop(starting.finish());
    workspace.wait_for_service("app.1", "running");
    let log = [("stdout", "out hi in /usr/lib as nobody"), ("stderr", "err"), ("stdout", "no newline")];
    let log = log.map(|(stream, text)| (stream.to_owned(), text.to_owned()));
    wait_until("its last words are there", || workspace.service_log("app.1").len() == 3);
    assert_eq!(workspace.service_log("app.1"), log);
    let told = workspace.call("service logs", ["app.1", "--timestamps"]).finish();
    let (out, err) = (told.exits(0).out(), told.err());
    assert!(out.contains("Z out hi in ") && err.ends_with("Z err\n"), "{out} {err}");
    assert!(out.lines().nth(3).unwrap().starts_with("20"), "{out}");
    let service = workspace.service("app.1");
    assert_eq!(
        (&service["cwd"], &service["user"], &service["restarts"]),
        (&"/usr/lib".into(), &"nobody".into(), &0.into())
    );
    let told = workspace.start("app.1", &[], &["true"]).finish();
    told.exits(125).explains(&["app.1", "runs already"]);
    let told = workspace.start("app.1", &["--json"], &["true"]).finish();
    assert_eq!(told.error_code(), "service-exists");
    workspace.call("service stop", ["app.1"]).finish().exits(0).explains(&["state=stopped"]);
    assert!(!workspace.runs("sleep 4321"));
    assert_eq!(workspace.service_log("app.1"), log, "its log outlives it");
    assert_eq!(workspace.patch(), b"", "what pyro keeps of it is not in /workspace");
    workspace
        .call("service restart", ["app.1"])
        .finish()
        .exits(0)
        .explains(&["[workspace-service-restart] "]);
    wait_until("it runs as it was", || workspace.runs("sleep 4321"));
    assert_eq!(workspace.service_log("app.1"), [log.clone(), log].concat(), "its lives do not run together");
    let told = workspace.call("service status", ["nope", "--json"]).finish();
    assert_eq!(told.error_code(), "service-unknown");
}

#[test]
fn a_stop_is_asked_for_then_forced() {
    // Promise: TERM, some time, KILL, to the whole tree; what a service says at its end is kept.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    workspace.serve("obeys", &[], "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done");
    workspace.call("service stop", ["obeys"]).finish().exits(0);
    assert!(workspace.said("obeys").contains(&"bye".to_owned()));
    assert_eq!(workspace.service("obeys")["exit_code"], 3);
    let script =
        "trap '' TERM HUP INT; (setsid sh -c 'trap \"\" TERM HUP; sleep 1111; :' &); sleep 2222; sleep 2222";
    workspace.serve("stubborn", &["--restart", "always"], script);
    wait_until("all of it runs", || workspace.runs("sleep 1111") && workspace.runs("sleep 2222"));
    workspace.call("service stop", ["stubborn", "--grace-seconds", "1"]).finish().exits(0);
    assert!(!workspace.runs("sleep [12]{4}"), "nothing of it is left");
    let service = workspace.service("stubborn");
    assert_eq!((&service["state"], &service["exit_code"]), (&"stopped".into(), &137.into()));
    assert!(service["reason"].as_str().unwrap().contains("signal 9"), "{service}");
    // Once more is what was wanted.
    workspace.call("service stop", ["stubborn"]).finish().exits(0);
    // One that cannot be told is not said to have stopped.
    workspace.serve("sleeps", &[], "exec sleep 3333");
    workspace.call("pause", [""; 0]).finish().exits(0);
    let told = workspace.call("service stop", ["sleeps", "--json"]).finish();
    assert_eq!(told.error_code(), "workspace-paused");
    assert_eq!(workspace.service_state("sleeps"), "paused");
    workspace.call("service stop", ["stubborn"]).finish().exits(0);
    assert_eq!(workspace.state(), "paused");
    workspace.call("resume", [""; 0]).finish().exits(0);
    assert!(workspace.runs("sleep 3333"));
    workspace.call("service stop", ["sleeps"]).finish().exits(0).explains(&["state=stopped"]);
}

#[test]
fn policies_say_who_is_started_again() {
    // Promise: no, on-failure and always mean what they say; how a service ended is kept, with its reason.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    // Each life is long enough to be ready.
    let thrice = |name: &str, code: u32| {
        format!(
            "echo life >> /tmp/{name}; sleep 0.6; test $(wc -l < /tmp/{name}) -ge 3 && exit 0; exit {code}"
        )
    };
    workspace.serve("no", &[], &thrice("no", 7));
    workspace.serve("on-failure", &["--restart", "on-failure"], &thrice("on-failure", 7));
    workspace.serve("always", &["--restart", "always"], &thrice("always", 0));
    workspace.serve("killed", &[], "sleep 0.6; kill -9 $$");
    let told = workspace.wait_for_service("no", "failed");
    assert_eq!((&told["exit_code"], &told["restarts"]), (&7.into(), &0.into()));
    let told = workspace.wait_for_service("on-failure", "exited");
    assert_eq!((&told["exit_code"], &told["restarts"]), (&0.into(), &2.into()));
    assert_eq!(told["reason"], "it exited with code 0");
    wait_until("it lives for the fourth time", || {
        workspace.service("always")["restarts"].as_u64().unwrap() >= 3
    });
    let told = workspace.wait_for_service("killed", "failed");
    assert_eq!(told["exit_code"], 137);
    assert!(told["reason"].as_str().unwrap().contains("signal 9"), "{told}");
    let block = workspace.call("service status", ["killed"]).finish().exits(0).out();
    assert!(block.contains("State: failed\n") && block.contains("Exit code: 137\n"), "{block}");
    let lives = |name: &str| workspace.shell(&format!("wc -l < /tmp/{name}")).trim().parse::<u64>().unwrap();
    assert_eq!((lives("no"), lives("on-failure")), (1, 3));
    workspace.stop_service("always");
    let lived = lives("always");
    assert_eq!(workspace.service_state("always"), "stopped");
    workspace.shell("sleep 1");
    assert_eq!(lives("always"), lived, "one that was stopped does not come back");
}

#[test]
fn services_come_back_with_their_workspace() {
    // Promise: after stop and start those with a policy run again and are ready before `start` returns; those without, or
    // stopped by hand, do not; what they were told at the stop, they could obey.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let script = |name: &str| {
        format!(
            "trap 'echo bye; exit 0' TERM; sleep 1; echo up; touch /run/{name}; while :; do sleep 0.1; done"
        )
    };
    let options = |policy: &'static str, file: &'static str| ["--restart", policy, "--ready-file", file];
    workspace.serve("a", &options("always", "/run/a"), &script("a"));
    workspace.serve("b", &options("on-failure", "/run/b"), &script("b"));
    workspace.serve("c", &options("no", "/run/c"), &script("c"));
    workspace.serve("d", &options("always", "/run/d"), &script("d"));
    workspace.stop_service("d");
    workspace.call("stop", [""; 0]).finish().exits(0);
    let stopped: Vec<_> = workspace.services().iter().map(|one| one["state"].clone()).collect();
    assert_eq!(stopped, ["stopped"; 4]);
    assert_eq!(workspace.state(), "stopped", "looking starts nothing");
    assert!(workspace.said("a").contains(&"bye".to_owned()));
    workspace.call("start", [""; 0]).finish().exits(0);
    let listed = workspace.call("service list", [""; 0]).finish().exits(0).out();
    assert!(listed.contains("Services: 4 total, 2 running"), "{listed}");
    for (name, state) in [("a", "running"), ("b", "running"), ("c", "stopped"), ("d", "stopped")] {
        assert_eq!(workspace.service_state(name), state, "{name}");
    }
    let mut said = workspace.said("a");
    // A shell tells of whom it waited for; that one was told to end as well.
    said.retain(|text| text != "Terminated");
    assert_eq!(said, ["up", "bye", "up"]);
    // One that cannot come back is told, and the workspace is there for whoever mends it.
    let options = ["--restart", "always", "--ready-command", "test ! -e broken"];
    workspace.serve("e", &options, "test ! -e broken && exec sleep 1000");
    workspace.shell("touch broken");
    workspace.call("stop", [""; 0]).finish().exits(0);
    let told = workspace.call("start", [""; 0]).finish();
    told.explains(&["service=e state=failed", "exited with code 1"]);
    assert_eq!(workspace.state(), "started");
    assert_eq!(
        (workspace.service_state("b"), workspace.service_state("e")),
        ("running".into(), "failed".into())
    );
    workspace.shell("rm broken");
    workspace.call("service restart", ["e"]).finish().exits(0);
    workspace.reset(&[]);
    assert_eq!(workspace.services(), Vec::<serde_json::Value>::new(), "a reset forgets them");
}

#[test]
fn logs_are_followed_cut_and_bounded() {
    // Promise: `logs` shows the last lines of a log however long it is, follows it to the end, and what is kept is bounded.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let flood = "$line = (qq(y) x 99 . qq(\n)) x 1000; print $line for 1..1000; print qq(last\n);";
    let script =
        format!("perl -e '{flood}'; while [ ! -e go ]; do sleep 0.1; done; echo after; echo err >&2; exit 0");
    workspace.serve("flood", &[], &script);
    let deadline = Instant::now() + HANG_SECONDS_MAX;
    let tail = |count: &str| workspace.call("service logs", ["flood", "--tail-lines", count]).finish();
    while !tail("1").out().ends_with("\nlast\n") {
        assert_eq!(workspace.shell("echo alive"), "alive\n");
        assert!(Instant::now() < deadline, "the flood hangs");
    }
    let told = tail("3").exits(0).out();
    assert_eq!(
        told.lines().skip(3).collect::<Vec<_>>(),
        ["y".repeat(99).as_str(), "y".repeat(99).as_str(), "last"]
    );
    assert_eq!(tail("0").exits(0).out().lines().count(), 3);
    let told = workspace.call("service logs", ["flood", "--all", "--json"]).finish().exits(0).json();
    assert!(told["bytes_cut"].as_u64().unwrap() > 50_000_000, "{}", told["bytes_cut"]);
    let kept = told["entries"].as_array().unwrap().len();
    assert!((50_000..200_000).contains(&kept), "{kept} lines are kept");
    let following = workspace.call("service logs", ["flood", "--tail-lines", "1", "-f"]).start();
    following.wait_for_out("last\n");
    workspace.shell("touch go");
    let told = following.finish();
    assert!(told.exits(0).out().ends_with("last\nafter\n"), "{}", told.out());
    told.explains(&["err\n"]);
    assert_eq!(workspace.wait_for_service("flood", "exited")["exit_code"], 0);
    // A reader that leaves harms nobody; one that follows what has ended has all of it.
    let told = workspace.call("service logs", ["flood", "--tail-lines", "2", "-f"]).finish();
    assert!(told.exits(0).out().ends_with("after\n"));
}

#[test]
fn what_a_killed_supervisor_took_along_is_lost() {
    // Promise: nothing is said to run that does not: after `kill -9` of the supervisor its shells and services are lost,
    // and a service with a policy comes back with the workspace.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    workspace.serve("stays", &["--restart", "always"], "exec sleep 1000");
    workspace.serve("goes", &["--restart", "always"], "exec sleep 1000");
    let shell = workspace.open(&[], &["sleep", "1000"]);
    workspace.shim().unwrap().signal(Signal::KILL);
    wait_until("the supervisor is gone", || workspace.shim().is_none());
    assert_eq!((workspace.service_state("stays").as_str(), shell.state().as_str()), ("lost", "lost"));
    workspace.call("service stop", ["goes"]).finish().exits(0);
    assert_ne!(workspace.service_state("goes"), "running");
    workspace.call("start", [""; 0]).finish().exits(0);
    assert_eq!(workspace.service_state("stays"), "running");
    assert_ne!(workspace.service_state("goes"), "running");
    assert_eq!(shell.state(), "lost");
}
