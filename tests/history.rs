//! The history of a workspace: every command with its output.

use crate::support::Machine;

#[test]
fn commands_and_their_outputs_are_kept() {
    // Promise: `logs` has every command with its output, its end and its place, running VM or not.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    workspace.shell("echo out; echo err >&2");
    workspace.exec(["sh", "-c", "exit 3"]).finish().exits(3);
    workspace.call("exec", ["--timeout-seconds", "1", "--", "sleep", "60"]).finish().exits(124);
    workspace.exec(["no-such-command"]).finish().exits(127);
    workspace.call("stop", [""; 0]).finish().exits(0);
    let told = workspace.call("logs", ["--json"]).finish().exits(0).json();
    let entries = told["entries"].as_array().unwrap();
    let ends: Vec<_> =
        entries.iter().map(|entry| (entry["state"].as_str().unwrap(), entry["exit_code"].as_u64())).collect();
    assert_eq!(
        ends,
        [("exited", Some(0)), ("exited", Some(3)), ("timed_out", Some(124)), ("failed", Some(127))]
    );
    assert_eq!((&entries[0]["stdout"], &entries[0]["stderr"]), (&"out\n".into(), &"err\n".into()));
    let told = workspace.call("logs", ["--sequence", "1"]).finish();
    told.exits(0).says("out\n").explains(&["err\n", "sequence=1", "exit_code=0"]);
    let told = workspace.call("logs", ["--sequence", "9"]).finish();
    told.exits(125).explains(&["has no command 9"]);
    assert!(
        workspace.call("status", [""; 0]).finish().out().contains("State: stopped"),
        "reading starts nothing"
    );
}

#[test]
fn long_outputs_keep_head_and_tail_and_stream_whole() {
    // Promise: what is kept of an output is bounded, the cut is counted, and streaming is never cut.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let lines = 400_000;
    let told = workspace.exec(["seq", "1", &lines.to_string()]).finish();
    let whole: String = (1..=lines).map(|line| format!("{line}\n")).collect();
    assert!(told.exits(0).out() == whole, "the stream has every line");
    let entry =
        workspace.call("logs", ["--sequence", "1", "--json"]).finish().exits(0).json()["entries"][0].clone();
    let (kept, cut) = (entry["stdout"].as_str().unwrap(), entry["stdout_bytes_cut"].as_u64().unwrap());
    assert!(kept.starts_with("1\n2\n") && kept.ends_with(&format!("{lines}\n")));
    assert!(cut > 0 && kept.len() < 1_100_000);
    assert_eq!(entry["stdout_bytes"].as_u64().unwrap(), whole.len() as u64);
    assert_eq!(cut + (512 * 1024) * 2, whole.len() as u64);
}

#[test]
fn detached_commands_outlive_their_client() {
    // Promise: a detached command goes on without its client; its output can be followed, from its start.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let script = "echo first; while [ ! -e go ]; do sleep 0.1; done; echo last; exit 5";
    let told =
        workspace.call("exec", ["--detach", "--timeout-seconds", "120", "--", "sh", "-c", script]).finish();
    let sequence = told.exits(0).out().trim().to_owned();
    let following = workspace.call("logs", ["--sequence", &sequence, "--follow"]).start();
    following.wait_for_out("first\n");
    let state = |sequence: &str| {
        let told = workspace.call("logs", ["--sequence", sequence, "--json"]).finish().exits(0).json();
        told["entries"][0]["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state(&sequence), "running");
    workspace.shell("touch go");
    following.finish().exits(5).says("first\nlast\n");
    assert_eq!(state(&sequence), "exited");
    workspace.call("exec", ["--detach", "--", "no-such-command"]).finish().exits(127);
    let told = workspace.call("logs", ["--sequence", &sequence, "-f"]).finish();
    told.exits(0).says("first\nlast\n");
}

#[test]
fn a_client_that_dies_takes_its_command_along() {
    // Promise: killing the client kills the whole process tree in the guest.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let running = workspace.exec(["sh", "-c", "sleep 1000 & echo begun; sleep 1000"]).start();
    running.wait_for_out("begun\n");
    running.signal(rustix::process::Signal::KILL);
    drop(running.finish());
    crate::support::wait_until("the processes are gone", || {
        !workspace.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").contains("sleep 1000")
    });
}

#[test]
fn commands_that_their_vm_takes_along_are_lost() {
    // Promise: a command whose VM is killed is recorded as lost, with what it had written.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let running = workspace.exec(["sh", "-c", "echo begun; sleep 1000"]).start();
    running.wait_for_out("begun\n");
    for process in crate::support::Process::all() {
        if process.words[0].contains("qemu") && process.concerns(machine.root()) {
            process.try_signal(rustix::process::Signal::KILL);
        }
    }
    running.finish().exits(125).explains(&["QEMU ended with signal 9"]);
    let told = workspace.call("logs", ["--json"]).finish().exits(0).json();
    assert_eq!(told["entries"][0]["state"], "lost");
    assert_eq!(told["entries"][0]["stdout"], "begun\n");
    assert_eq!(workspace.shell("echo works again"), "works again\n");
}

#[test]
fn a_summary_reviews_commands_and_changes() {
    // Promise: one page says what happened.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    workspace.shell("mkdir d; echo a > d/a; echo b > b");
    workspace.exec(["false"]).finish().exits(1);
    let page = workspace.call("summary", [""; 0]).finish().exits(0).out();
    for line in [
        "Commands: 2 total, 1 succeeded, 1 failed, 0 running",
        "- 2 [1] false",
        "Changes: 3 total, 3 added",
        "- added d/a",
    ] {
        assert!(page.contains(line), "{line:?} is not in:\n{page}");
    }
    let told = workspace.call("summary", ["--json"]).finish().exits(0).json();
    assert_eq!(told["changes"]["added"], 3);
    assert_eq!(told["commands"]["failed"], 1);
}
