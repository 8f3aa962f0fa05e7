//! What a command's end looks like.

use super::host::{Host, exec, marker, shell, until_gone, until_there, with_host};
use pyro_proto::Channel;
use pyro_proto::agent::{Event, Exec, FailureKind, Input, Outcome, Request};

/// Output is split, the exit code is the command's, and the ends come before the reply.
#[test]
fn a_command_runs() {
    with_host(async |host: &mut Host| {
        let done = host.run(shell("echo out; echo err >&2; exit 7")).await;
        assert_eq!((&done.stdout[..], &done.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!(done.outcome(), Outcome::Code(7));
        assert_eq!(done.eofs, [Channel::Stdout, Channel::Stderr]);
        assert!(matches!(done.events[..], [Event::Started { pid: 1.. }]));
    });
}

/// Arguments are bytes: spaces, quotes, newlines and what is no UTF-8 arrive as they were.
#[test]
fn arguments_are_bytes() {
    with_host(async |host: &mut Host| {
        let odd = b"a b\n\"'\\$x\xff\x01".to_vec();
        let mut request = exec(&["printf", "%s"]);
        request.argv.push(odd.clone());
        assert_eq!(host.run(request).await.stdout, odd);
        let mut request = exec(&["sh", "-c", "printf %s \"$ODD\""]);
        request.environment = vec![(b"ODD".to_vec(), odd.clone())];
        assert_eq!(host.run(request).await.stdout, odd);
        let mut request = exec(&["printf", "%s"]);
        request.argv.push(vec![b'x'; 64 * 1024]);
        assert_eq!(host.run(request).await.stdout.len(), 64 * 1024);
    });
}

/// Not there, not executable, no directory, no user and too long are told apart.
#[test]
fn refusals_are_told_apart() {
    with_host(async |host: &mut Host| {
        let scripts = tempfile::tempdir().unwrap();
        // Written by another process: what this one writes, another test's fork may have open when it is to be executed.
        let [script, text] =
            [("script", "#!/no/such/interpreter\n"), ("text", "no program\n")].map(|(name, contents)| {
                let (draft, program) = (scripts.path().join("draft"), scripts.path().join(name));
                std::fs::write(&draft, contents).unwrap();
                let install = std::process::Command::new("install")
                    .args(["-m", "755"])
                    .args([&draft, &program])
                    .status();
                assert!(install.unwrap().success());
                program
            });
        let (script, text) = (script.to_str().unwrap(), text.to_str().unwrap());
        let directory = Exec { directory: Some(b"/no/such".to_vec()), ..exec(&["true"]) };
        let user = Exec { user: Some("no-such-user".to_owned()), ..exec(&["true"]) };
        let long = Exec { argv: vec![b"true".to_vec(), vec![b'x'; 3 * 1024 * 1024]], ..exec(&[]) };
        for (request, kind) in [
            (exec(&["no-such-command"]), FailureKind::CommandNotFound),
            (exec(&["/no/such/command"]), FailureKind::CommandNotFound),
            (exec(&[""]), FailureKind::CommandNotFound),
            (exec(&[script]), FailureKind::CommandNotFound),
            (exec(&["/etc/passwd"]), FailureKind::CommandNotExecutable),
            (exec(&["/etc"]), FailureKind::CommandNotExecutable),
            (exec(&[text]), FailureKind::CommandNotExecutable),
            (directory, FailureKind::DirectoryMissing),
            (user, FailureKind::UserUnknown),
            (exec(&[]), FailureKind::InvalidArgument),
            (long, FailureKind::InvalidArgument),
        ] {
            let program = request.argv.first().cloned().unwrap_or_default();
            let failure = host.run(request).await.failure();
            assert_eq!(
                failure.kind,
                kind,
                "{:?}: {}",
                String::from_utf8_lossy(&program).get(..20),
                failure.detail
            );
        }
        assert!(host.run(exec(&[script])).await.failure().detail.contains("interpreter"));
        assert_eq!(host.run(exec(&["true"])).await.outcome(), Outcome::Code(0));
    });
}

/// A command that a signal ends says which; a host's signal reaches it.
#[test]
fn signals_are_told() {
    with_host(async |host: &mut Host| {
        assert_eq!(host.run(shell("kill -TERM $$")).await.outcome(), Outcome::Signal(15));
        let stream = host
            .open(&Request::Exec(shell("trap 'exit 3' USR1; echo ready; while :; do sleep 0.01; done")))
            .await;
        host.until(stream, "ready").await;
        host.input(stream, Input::Signal(10)).await;
        assert_eq!(host.finish(stream, b"").await.outcome(), Outcome::Code(3));
    });
}

fn signals(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

/// Descriptors beyond the three streams that survive an `execve` of this process: none of them the agent's.
fn inherited() -> usize {
    let close_on_exec = 0o2_000_000;
    let infos = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let is_stream =
        |name: std::ffi::OsString| name.to_str().is_some_and(|name| ["0", "1", "2"].contains(&name));
    let flags = infos.filter(|info| !is_stream(info.file_name())).filter_map(|info| {
        let info = std::fs::read_to_string(info.path()).ok()?;
        u32::from_str_radix(info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim(), 8).ok()
    });
    flags.filter(|flags| flags & close_on_exec == 0).count()
}

/// A command starts as a login would: its own session, the usual limits, no descriptor of the agent's, and
/// nothing ignored or blocked but what this test was itself started with, if that.
#[test]
fn a_command_inherits_nothing() {
    with_host(async |host: &mut Host| {
        let status = host.run(exec(&["cat", "/proc/self/status"])).await.text();
        let own = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        // HUP, INT, QUIT and PIPE are as a login has them, whoever has ignored them here (`nohup`, a background job).
        let as_usual = [1, 2, 3, 13].iter().fold(0, |all, signal| all | 1 << (signal - 1));
        assert_eq!(signals(&status, "SigIgn:"), signals(&own, "SigIgn:") & !as_usual);
        assert_eq!(signals(&status, "SigBlk:"), signals(&own, "SigBlk:"));
        let limits = host.run(shell("ulimit -Sn; ls /proc/self/fd | wc -l")).await.text();
        // Three streams, the directory that `ls` has open, and what this test was itself started with.
        let descriptors = (4 + inherited()).to_string();
        assert_eq!(limits.split_whitespace().collect::<Vec<_>>(), ["1024", descriptors.as_str()]);
        let ids = host
            .run(shell("read _ _ _ _ group session _ < /proc/$$/stat; echo $$ $group $session"))
            .await
            .text();
        let ids: Vec<&str> = ids.split_whitespace().collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    });
}

/// A time limit ends the whole tree, also what has left its session and its parent.
#[test]
fn a_time_limit_ends_the_tree() {
    with_host(async |host: &mut Host| {
        let (near, far) = (marker(), marker());
        let escape =
            if host.has_cgroups { format!("setsid sh -c 'sleep {far} & exit' &") } else { String::new() };
        let request = Exec { timeout_ms: Some(700), ..shell(&format!("{escape} sleep {near}; true")) };
        let done = host.run(request).await;
        assert_eq!(done.outcome(), Outcome::TimedOut);
        until_gone(&near).await;
        until_gone(&far).await;
    });
}

/// A kill from the host ends the whole tree.
#[test]
fn a_kill_ends_the_tree() {
    with_host(async |host: &mut Host| {
        let marker = marker();
        let stream = host.open(&Request::Exec(shell(&format!("sleep {marker} & sleep {marker}")))).await;
        until_there(&marker, 2).await;
        host.input(stream, Input::Kill).await;
        assert_eq!(host.finish(stream, b"").await.outcome(), Outcome::Signal(9));
        until_gone(&marker).await;
    });
}

/// What a command leaves in the background delays nothing and goes on.
#[test]
fn the_background_goes_on() {
    with_host(async |host: &mut Host| {
        let marker = marker();
        let done = host.run(shell(&format!("sleep {marker} & echo $!"))).await;
        assert_eq!(done.outcome(), Outcome::Code(0));
        let pid: u32 = done.text().trim_end().parse().unwrap();
        until_there(&marker, 1).await;
        let done = host.run(shell(&format!("kill {pid}"))).await;
        assert_eq!(done.outcome(), Outcome::Code(0));
        until_gone(&marker).await;
    });
}

/// Calls do not wait for one another.
#[test]
fn calls_run_side_by_side() {
    with_host(async |host: &mut Host| {
        let slow = host.open(&Request::Exec(Exec { stdin: true, ..exec(&["cat"]) })).await;
        for round in 0..30u8 {
            assert_eq!(host.run(shell(&format!("exit {round}"))).await.outcome(), Outcome::Code(round));
        }
        assert_eq!(host.finish(slow, b"late").await.stdout, b"late");
    });
}
