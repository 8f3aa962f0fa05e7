//! A service is ready when it says so, and not before; one that never is has failed.

use std::time::{Duration, Instant};

use crate::support::{Machine, Workspace};

/// Listens on a port after a while, and answers, or does not, in one of many ways.
const SERVER: &str = r#"
use strict; use IO::Socket::INET; $| = 1; $SIG{PIPE} = 'IGNORE';
my ($port, $manner, $delay) = @ARGV;
sleep $delay if $delay;
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port", Listen => 8, ReuseAddr => 1)
    or die "cannot listen on $port: $!\n";
print "listening\n";
my %answers = (
    fine => "HTTP/1.1 204 No Content\r\n\r\n",
    broken => "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
    elsewhere => "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
    nonsense => "220 mail.example.com ESMTP\r\n",
    half => "HTTP/1.1 200 OK\r\nContent-Type: te",
    endless => "HTTP/1.1 200 OK\r\n" . ("X-Padding: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n" x 20000),
);
my @kept;
while (my $client = $server->accept) {
    sysread $client, my $request, 4096 unless $manner eq 'silent';
    print "asked: ", (split /\r\n/, $request // '')[0] // '', "\n";
    print $client $answers{$manner} // '';
    $client->flush;
    push @kept, $client if $manner eq 'half' or $manner eq 'silent';
}
"#;

fn with_server(machine: &Machine) -> Workspace<'_> {
    let workspace = machine.workspace(&[]);
    workspace.call("file write", ["server.pl", "--text", SERVER]).finish().exits(0);
    workspace
}

fn server(port: u16, manner: &str, delay: u32) -> [String; 5] {
    ["perl".to_owned(), "server.pl".to_owned(), port.to_string(), manner.to_owned(), delay.to_string()]
}

#[test]
fn a_service_is_ready_when_it_says_so() {
    // Promise: when `start` returns, the file is there, the port listens, the URL answers, the command succeeds.
    let machine = Machine::new();
    let workspace = with_server(&machine);
    let start = |name: &str, flag: &str, target: &str, command: &[String]| {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let told = workspace.start(name, &[flag, target], &command).finish();
        told.exits(0).explains(&["state=running", &format!("ready_type={}", &flag["--ready-".len()..])]);
        let listed = workspace.service(name);
        assert_eq!(listed["state"], "running");
        assert!(listed["ready_at"].is_string(), "{listed}");
    };
    let touch =
        |file: &str| ["sh".to_owned(), "-c".to_owned(), format!("sleep 1; touch {file}; exec sleep 1000")];
    start(
        "relative",
        "--ready-file",
        "sub/../ready",
        &[
            &["sh".to_owned(), "-c".to_owned()][..],
            &["mkdir sub; sleep 1; touch ready; exec sleep 1000".to_owned()],
        ]
        .concat(),
    );
    assert_eq!(workspace.shell("ls ready"), "ready\n");
    start("absolute", "--ready-file", "/tmp/ready", &touch("/tmp/ready"));
    assert_eq!(workspace.shell("ls /tmp/ready"), "/tmp/ready\n");
    start("tcp", "--ready-tcp", "127.0.0.1:7001", &server(7001, "fine", 1));
    assert_eq!(workspace.shell("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:7001/"), "204");
    start("http", "--ready-http", "http://localhost:7002/health?x=1", &server(7002, "fine", 1));
    let log = workspace.service_log("http");
    assert!(log.iter().any(|(_, text)| text == "asked: GET /health?x=1 HTTP/1.1"), "{log:?}");
    // Being sent elsewhere is an answer; nobody goes there.
    start("elsewhere", "--ready-http", "http://127.0.0.1:7003/", &server(7003, "elsewhere", 0));
    let probe = "test -e /tmp/second && echo \"$PWD\" >> /tmp/asked";
    start("command", "--ready-command", probe, &touch("/tmp/second"));
    assert_eq!(workspace.shell("cat /tmp/asked"), "/workspace\n");
}

#[test]
fn what_never_becomes_ready_is_ended() {
    // Promise: a probe that gets no answer, a wrong one, half of one or an endless one fails when its time is over, says
    // why, and nothing of service or probe is left.
    let machine = Machine::new();
    let workspace = with_server(&machine);
    let limits = ["--ready-timeout-seconds", "2", "--ready-interval-ms", "100"];
    let in_vain = |name: &str, flag: &str, target: &str, manner: &str, port: u16, why: &str| {
        let command = server(port, manner, 0);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        // A server that has to answer something has to be there first, on a machine that is swamped too.
        let seconds = if manner == "fine" { "2" } else { "8" };
        let limits = ["--ready-timeout-seconds", seconds, "--ready-interval-ms", "100"];
        let options = [&[flag, target][..], &limits].concat();
        let told = workspace.start(name, &options, &command).finish();
        told.exits(125).explains(&[why, &format!("not ready within {seconds} s")]);
        let service = workspace.service(name);
        assert_eq!(service["state"], "failed");
        assert!(service["reason"].as_str().unwrap().contains(why), "{service}");
    };
    in_vain("refused", "--ready-tcp", "127.0.0.1:9", "fine", 7000, "connection refused");
    in_vain("silent", "--ready-http", "http://127.0.0.1:7001/", "silent", 7001, "no answer");
    in_vain("broken", "--ready-http", "http://127.0.0.1:7002/", "broken", 7002, "it answered 500");
    in_vain("half", "--ready-http", "http://127.0.0.1:7003/", "half", 7003, "no answer");
    in_vain("nonsense", "--ready-http", "http://127.0.0.1:7004/", "nonsense", 7004, "no HTTP");
    in_vain("endless", "--ready-http", "http://127.0.0.1:7005/", "endless", 7005, "");
    in_vain("file", "--ready-file", "never", "fine", 7006, "no such file");
    in_vain("stale", "--ready-file", "server.pl", "fine", 7009, "it is there from before this start");
    in_vain("command", "--ready-command", "exit 3", "fine", 7007, "exited with code 3");
    in_vain("hangs", "--ready-command", "(setsid sleep 5555 &); sleep 5555", "fine", 7008, "no answer");
    assert!(!workspace.runs("sleep 5555") && !workspace.runs("perl server.pl .*"));
    let told = workspace.start(
        "json",
        &[&["--json", "--ready-file", "never"][..], &limits].concat(),
        &["sleep", "1000"],
    );
    let told = told.finish();
    told.exits(125);
    assert_eq!(told.error_code(), "service-failed");
    assert_eq!(workspace.shell("echo alive"), "alive\n");
}

#[test]
fn an_early_end_is_told_at_once() {
    // Promise: a service that ends before it is ready has failed then and there, with its last words.
    let machine = Machine::new();
    let workspace = with_server(&machine);
    let patient = ["--ready-file", "never", "--ready-timeout-seconds", "3600"];
    let began = Instant::now();
    let told = workspace.serve_in_vain("early", &patient, "seq 1 100; echo no such module: frob >&2; exit 3");
    told.explains(&[
        "exited with code 3 before it was ready",
        "| 100\n",
        "| no such module: frob\n",
        "foreground",
    ]);
    assert!(!told.err().contains("| 50\n"), "the last lines, not all");
    let told = workspace.serve_in_vain("early", &patient, "echo another try; exit 4");
    told.explains(&["| another try\n"]);
    assert!(!told.err().contains("frob"), "what an earlier start wrote is not its own: {}", told.err());
    workspace.serve_in_vain("silent", &patient, "kill -9 $$").explains(&["signal 9"]);
    workspace
        .serve_in_vain("well", &[&patient[..], &["--restart", "always"]].concat(), "true")
        .explains(&["code 0"]);
    // Without a probe too.
    workspace.serve_in_vain("plain", &[], "echo oops; exit 1").explains(&["| oops"]);
    // One that forks away has ended, and what it left is not what was to be supervised.
    let away = "(setsid sleep 6666 </dev/null >/dev/null 2>&1 &); exit 0";
    workspace.serve_in_vain("away", &patient, away).explains(&["exited with code 0 before it was ready"]);
    assert!(!workspace.runs("sleep 6666"));
    workspace
        .start("missing", &patient, &["no-such-program"])
        .finish()
        .exits(127)
        .explains(&["no-such-program"]);
    let told = workspace
        .start("json", &[&patient[..], &["--json"]].concat(), &["sh", "-c", "echo why; exit 1"])
        .finish();
    assert_eq!(told.error_code(), "service-failed");
    assert!(told.json()["error"]["cause"].as_str().unwrap().contains("why"), "{}", told.out());
    assert!(began.elapsed() < Duration::from_secs(600), "nobody waited for a probe");
}

#[test]
fn a_port_that_is_taken_is_told() {
    // Promise: that somebody else listens on the port does not make a service ready.
    let machine = Machine::new();
    let workspace = with_server(&machine);
    for (name, flag, target) in
        [("tcp", "--ready-tcp", "127.0.0.1:7100"), ("http", "--ready-http", "http://127.0.0.1:7100/")]
    {
        if name == "tcp" {
            workspace
                .start("first", &[flag, target], &["perl", "server.pl", "7100", "fine", "0"])
                .finish()
                .exits(0);
        }
        let told =
            workspace.start(name, &[flag, target], &["perl", "server.pl", "7100", "fine", "0"]).finish();
        told.exits(125).explains(&["7100", "another port"]);
        assert_eq!(workspace.service_state(name), "failed");
    }
    assert_eq!(workspace.service_state("first"), "running");
}

#[test]
fn services_that_make_no_sense_are_refused() {
    // Promise: a wrong name, directory, user, variable, address, URL, time or policy is an error that says which it is.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let long = "n".repeat(65);
    for name in ["", "a b", "-a", ".a", "ä", "a/b", &long] {
        let told = workspace.call("service start", ["--json", "--", name]).finish();
        assert!(!told.status.success(), "{name:?}");
        let words = ["--json", &workspace.id, name, "--", "sleep", "1000"];
        let told = machine.pyro(["workspace", "service", "start"].iter().chain(&words)).finish();
        assert!(!told.status.success(), "{name:?}");
    }
    for [flag, value, code] in [
        ["--ready-tcp", "5432", "invalid-argument"],
        ["--ready-tcp", "example.com:80", "invalid-argument"],
        ["--ready-tcp", "127.0.0.1:70000", "invalid-argument"],
        ["--ready-http", "localhost:80", "invalid-argument"],
        ["--ready-http", "https://localhost/", "invalid-argument"],
        ["--ready-http", "http://example.com/", "invalid-argument"],
        ["--ready-file", "", "invalid-argument"],
        ["--ready-command", "", "invalid-argument"],
        ["--ready-timeout-seconds", "0", "invalid-argument"],
        ["--ready-interval-ms", "0", "invalid-argument"],
        ["--restart", "sometimes", "invalid-argument"],
        ["--env", "=x", "invalid-argument"],
    ] {
        let told = workspace.start("name", &["--json", flag, value], &["sleep", "1000"]).finish();
        assert_eq!(told.error_code(), code, "{flag} {value}");
        let error = told.json()["error"].clone();
        assert!(
            error["message"].as_str().unwrap().contains(flag) || flag == "--env",
            "{flag} {value}: {error}"
        );
        assert!(error["remediation"].is_string(), "{error}");
    }
    for [flag, value] in [["--cwd", "/no/such/directory"], ["--user", "nosuchuser"]] {
        workspace.start("name", &[flag, value], &["sleep", "1000"]).finish().explains(&[value]);
    }
    assert!(
        workspace.services().iter().all(|service| service["state"] == "failed"),
        "{:?}",
        workspace.services()
    );
    assert!(!workspace.runs("sleep 1000"));
}
