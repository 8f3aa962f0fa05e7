//! What tells that a service is ready, and what tells that it is not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use pyro_proto::agent::{FailureKind, Outcome, Probe, Service};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};

use super::super::host::{Host, exec, marker, until_gone, until_there, with_host};
use super::{event, file, names, never, probed, run, serve, service, stop, until_ready};

/// A server that gives everyone the same answer, and then closes the connection, or does nothing more.
fn answering(answer: &'static str, closes: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(answer.as_bytes());
            if !closes {
                std::mem::forget(stream);
            }
        }
    });
    address
}

/// An address at which nobody listens, and nobody else can: a socket that has it stays open.
fn refusing() -> SocketAddr {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = getsockname(&socket).unwrap().try_into().unwrap();
    std::mem::forget(socket);
    address
}

fn http(addresses: &[SocketAddr]) -> Probe {
    let host = addresses[0].to_string();
    Probe::Http { addresses: addresses.to_vec(), host, target: "/health?full=1".to_owned() }
}

const FINE: &str = "HTTP/1.1 204 Fine\r\n\r\n";
const OOPS: &str = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n";

/// Each kind of probe finds what is ready; of several addresses one is enough, and a redirect is an answer.
#[test]
fn readiness_is_found() {
    with_host(async |host: &mut Host| {
        let directory = tempfile::tempdir().unwrap();
        let there = directory.path().join("there");
        let script = format!("touch {}; sleep 1000", there.display());
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listening.local_addr().unwrap();
        let redirect = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n";
        let early = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
        for probe in [
            file(&there),
            Probe::Tcp(vec![refusing(), open]),
            http(&[answering(FINE, true)]),
            http(&[answering(FINE, false)]),
            http(&[answering(redirect, true)]),
            http(&[answering(early, true)]),
            http(&[refusing(), answering(FINE, true)]),
            http(&[answering(OOPS, true), answering(FINE, true)]),
            Probe::Command(format!("test -e {}", there.display()).into_bytes()),
        ] {
            let stream = serve(host, probed(&script, probe.clone())).await;
            assert_eq!(names(&until_ready(host, stream).await), ["started"], "{probe:?}");
            assert_eq!(stop(host, stream, 5_000).await.outcome(), Outcome::Signal(15), "{probe:?}");
        }
    });
}

/// A service is not told to be ready before its probe says so, however often that has to be asked.
#[test]
fn nothing_is_ready_before_its_time() {
    with_host(async |host: &mut Host| {
        let directory = tempfile::tempdir().unwrap();
        let (gate, tries) = (directory.path().join("gate"), directory.path().join("tries"));
        let asked = format!("echo try >> {}; test -e {}", tries.display(), gate.display());
        let stream = serve(host, probed("sleep 1000", Probe::Command(asked.into_bytes()))).await;
        assert_eq!(names(&[event(host, stream).await]), ["started"]);
        while std::fs::read_to_string(&tries).unwrap_or_default().lines().count() < 5 {
            assert_eq!(host.soon().await, None, "it was told to be ready");
        }
        std::fs::write(&gate, "").unwrap();
        assert_eq!(names(&until_ready(host, stream).await), [""; 0]);
        stop(host, stream, 5_000).await;
    });
}

/// What an earlier run has left does not make a service ready, and is not removed either: it has to be touched again.
#[test]
fn a_file_of_an_earlier_run_is_no_sign() {
    with_host(async |host: &mut Host| {
        let directory = tempfile::tempdir().unwrap();
        let (there, go) = (directory.path().join("there"), directory.path().join("go"));
        std::fs::write(&there, "").unwrap();
        // More than the clock of files takes for a tick.
        std::thread::sleep(Duration::from_millis(20));
        let script = format!(
            "until test -e {}; do sleep 0.02; done; touch {}; sleep 1000",
            go.display(),
            there.display()
        );
        let late = Service { ready_timeout_ms: 300, ..probed(&script, file(&there)) };
        let done = run(host, late).await;
        assert!(done.failure().detail.ends_with("it is there from before this start"), "{}", done.failure());
        let stream = serve(host, probed(&script, file(&there))).await;
        assert_eq!(names(&[event(host, stream).await]), ["started"]);
        for _ in 0..3 {
            assert_eq!(host.soon().await, None, "it was told to be ready");
        }
        std::fs::write(&go, "").unwrap();
        assert_eq!(names(&until_ready(host, stream).await), [""; 0]);
        stop(host, stream, 5_000).await;
    });
}

/// An address that does not answer leaves time for the next one.
#[test]
fn a_silent_address_leaves_time_for_others() {
    with_host(async |host: &mut Host| {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [silent.local_addr().unwrap(), answering(FINE, true)];
        let stream = serve(host, probed("sleep 1000", http(&addresses))).await;
        until_ready(host, stream).await;
        stop(host, stream, 5_000).await;
    });
}

/// A readiness command has the service's directory and environment, and nothing of it is taken for the service's.
#[test]
fn a_readiness_command_is_at_home() {
    with_host(async |host: &mut Host| {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().canonicalize().unwrap();
        let asked =
            format!("echo noise; echo noise >&2; test \"$NAME\" = value && test $(pwd) = {}", home.display());
        let mut service = probed("sleep 1000", Probe::Command(asked.into_bytes()));
        service.command.environment = vec![(b"NAME".to_vec(), b"value".to_vec())];
        service.command.directory = Some(home.as_os_str().as_encoded_bytes().to_vec());
        let stream = serve(host, service).await;
        until_ready(host, stream).await;
        let done = stop(host, stream, 5_000).await;
        assert_eq!((done.stdout.len(), done.stderr.len()), (0, 0));
    });
}

/// What never becomes ready is ended with its whole tree, and the reason names what was asked and what came.
#[test]
fn what_is_not_ready_is_told() {
    with_host(async |host: &mut Host| {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let refused = refusing();
        let hangs = marker();
        let cases = [
            (never(), "the file \"/nonexistent/ready\": no such file or directory".to_owned()),
            (Probe::Tcp(vec![refused]), format!("{refused}: connection refused")),
            (Probe::Tcp(Vec::new()), "there is no address to ask".to_owned()),
            (http(&[silent.local_addr().unwrap()]), "/health?full=1: no answer yet".to_owned()),
            (http(&[answering(OOPS, true)]), "/health?full=1: it answered 500".to_owned()),
            (http(&[answering(OOPS, true), refused]), "/health?full=1: it answered 500".to_owned()),
            (http(&[answering("HTTP/1.1 200 OK\r\nhalf", false)]), "no answer yet".to_owned()),
            (http(&[answering("HTTP/1.1 200 OK\r\nhalf", true)]), "before it answered".to_owned()),
            (http(&[answering("220 smtp\r\n", true)]), "its answer is no HTTP: ".to_owned()),
            (Probe::Command(b"exit 3".to_vec()), "the readiness command: it exited with code 3".to_owned()),
            (Probe::Command(format!("sleep {hangs}").into_bytes()), "no answer yet".to_owned()),
        ];
        for (probe, why) in cases {
            let left = marker();
            let script = format!("echo out; sleep {left} & sleep {left}");
            // What hangs is given less than counts as hanging; what answers, time to do so.
            let (ready_timeout_ms, within) =
                if why.ends_with("no answer yet") { (400, "0.4") } else { (1_500, "1.5") };
            let done = run(host, Service { ready_timeout_ms, ..probed(&script, probe) }).await;
            let failure = done.failure();
            assert_eq!(failure.kind, FailureKind::NotReady);
            let begin = format!("it was not ready within {within} s: ");
            assert!(failure.detail.starts_with(&begin), "{}", failure.detail);
            assert!(failure.detail.contains(&why), "{}", failure.detail);
            assert_eq!((done.text().as_str(), done.eofs.len()), ("out\n", 2));
            until_gone(&left).await;
        }
        until_gone(&hangs).await;
    });
}

/// An answer whose head has no end is not read for ever.
#[test]
fn an_endless_head_is_given_up() {
    with_host(async |host: &mut Host| {
        let head: &'static str = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(100_000)).leak();
        let endless = http(&[answering(head, false)]);
        let done = run(host, Service { ready_timeout_ms: 600, ..probed("sleep 1000", endless) }).await;
        assert!(done.failure().detail.contains("its answer has no end of headers"), "{}", done.failure());
    });
}

/// A service that ends before it is ready is not started again, whatever its policy, and its last words are heard.
#[test]
fn an_early_end_is_a_failure() {
    with_host(async |host: &mut Host| {
        let hangs = marker();
        for (script, how) in
            [("exit 3", Outcome::Code(3)), ("true", Outcome::Code(0)), ("kill -9 $$", Outcome::Signal(9))]
        {
            let probe = Probe::Command(format!("sleep {hangs}").into_bytes());
            let early = Service {
                restart: pyro_proto::agent::Restart::Always,
                ..probed(&format!("sleep 0.2; {script}"), probe)
            };
            let done = run(host, early).await;
            assert_eq!(done.outcome(), how);
            assert_eq!(names(&done.events), ["started"]);
        }
        until_gone(&hangs).await;
        let early = run(host, service("echo out; echo no such module >&2; exit 1")).await;
        assert_eq!(early.outcome(), Outcome::Code(1));
        assert_eq!((early.stdout, early.stderr), (b"out\n".to_vec(), b"no such module\n".to_vec()));
        let missing = Service { command: exec(&["no-such-program"]), ..service("") };
        let missing = run(host, missing).await;
        assert_eq!((missing.failure().kind, missing.eofs.len()), (FailureKind::CommandNotFound, 2));
    });
}

/// A readiness command that hangs ends with the service that it asks for.
#[test]
fn a_hanging_probe_ends_with_its_service() {
    with_host(async |host: &mut Host| {
        let hangs = marker();
        let probe = Probe::Command(format!("sleep {hangs} & sleep {hangs}").into_bytes());
        let stream = serve(host, probed("sleep 1000", probe)).await;
        until_there(&hangs, 2).await;
        let done = stop(host, stream, 5_000).await;
        assert_eq!((done.outcome(), names(&done.events)), (Outcome::Signal(15), vec!["started"]));
        until_gone(&hangs).await;
    });
}

/// Where something answers already, a service is not started: it would be taken for it.
#[test]
fn an_address_that_is_taken_is_no_readiness() {
    with_host(async |host: &mut Host| {
        let address = answering(FINE, true);
        for probe in [http(&[refusing(), address]), Probe::Tcp(vec![address])] {
            let taken = Service { owns_address: true, ..probed("echo started", probe) };
            let done = run(host, taken).await;
            assert_eq!(done.failure().kind, FailureKind::AddressTaken);
            assert!(done.failure().detail.contains(&format!("{address} already")), "{}", done.failure());
            assert_eq!(done.text(), "");
        }
        let free = Service { owns_address: true, ..probed("sleep 1000", Probe::Command(b"true".to_vec())) };
        let stream = serve(host, free).await;
        until_ready(host, stream).await;
        stop(host, stream, 5_000).await;
    });
}
