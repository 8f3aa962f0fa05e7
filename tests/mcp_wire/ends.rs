//! The end of a server: its client closes its input, somebody tells it to end, or it is killed.

use std::os::unix::net::UnixStream;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::mcp::SERVER_END_SECONDS_MAX;
use crate::support::{Machine, Mcp, remains_of, wait_until};

/// A server in the middle of a command that goes on for ever, and does not like to be ended.
fn busy(machine: &Machine) -> Mcp {
    let mut mcp = machine.mcp_client(&["--profile", "vm-run"]);
    let command = "trap '' INT TERM HUP; echo begun; while :; do sleep 1; done";
    let id = mcp.begin("vm_run", json!({ "command": command, "timeout_seconds": 1000 }));
    mcp.wait_for_news(id, "begun");
    assert!(!remains_of(machine.root()).is_empty(), "a VM runs");
    mcp
}

#[test]
fn a_server_that_ends_takes_everything_along() {
    // Promise: a client that goes, and a signal, end the server in time with 0, and nothing of a running VM is left.
    let machine = Machine::new();
    let mut mcp = busy(&machine);
    mcp.close();
    mcp.ends();
    assert_eq!(remains_of(machine.root()), [""; 0]);
    for signal in [Signal::TERM, Signal::INT] {
        let mcp = busy(&machine);
        mcp.signal(signal);
        mcp.ends();
        assert_eq!(remains_of(machine.root()), [""; 0]);
    }
    let mcp = busy(&machine);
    mcp.signal(Signal::KILL);
    drop(mcp);
    machine.wait_until_clean();
}

#[test]
fn a_server_on_sockets_is_told_to_end() {
    // Promise: clients that give a server sockets instead of pipes, as some runtimes do, can end it by a signal too.
    let machine = Machine::empty();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = machine.pyro(["mcp", "serve"]).into_command();
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs.try_clone().unwrap())));
    command.stdout(Stdio::from(std::os::fd::OwnedFd::from(theirs))).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(command);
    std::io::Write::write_all(&mut &ours, b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n").unwrap();
    let mut answer = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(&ours), &mut answer).unwrap();
    assert!(answer.contains("\"result\":{}"), "{answer}");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let deadline = std::time::Instant::now() + SERVER_END_SECONDS_MAX;
    wait_until("the server ends", || {
        assert!(std::time::Instant::now() < deadline);
        child.try_wait().unwrap().is_some()
    });
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
