//! Shells: terminals of a workspace that stay between calls.

use rustix::process::Signal;

use crate::support::{Machine, wait_until};

#[test]
fn a_shell_lives_between_calls() {
    // Promise: a shell keeps its directory, its variables and its processes from call to call, and there are many.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let first = workspace.open(&[], &[]);
    let options =
        ["--cwd", "/tmp", "--env", "GREETING=hi there", "--cols", "99", "--rows", "33", "--user", "nobody"];
    let second = workspace.open(&options, &["bash", "--norc"]);
    first.wait_for("root@.*:/workspace# $");
    first.write("cd /usr/lib; kept=$((40+2)); sleep 1000 &");
    second.wait_for(r"\$ $");
    second.write("stty size; echo \"$GREETING\"; id -un; pwd; tty; echo term=$TERM");
    second.wait_for("^33 99\nhi there\nnobody\n/tmp\n/dev/pts/[0-9]+\nterm=xterm-256color$");
    first.write("echo $kept in $PWD; jobs");
    assert!(first.wait_for("Running +sleep 1000").contains("42 in /usr/lib\n"));
    let listed = workspace.call("shell list", [""; 0]).finish().exits(0).out();
    let line = format!("- {} [running] cwd=/tmp cols=99 rows=33", second.id);
    assert!(listed.contains("Shells: 2 total, 2 running") && listed.contains(&line), "{listed}");
    // The beginning of an id is enough, as for workspaces.
    let told = workspace.call("shell read", [&second.id[..8], "--plain"]).finish();
    assert!(told.exits(0).out().contains("hi there"));
    second.write("exit 7");
    assert_eq!(second.end(), ("exited".to_owned(), Some(7)));
    assert_eq!(first.state(), "running");
    let told = second.call("read", ["--plain"]).finish();
    told.exits(0).explains(&["state=exited", "exit_code=7"]);
    assert!(told.out().contains("hi there"), "what it printed outlives it");
}

#[test]
fn readers_wait_for_what_they_ask_for() {
    // Promise: a reader waits for a pattern, for quiet or for a time, reads on at a byte, and takes no more than it wants.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let shell = workspace.open(&[], &["sh", "-c", "stty -echo; echo ready; cat"]);
    shell.wait_for("^ready$");
    let told = shell.call("read", ["--until", "never", "--wait-ms", "50"]).finish();
    told.exits(124).says("ready\r\n").explains(&["matched=False"]);
    let told = shell.call("read", ["--wait-for-idle-ms", "0", "--json"]).finish().exits(0).json();
    let end = told["next_cursor"].as_u64().unwrap();
    assert_eq!((&told["output"], end), (&"ready\r\n".into(), 7));
    // Waiters hear of what comes later, whoever types it.
    let waiting =
        shell.call("read", ["--cursor", "7", "--until", r"^seven[0-9]\n", "--wait-ms", "120000"]).start();
    let cursor = end.to_string();
    let first =
        shell.call("read", ["--cursor", &cursor, "--wait-for-idle-ms", "0", "--wait-ms", "120000"]).start();
    shell.write("one\ntwo\nseven7");
    waiting.finish().exits(0).says("one\r\ntwo\r\nseven7\r\n");
    assert!(first.finish().exits(0).out().starts_with("one"));
    // Pieces make the whole.
    let (mut cursor, mut whole) = (0u64, String::new());
    loop {
        let from = cursor.to_string();
        let told =
            shell.call("read", ["--cursor", &from, "--max-chars", "3", "--json"]).finish().exits(0).json();
        let piece = told["output"].as_str().unwrap().to_owned();
        assert!(piece.chars().count() <= 3);
        cursor = told["next_cursor"].as_u64().unwrap();
        if piece.is_empty() {
            break;
        }
        whole.push_str(&piece);
    }
    assert_eq!(whole, "ready\r\none\r\ntwo\r\nseven7\r\n");
    // A cursor from the future is somebody's mistake, and is told where the end is.
    let future = (cursor + 1).to_string();
    let told = shell.call("read", ["--cursor", &future, "--json"]).finish();
    assert_eq!(told.error_code(), "invalid-argument");
    let told = shell.call("read", ["--cursor", &future]).finish();
    told.explains(&["beyond the end", &format!("{cursor} bytes")]);
}

#[test]
fn what_is_typed_signaled_and_resized_arrives() {
    // Promise: lines, keys and bytes are typed as they are, signals reach the foreground, a new size the program.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let script = "trap 'echo size=$(stty size)' WINCH; trap 'echo got USR1' USR1; stty -echo; echo ready
        while :; do read -r line && echo \"<$line>\"; done";
    let shell = workspace.open(&[], &["bash", "-c", script]);
    shell.wait_for("^ready$");
    shell.write("-a line");
    shell.wait_for("^<-a line>$");
    shell.press("no ");
    shell.press("enter\n");
    shell.wait_for("^<no enter>$");
    shell.call("write", [""; 0]).input("from a pipe\nand more\n").finish().exits(0);
    shell.wait_for("^<and more>$");
    let told = shell.call("resize", ["--cols", "77", "--rows", "22"]).finish();
    told.exits(0).explains(&["[workspace-shell-resize] ", " cols=77 rows=22"]);
    // A trap runs when the read before it is over.
    shell.write("");
    shell.wait_for("^size=22 77$");
    assert_eq!((&shell.record()["cols"], &shell.record()["rows"]), (&77.into(), &22.into()));
    shell.call("signal", ["--signal", "SIGUSR1"]).finish().exits(0).explains(&["[workspace-shell-signal] "]);
    shell.write("");
    shell.wait_for("^got USR1$");
    shell.call("signal", [""; 0]).finish().exits(0);
    assert_eq!(shell.end(), ("signaled".to_owned(), Some(130)), "INT is what is sent without saying");
}

#[test]
fn closing_ends_everything_in_a_shell() {
    // Promise: whatever a shell has started ends with it, however it hides; one that ignores its end is killed.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let shell = workspace.open(&[], &["bash", "--norc"]);
    let beside = workspace.open(&[], &["sleep", "3333"]);
    shell.write("trap '' HUP TERM");
    shell.write("nohup sleep 1111 >/dev/null 2>&1 & disown");
    // A daemon of the old school: two forks, a session of its own, no terminal.
    shell.write("(setsid sh -c 'trap \"\" HUP TERM; (sleep 2222; :) & exit 0' </dev/null >/dev/null 2>&1 &)");
    wait_until("all of it runs", || workspace.runs("sleep 1111") && workspace.runs("sleep 2222"));
    let told = shell.call("close", ["--grace-seconds", "1"]).finish();
    told.exits(0).explains(&["[workspace-shell-close] ", "state=closed"]);
    assert!(!workspace.runs("sleep [12]{4}"), "nothing of it is left");
    assert!(workspace.runs("sleep 3333"), "others go on");
    assert_eq!(beside.state(), "running");
    shell.close();
    for (what, rest) in [("write", ["--input", "x"]), ("signal", ["--signal", "INT"])] {
        shell.call(what, rest).finish().exits(125).explains(&["does not run", "shell open"]);
        let told = shell.call(what, rest.iter().chain(&["--json"])).finish();
        assert_eq!(told.error_code(), "shell-ended");
    }
}

#[test]
fn shells_go_on_without_their_clients() {
    // Promise: no client that leaves, however it leaves, takes a shell along.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let shell = workspace
        .open(&[], &["sh", "-c", "stty -echo; echo ready; while read line; do echo \"<$line>\"; done"]);
    shell.wait_for("^ready$");
    let waiting = shell.call("read", ["--until", "never", "--wait-ms", "600000"]).start();
    let typing = shell.call("write", [""; 0]).start();
    for client in [&waiting, &typing] {
        client.signal(Signal::KILL);
    }
    drop((waiting.finish(), typing.finish()));
    shell.write("still there");
    shell.wait_for("^<still there>$");
}

#[test]
fn a_stopped_workspace_keeps_what_shells_printed() {
    // Promise: reading starts nothing, opening does unless that is not wanted, and a reset forgets all shells.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let shell = workspace.open(&[], &["sh", "-c", "echo kept; exec sleep 1000"]);
    shell.wait_for("^kept$");
    workspace.call("stop", [""; 0]).finish().exits(0);
    assert!(shell.call("read", ["--plain"]).finish().exits(0).out().contains("kept\n"));
    assert_ne!(shell.state(), "running");
    assert_eq!(workspace.state(), "stopped");
    let told = shell.call("write", ["--input", "x", "--json"]).finish();
    assert_eq!(told.error_code(), "shell-ended");
    let told = workspace.call("shell open", ["--no-start", "--json"]).finish();
    assert_eq!(told.error_code(), "workspace-stopped");
    assert_eq!(workspace.state(), "stopped");
    let again = workspace.open(&[], &["sh", "-c", "echo again"]);
    again.wait_for("^again$");
    assert_eq!(workspace.shells().len(), 2);
    workspace.reset(&[]);
    assert_eq!(workspace.shells(), Vec::<serde_json::Value>::new());
    let told = again.call("read", ["--json"]).finish();
    assert_eq!(told.error_code(), "shell-unknown");
}

#[test]
fn what_makes_no_sense_is_refused() {
    // Promise: a wrong directory, user, size, signal or pattern is an error that names it; no shell comes of it.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let refused = |command: &str, words: &[&str], code: &str, named: &str| {
        let told = workspace.call(command, words.iter().chain(&["--json"])).finish();
        assert!(!told.status.success(), "{command} {words:?}");
        assert_eq!(
            (told.error_code().as_str(), told.json()["error"]["remediation"].is_string()),
            (code, true)
        );
        assert!(told.out().contains(named), "{named:?} is not in {}", told.out());
    };
    for [flag, value, named] in [
        ["--cols", "0", "--cols"],
        ["--rows", "0", "--rows"],
        ["--cols", "10001", "--cols"],
        ["--env", "=x", "=x"],
    ] {
        refused("shell open", &[flag, value], "invalid-argument", named);
    }
    for [flag, value] in [["--cwd", "/no/such/directory"], ["--user", "nosuchuser"]] {
        let told = workspace.call("shell open", [flag, value]).finish();
        assert!(matches!(told.status.code(), Some(125..=127)), "{}", told.err());
        told.explains(&[value]);
    }
    workspace
        .call("shell open", ["--", "no-such-program"])
        .finish()
        .exits(127)
        .explains(&["no-such-program"]);
    let shell = workspace.open(&[], &["cat"]);
    refused("shell signal", &[&shell.id, "--signal", "NOPE"], "invalid-argument", "NOPE");
    refused("shell resize", &[&shell.id, "--cols", "0", "--rows", "0"], "invalid-argument", "--cols");
    refused("shell read", &[&shell.id, "--until", "("], "invalid-argument", "--until");
    refused("shell read", &[&shell.id, "--max-chars", "0"], "invalid-argument", "--max-chars");
    refused("shell read", &["0123456789ab"], "shell-unknown", "0123456789ab");
    let running = workspace.shells().into_iter().filter(|shell| shell["state"] == "running").count();
    assert_eq!(running, 1);
}
