//! Programs that take a terminal for what it is, in shells.

use crate::support::{Machine, Shell, wait_until};

/// Ends the typing of a line-wise program.
const END_OF_INPUT: &str = "\u{4}";
/// Stops what runs in the foreground.
const SUSPEND: &str = "\u{1a}";

/// Lines that the editor marks as beyond the end of its file.
fn empty(screen: &str) -> usize {
    screen.lines().filter(|line| line.starts_with('~')).count()
}

#[test]
fn an_editor_edits() {
    // Promise: a full-screen program is seen as it stands, follows the window's size, and takes keys.
    let machine = Machine::with_programs();
    let workspace = machine.workspace(&[]);
    let shell = workspace.open(&["--cols", "60", "--rows", "12"], &["vim", "note.txt"]);
    shell.wait_for_screen("an empty buffer", |screen| {
        screen.contains("\"note.txt\" [New]") && empty(screen) == 10
    });
    shell.press("ihello, wörld\r日本 two");
    shell.wait_for_screen("two lines", |screen| screen.starts_with("hello, wörld\n日本 two\n"));
    shell.call("resize", ["--cols", "50", "--rows", "8"]).finish().exits(0);
    shell.wait_for_screen("fewer lines", |screen| screen.lines().count() == 8 && empty(screen) == 5);
    let told = shell.call("read", ["--screen", "--json", "--wait-for-idle-ms", "0"]).finish().exits(0).json();
    assert_eq!(told["screen_cursor"]["row"], 1, "{told}");
    shell.press("\u{1b}:wq\r");
    assert_eq!(shell.end(), ("exited".to_owned(), Some(0)));
    assert_eq!(workspace.shell("cat note.txt"), "hello, wörld\n日本 two\n");
    // Lines are what a person has seen of it all: the editor has given the screen back.
    let told = shell.call("read", ["--plain"]).finish();
    assert!(!told.exits(0).out().contains(['\u{1b}', '~']), "{:?}", told.out());
}

#[test]
fn a_screen_that_refreshes_is_read_fresh() {
    // Promise: reading the screen gives what is there now, however long the program has been drawing.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let shell = workspace.open(&["--cols", "80", "--rows", "10"], &["top", "-d", "0.3"]);
    let first = shell.wait_for_screen("a table", |screen| screen.contains("  PID USER"));
    assert!(first.starts_with("top - ") && first.lines().count() <= 10, "{first}");
    workspace.detach(&["sh", "-c", "while :; do :; done"]);
    shell.wait_for_screen("who is busy", |screen| {
        let busiest = screen.lines().find(|line| line.trim_end().ends_with(" sh"));
        busiest.is_some_and(|line| line.contains(" R "))
    });
    shell.press("q");
    assert_eq!(shell.end(), ("exited".to_owned(), Some(0)));
}

#[test]
fn an_interpreter_is_talked_to() {
    // Promise: an interactive interpreter is asked line by line, is interrupted, and ends at the end of its input.
    let machine = Machine::with_programs();
    let workspace = machine.workspace(&[]);
    let shell = workspace.open(&[], &["python3", "-q", "-i"]);
    shell.wait_for(">>> $");
    shell.write("def double(x):\n    return 2 * x\n");
    shell.wait_for(r"\n>>> $");
    shell.write("double('ab')");
    shell.wait_for("^'abab'\n>>> $");
    shell.write("while True: pass\n");
    shell.wait_for(r"\.\.\. \n$");
    shell.call("signal", [""; 0]).finish().exits(0);
    shell.wait_for("^KeyboardInterrupt\n>>> $");
    shell.write("print('after all')");
    shell.wait_for("^after all\n>>> $");
    shell.press(END_OF_INPUT);
    assert_eq!(shell.end(), ("exited".to_owned(), Some(0)));
}

#[test]
fn jobs_are_controlled() {
    // Promise: a shell in a shell has job control: jobs stop, go on behind and in front, and are interrupted alone.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let shell = workspace.open(&["--env", "PS1=ready> "], &["bash", "--norc"]);
    // Its line is there before it has the terminal.
    let until_in_front = |command: &str| {
        let script = format!("ps -eo stat=,args= | grep -Eqx '[RS]\\+ +{command}'");
        wait_until(&format!("{command} is in front"), || {
            workspace.exec(["sh", "-c", &script]).finish().status.success()
        });
    };
    let jobs = |shell: &Shell<'_>, pattern: &str| {
        shell.write("jobs");
        shell.wait_for(pattern);
    };
    shell.wait_for("ready> $");
    shell.write("sleep 1001");
    shell.wait_for("sleep 1001\n$");
    until_in_front("sleep 1001");
    shell.press(SUSPEND);
    shell.wait_for(r"Stopped +sleep 1001\nready> $");
    shell.write("bg");
    shell.wait_for(r"sleep 1001 &\nready> $");
    jobs(&shell, r"Running +sleep 1001 &\nready> $");
    shell.write("fg");
    shell.wait_for("\nsleep 1001\n$");
    until_in_front("sleep 1001");
    shell.call("signal", ["--signal", "TSTP"]).finish().exits(0);
    shell.wait_for(r"Stopped +sleep 1001\nready> $");
    shell.write("fg");
    shell.wait_for("\nsleep 1001\n$");
    until_in_front("sleep 1001");
    shell.call("signal", ["--signal", "INT"]).finish().exits(0);
    shell.wait_for("ready> $");
    shell.write("echo status=$?; jobs; cat");
    shell.wait_for("^status=130\n$");
    until_in_front("cat");
    shell.press("\u{3}");
    shell.wait_for(r"\^C\nready> $");
    shell.write("sleep 1002 & exit 4");
    assert_eq!(shell.end(), ("exited".to_owned(), Some(4)));
}
