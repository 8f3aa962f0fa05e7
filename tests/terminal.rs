//! Commands on a terminal.

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Machine, Terminal};

#[test]
fn a_command_gets_a_terminal_of_the_right_size() {
    // Promise: -t gives the command a terminal of its own, as large as the caller's, and follows its size.
    let machine = Machine::new();
    let script = "tty; stty size; trap 'stty size; echo resized' WINCH; echo ready; while :; do read -t 0.2 line && { echo \"got $line\"; exit 5; }; done";
    let call =
        machine.run_with(&["-it", "--timeout-seconds", "120"], ["bash", "-c", script]).env("TERM", "xterm");
    let mut terminal = Terminal::start(call, 111, 44);
    terminal.wait_for("ready");
    let shown = terminal.shown();
    assert!(shown.contains("/dev/pts/") && shown.contains("44 111"), "{shown:?}");
    terminal.wait_until_raw();
    terminal.resize(99, 33);
    // bash runs a trap when its read is over, which takes a moment at most.
    terminal.wait_for("33 99");
    terminal.press("end\r");
    let status = terminal.wait();
    assert_eq!(status.code(), Some(5));
    assert!(!terminal.is_raw(), "the terminal has its mode back");
    assert!(terminal.finish().1.contains("got end"));
}

#[test]
fn keys_reach_the_command_not_the_client() {
    // Promise: on -it Ctrl-C interrupts what runs in the guest, and the client lives on.
    let machine = Machine::new();
    // What is interrupted says itself that it is there: a key that came before it would interrupt nothing.
    let script = "trap 'echo interrupted' INT; sh -c 'echo ready; exec sleep 1000'; \
                  echo after; read line; echo \"got $line\"";
    let call = machine.run_with(&["-it", "--timeout-seconds", "120"], ["bash", "-c", script]);
    let mut terminal = Terminal::start(call, 80, 24);
    terminal.wait_for("ready");
    terminal.wait_until_raw();
    terminal.press("\u{3}");
    terminal.wait_for("after");
    assert!(terminal.shown().contains("interrupted"));
    terminal.press("x\r");
    let (status, shown) = terminal.finish();
    assert_eq!(status.code(), Some(0), "{shown}");
    assert!(shown.contains("got x"), "{shown}");
}

#[test]
fn the_terminal_type_goes_along() {
    // Promise: programs inside know what terminal they are on.
    let machine = Machine::new();
    let call = machine.run_with(&["-it"], ["sh", "-c", "echo type=$TERM"]).env("TERM", "screen-256color");
    let (status, shown) = Terminal::start(call, 80, 24).finish();
    assert!(status.success() && shown.contains("type=screen-256color"), "{shown:?}");
}

#[test]
fn a_terminal_without_input_works_in_a_pipe() {
    // Promise: -t alone makes programs think they write to a terminal, of the product's default size.
    let machine = Machine::new();
    let told = machine
        .run_with(&["-t"], ["sh", "-c", "test -t 1 && stty size </dev/tty; test -t 2 && echo both"])
        .finish();
    told.exits(0).says("30 120\r\nboth\r\n");
}

#[test]
fn input_without_a_terminal_is_a_pipe() {
    // Promise: -i alone gives the command no terminal.
    let machine = Machine::new();
    let call = machine.run_with(&["-i"], ["sh", "-c", "test -t 0 || echo pipe; cat"]);
    call.input("in\n").finish().exits(0).says("pipe\nin\n");
}

#[test]
fn a_terminal_is_restored_whatever_ends_the_command() {
    // Promise: after a signal to the client the terminal is as it was.
    let machine = Machine::new();
    let call = machine.run_with(&["-it", "--timeout-seconds", "120"], ["sh", "-c", "echo ready; sleep 1000"]);
    let mut terminal = Terminal::start(call, 80, 24);
    terminal.wait_for("ready");
    terminal.wait_until_raw();
    let client = Pid::from_raw(terminal.pid().try_into().unwrap()).unwrap();
    kill_process(client, Signal::TERM).unwrap();
    assert_eq!(terminal.wait().code(), Some(143));
    assert!(!terminal.is_raw());
}

#[test]
fn a_shell_is_a_shell() {
    // Promise: an interactive shell has job control, and ends with Ctrl-D.
    let machine = Machine::new();
    let call = machine.run_with(&["-it", "--timeout-seconds", "120"], ["bash", "--norc", "-i"]);
    let mut terminal = Terminal::start(call.env("TERM", "xterm"), 80, 24);
    terminal.wait_until_raw();
    terminal.press("sleep 1000 & jobs; echo one$((1+1))\r");
    terminal.wait_for("one2");
    assert!(terminal.shown().contains("Running"), "{:?}", terminal.shown());
    terminal.press("kill %1; exit 3\r");
    let (status, shown) = terminal.finish();
    assert_eq!(status.code(), Some(3), "{shown}");
    assert!(!shown.contains("no job control"), "{shown}");
}
