//! Whatever comes out of a shell, and whoever reads and writes it.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{HANG_SECONDS_MAX, Machine, Process};

/// A gigabyte in lines of eight kibibytes.
const FLOOD: &str =
    "$block = ('x' x 8191 . qq(\n)) x 8; print $block for 1..15259; print qq(the end\n); sleep 1000";
/// What it is with the carriage returns that the terminal adds.
const FLOOD_BYTES: u64 = 15_259 * 8 * 8_193 + 9;

/// A build without optimization needs longer to show all that is kept than the flood needs to replace it.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const LOOKS_PER_COMMAND: u32 = 3;

/// More than this a shim never needs, in KiB; a gigabyte that was kept would show.
const SHIM_KIB_MAX: u64 = 128 * 1024;

#[test]
fn a_gigabyte_passes_through() {
    // Promise: a flood keeps its end, is bounded on disk and in memory, says what was lost, and blocks nobody.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let shell = workspace.open(&[], &["perl", "-e", FLOOD]);
    let (mut passed, mut progress) = (0, Instant::now());
    let mut looks = 0;
    loop {
        // A command now and then; while one runs, floods make way for it.
        if looks % LOOKS_PER_COMMAND == 0 {
            assert_eq!(workspace.shell("echo alive"), "alive\n");
        }
        looks += 1;
        let told =
            shell.call("read", ["--json", "--max-chars", "2000000", "--wait-for-idle-ms", "500"]).finish();
        let told = told.exits(0).json();
        let cursor = told["next_cursor"].as_u64().unwrap();
        if cursor == FLOOD_BYTES {
            break;
        }
        // How long all of it takes is the emulator's matter.
        if cursor > passed {
            (passed, progress) = (cursor, Instant::now());
        }
        assert!(progress.elapsed() < HANG_SECONDS_MAX, "the flood hangs at {cursor}");
        sleep(LOOK_EVERY);
    }
    // The reading that saw the end may have begun before it, with bytes that have gone since.
    let tail = shell.call("read", ["--json", "--max-chars", "2000000"]).finish().exits(0).json();
    assert_eq!((&tail["cursor"], &tail["truncated"]), (&0.into(), &true.into()));
    let (first, output) = (tail["first_available"].as_u64().unwrap(), tail["output"].as_str().unwrap());
    assert!(output.ends_with("x\r\nthe end\r\n") && first + output.len() as u64 == FLOOD_BYTES);
    assert!(output.len() >= 1024 * 1024, "a MiB at least is kept: {}", output.len());
    // Who reads on where he was, and was too slow, hears of the loss and goes on with what is there.
    let told = shell.call("read", ["--cursor", "1000000", "--max-chars", "10"]).finish();
    told.exits(0).explains(&["truncated=True", &format!("first_available={first}")]);
    assert_eq!(told.stdout.len(), 10);
    let kept =
        std::process::Command::new("du").arg("-sk").arg(machine.root().join("state/workspaces")).output();
    let kept = String::from_utf8(kept.unwrap().stdout).unwrap();
    let kept_kib: u64 = kept.split('\t').next().unwrap().parse().unwrap();
    assert!(kept_kib < 8 * 1024, "{kept_kib} KiB are kept");
    let peak = Process::peak_kib(workspace.shim().unwrap().pid);
    assert!(peak < SHIM_KIB_MAX, "the supervisor had {peak} KiB");
}

#[test]
fn bytes_are_kept_as_they_are() {
    // Promise: a prompt without a newline is there at once; bytes that are no text stay what they are; a character that
    // comes in two parts is read in one.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let script = "stty -echo -opost; printf 'name? '; read name; printf 'a\\377\\376b\\300\\200'; read x; \
                  printf 'half \\342\\202'; read x; printf '\\254 whole'; read x; printf '\\342\\202'";
    let shell = workspace.open(&[], &["sh", "-c", script]);
    assert_eq!(shell.wait_for("name\\? $"), "name? ");
    shell.write("me");
    shell.wait_for("b");
    let raw = shell.call("read", ["--cursor", "6"]).finish();
    raw.exits(0);
    assert_eq!(raw.stdout, b"a\xff\xfeb\xc0\x80");
    let told = shell.call("read", ["--cursor", "6", "--json"]).finish().exits(0).json();
    assert!(told["output"].as_str().unwrap().starts_with("a\u{fffd}"), "{told}");
    assert_eq!(told["next_cursor"], 12);
    shell.write("");
    let told = shell.call("read", ["--cursor", "12", "--until", "half ", "--wait-ms", "120000"]).finish();
    told.exits(0).says("half ").explains(&["next_cursor=17"]);
    shell.write("");
    let told = shell.call("read", ["--cursor", "17", "--until", "whole", "--wait-ms", "120000"]).finish();
    told.exits(0).says("\u{20ac} whole");
    shell.write("");
    shell.end();
    let told = shell.call("read", ["--cursor", "26"]).finish();
    assert_eq!(told.exits(0).stdout, b"\xe2\x82", "what never became a character is given at the end");
}

#[test]
fn programs_that_let_go_of_their_terminal_are_still_theirs() {
    // Promise: a program that closes its terminal, or moves to the background, has not ended; its end is known when it does.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let script =
        "exec 0<&- 1>&- 2>&-; while [ ! -e go ]; do sleep 0.1; done; exec >/dev/tty; echo back; exit 6";
    let closing = workspace.open(&[], &["sh", "-c", script]);
    let leaving = workspace.open(&[], &["sh", "-c", "echo left behind; (sleep 1; sleep 1234) & exit 3"]);
    assert_eq!(leaving.end(), ("exited".to_owned(), Some(3)));
    leaving.wait_for("^left behind$");
    assert_eq!(closing.state(), "running");
    workspace.shell("touch go");
    closing.wait_for("^back$");
    assert_eq!(closing.end(), ("exited".to_owned(), Some(6)));
}

#[test]
fn windows_of_all_sizes_work() {
    // Promise: the widest terminal is as wide as it was asked to be, and the smallest is one.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let script = "stty size; printf '%09999d|\\n' 7; sleep 1000";
    let wide = workspace.open(&["--cols", "10000", "--rows", "100"], &["sh", "-c", script]);
    wide.wait_for("^100 10000\n0+7\\|$");
    let screen = wide.screen();
    assert_eq!(screen.lines().map(str::len).collect::<Vec<_>>(), ["100 10000".len(), 10_000]);
    let small = workspace.open(&["--cols", "1", "--rows", "1"], &["sh", "-c", "stty size; sleep 1000"]);
    small.wait_for("1 1");
    assert!(small.screen().chars().count() <= 1);
    wide.call("resize", ["--cols", "1", "--rows", "1"]).finish().exits(0);
    small.call("resize", ["--cols", "10000", "--rows", "100"]).finish().exits(0);
    assert_eq!(workspace.shell("stty size </dev/pts/0; stty size </dev/pts/1"), "1 1\n100 10000\n");
}

#[test]
fn readers_and_writers_share_a_shell() {
    // Promise: two readers read the same, each from where he is; what two writers type at once is not mixed within a call.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let script = "stty -echo -icanon; echo ready; cat > typed";
    let shell = workspace.open(&[], &["sh", "-c", script]);
    shell.wait_for("^ready$");
    let piece = |writer: usize, number: usize| format!("{writer}-{number} ").repeat(3_000);
    std::thread::scope(|scope| {
        for writer in 1..=2 {
            let shell = &shell;
            scope.spawn(move || {
                for number in 0..6 {
                    shell.call("write", [""; 0]).input(piece(writer, number) + "\n").finish().exits(0);
                }
            });
        }
    });
    let expected: BTreeSet<String> =
        (1..=2).flat_map(|writer| (0..6).map(move |number| piece(writer, number))).collect();
    crate::support::wait_until("all of it is typed", || workspace.shell("wc -l < typed").trim() == "12");
    let typed = workspace.shell("cat typed");
    assert_eq!(typed.lines().count(), 12);
    assert!(typed.lines().map(str::to_owned).collect::<BTreeSet<_>>() == expected, "lines are whole");
    for number in 0..6 {
        let place = |writer| typed.find(&piece(writer, number)).unwrap();
        assert!(
            number == 0
                || [1, 2]
                    .iter()
                    .all(|writer| typed.find(&piece(*writer, number - 1)).unwrap() < place(*writer))
        );
    }
    let counter =
        workspace.open(&[], &["sh", "-c", "for i in $(seq 1 2000); do echo line $i; done; echo over"]);
    let read = || counter.call("read", ["--until", "^over$", "--wait-ms", "120000"]).start();
    let (first, second) = (read(), read());
    let (first, second) = (first.finish(), second.finish());
    assert_eq!(first.exits(0).out(), second.exits(0).out());
    assert_eq!(first.out().lines().count(), 2_001);
}
