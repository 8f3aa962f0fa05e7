//! Bytes in and out of a command.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::support::{Machine, Process};

const MIB: usize = 1024 * 1024;

/// Memory that a client or a supervisor may take, whatever flows through it.
const PEAK_KIB_MAX: u64 = 128 * 1024;

#[test]
fn stdout_and_stderr_stay_apart() {
    // Promise: what the command writes to each stream comes out of the same one.
    let machine = Machine::new();
    let split = machine.shell("echo out; echo err >&2").finish();
    split.exits(0).says("out\n").explains(&["err\n", "[run] phase=execute"]);
    assert!(!split.err().contains("out\n"));
}

#[test]
fn output_comes_as_it_is_produced() {
    // Promise: nobody waits for a command's end to see its beginning.
    let machine = Machine::new();
    let mut running =
        machine.run_with(&["-i"], ["sh", "-c", "echo first; read line; echo \"then $line\""]).start();
    running.wait_for_out("first\n");
    running.send("second\n");
    running.finish().exits(0).says("first\nthen second\n");
}

#[test]
fn a_hundred_megabytes_come_out_whole() {
    // Promise: much output arrives whole, in bounded memory on every process of the way.
    let machine = Machine::new();
    let script = "yes 0123456789abcde | head -c 104857600; echo all >&2; read line";
    let mut running = machine.run_with(&["-i", "--timeout-seconds", "200"], ["sh", "-c", script]).start();
    running.wait_for_err("all\n");
    let peaks = [Process::peak_kib(running.pid()), Process::peak_kib(running.shim().pid)];
    assert!(peaks.iter().all(|peak| *peak < PEAK_KIB_MAX), "{peaks:?} KiB");
    running.send("\n");
    let out = running.finish();
    out.exits(0);
    assert_eq!(out.stdout.len(), 100 * MIB);
    // Of period 16, and the first period right: then every byte is.
    assert!(out.stdout.starts_with(b"0123456789abcde\n") && out.stdout[16..] == out.stdout[..100 * MIB - 16]);
}

#[test]
fn a_hundred_megabytes_go_in_whole() {
    // Promise: standard input of any length reaches the command whole, with its end.
    let machine = Machine::new();
    let input = pattern(100 * MIB);
    let expected = sha256(&input);
    let call = machine.run_with(&["-i", "--timeout-seconds", "200"], ["sh", "-c", "cat | sha256sum"]);
    assert_eq!(call.input(input).finish().exits(0).out(), expected);
}

#[test]
fn every_byte_goes_through_both_ways() {
    // Promise: streams are bytes, not text.
    let machine = Machine::new();
    let input = pattern(MIB + 7);
    let echoed = machine.run_with(&["-i"], ["cat"]).input(input.clone()).finish();
    echoed.exits(0);
    assert!(echoed.stdout == input);
    let echoed = machine.run_with(&["-i"], ["sh", "-c", "cat >&2"]).input(input.clone()).finish();
    assert!(echoed.exits(0).stderr.windows(4096).any(|part| part == &input[..4096]));
}

#[test]
fn input_stays_out_unless_it_is_asked_for() {
    // Promise: without -i a command sees an empty standard input, and the caller's is left unread.
    let machine = Machine::new();
    machine.run(["cat"]).input("unasked").finish().exits(0).says("");
    // An input that never ends holds nothing up.
    let running = machine.run(["cat"]).start();
    running.finish().exits(0).says("");
}

#[test]
fn a_command_may_leave_its_input_unread() {
    // Promise: a command that ends early ends the call, however much input was to come.
    let machine = Machine::new();
    let call = machine.run_with(&["-i"], ["head", "-c", "4"]);
    call.input(pattern(8 * MIB)).finish().exits(0).says("\u{0}\u{1}\u{2}\u{3}");
}

#[test]
fn a_reader_that_leaves_ends_the_command() {
    // Promise: `pyro run … | head -1` ends at once, and the VM with it.
    let machine = Machine::new();
    let mut command = machine.run_with(&["--timeout-seconds", "200"], ["yes"]).into_command();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = [0; 2];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"y\n");
    drop(stdout);
    assert_eq!(child.wait().unwrap().code(), Some(128 + 13));
}

#[test]
fn a_slow_reader_loses_nothing() {
    // Promise: a reader that pauses holds the command up and nothing else; then it gets the rest.
    let machine = Machine::new();
    let mut command = machine.shell("yes 0123456 | head -c 8388608; echo done >&2").into_command();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let mut all = vec![0; 1];
    stdout.read_exact(&mut all).unwrap();
    // Windows on the way hold a few hundred KiB; 8 MiB cannot have gone anywhere before this reads on.
    let shim = Process::shims_of(child.id()).pop().unwrap();
    assert!(Process::peak_kib(shim.pid) < PEAK_KIB_MAX);
    stdout.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), 8 * MIB);
    assert!(child.wait().unwrap().success());
    let mut told = String::new();
    stderr.read_to_string(&mut told).unwrap();
    assert!(told.contains("done\n"), "{told}");
}

#[test]
fn a_background_process_holds_nothing_up() {
    // Promise: `run` ends with its command, not with what that has left running.
    let machine = Machine::new();
    machine.shell("sleep 1000 & echo left").finish().exits(0).says("left\n");
    let detached = "setsid sh -c 'exec sleep 1000' >/dev/null 2>&1 </dev/null & echo left";
    machine.shell(detached).finish().exits(0).says("left\n");
}

#[test]
fn a_closed_stdout_is_no_trouble_to_a_silent_command() {
    // Promise: only who writes to a stream needs it.
    let machine = Machine::new();
    let mut command = machine.run(["true"]).into_command();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Bytes of every value, without a short period.
fn pattern(length: usize) -> Vec<u8> {
    let block: Vec<u8> = (0..=u8::MAX).collect();
    let mut bytes = Vec::with_capacity(length + 512);
    let mut round: u32 = 0;
    while bytes.len() < length {
        bytes.extend_from_slice(&block);
        bytes.extend_from_slice(&round.to_le_bytes());
        round += 1;
    }
    bytes.truncate(length);
    bytes
}

/// What `cat | sha256sum` prints for it.
fn sha256(bytes: &[u8]) -> String {
    let mut child = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), bytes).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}
