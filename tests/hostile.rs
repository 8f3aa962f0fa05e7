//! Guests that do their worst to themselves.

use crate::support::Machine;

#[test]
fn a_fork_bomb_ends_at_its_time_limit() {
    // Promise: a guest that forks without end is ended in time, and the next VM does not notice.
    let machine = Machine::new();
    let bomb = "b() { b | b & b; }; b";
    let ended = machine.run_with(&["--timeout-seconds", "5", "--json"], ["bash", "-c", bomb]).finish();
    // The shell may lose its own race for processes before its time is over.
    assert!(matches!(ended.status.code(), Some(124 | 254)), "{:?} {}", ended.status, ended.out());
    assert_eq!(ended.json()["cleanup"]["deleted"], true);
    machine.run(["echo", "fine"]).finish().exits(0).says("fine\n");
}

#[test]
fn a_command_that_fills_the_memory_is_told_so() {
    // Promise: out of memory is told apart from other kills, and the guest's agent survives it.
    let machine = Machine::new();
    let options = ["--mem-mib", "256", "--timeout-seconds", "120"];
    let told = machine.run_with(&[&options[..], &["--json"]].concat(), ["tail", "/dev/zero"]).finish();
    let told = told.exits(137).json();
    assert_eq!((&told["reason"], &told["exit_code"]), (&"out_of_memory".into(), &137.into()));
    let ended = machine.run_with(&options, ["tail", "/dev/zero"]).finish();
    ended.exits(137).explains(&["ran out of memory (256 MiB)", "--mem-mib"]);
    let survived = machine.run_with(&options, ["sh", "-c", "tail /dev/zero; echo alive"]).finish();
    survived.exits(0).says("alive\n").explains(&["ran out of memory"]);
}

#[test]
fn a_full_disk_is_an_error_inside() {
    // Promise: a guest that fills its disk gets ENOSPC, goes on, and takes nothing from the next.
    let machine = Machine::new();
    let script = "i=0; while fallocate -l 4G /big$i 2>/dev/shm/why; do i=$((i+1)); done
        [ $i -ge 4 ] && grep -o 'No space left on device' /dev/shm/why
        while fallocate -l 1M /small$i 2>/dev/null; do i=$((i+1)); done
        head -c 2097152 /dev/zero > /more 2>/dev/null || echo full
        rm -f /big* /more /small*; echo again > /again && cat /again";
    machine.shell(script).finish().exits(0).says("No space left on device\nfull\nagain\n");
    machine.shell("ls / | grep -c again").finish().exits(1).says("0\n");
}

#[test]
fn the_first_process_cannot_be_killed() {
    // Promise: no signal from inside ends the guest's agent.
    let machine = Machine::new();
    machine.shell("for s in 9 15 11 6 19; do kill -$s 1; done; echo alive").finish().exits(0).says("alive\n");
    // Everybody but the caller and the first process (kill(2)).
    machine.shell("kill -9 -1; echo alive").finish().exits(0).says("alive\n");
}

#[test]
fn a_panic_shows_the_end_of_the_console() {
    // Promise: a guest whose kernel panics gives one clear error with the console's last lines, soon.
    let machine = Machine::new();
    let ended = machine.shell("echo before; sleep 1; echo c > /proc/sysrq-trigger").finish();
    ended.exits(125).says("before\n");
    ended.explains(&[
        "kernel panicked: sysrq triggered crash",
        "end of the guest's console:",
        "Kernel panic - not syncing",
    ]);
    let told = machine.run_with(&["--json"], ["sh", "-c", "echo c > /proc/sysrq-trigger"]).finish();
    told.exits(125);
    assert_eq!(told.error_code(), "guest-panicked");
    assert!(told.json()["error"]["console"].as_str().unwrap().contains("Kernel panic"));
}

#[test]
fn a_guest_that_powers_off_or_restarts_is_told() {
    // Promise: a VM that ends itself is pyro's failure, not the command's success; it does not boot again.
    let machine = Machine::new();
    let magic = "0xfee1dead, 0x28121969";
    for (ending, said) in [("0x4321fedc", "the guest powered off"), ("0x01234567", "the guest restarted")] {
        let reboot = format!("syscall(169, {magic}, {ending}, 0); sleep 1000");
        machine.run(["perl", "-e", &reboot]).finish().exits(125).explains(&[said]);
    }
    let told =
        machine.run_with(&["--json"], ["sh", "-c", "echo b > /proc/sysrq-trigger; sleep 1000"]).finish();
    told.exits(125);
    assert_eq!(told.error_code(), "guest-ended");
}

#[test]
fn escape_sequences_of_a_guest_do_not_reach_the_terminal_in_errors() {
    // Promise: what a guest puts into an error is shown, not obeyed.
    let machine = Machine::new();
    let ended = machine.run(["no\u{1b}[31msuch"]).finish();
    ended.exits(127).explains(&["\\u{1b}[31m"]);
    let script = "printf '\\033]0;owned\\007' > /dev/console; printf '<0>\\033[2Jx\\n' > /dev/kmsg; sleep 1; echo c > /proc/sysrq-trigger";
    let ended = machine.shell(script).finish();
    ended.exits(125);
    assert!(!ended.stderr.contains(&0x1b) && !ended.stderr.contains(&7), "{:?}", ended.err());
}

#[test]
fn a_command_that_stops_itself_is_ended() {
    // Promise: a command that stands still, and everybody it could stop, are ended at the time limit.
    let machine = Machine::new();
    let ended =
        machine.run_with(&["--timeout-seconds", "2"], ["sh", "-c", "kill -STOP -1; kill -STOP $$"]).finish();
    ended.exits(124);
}
