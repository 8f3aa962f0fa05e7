//! Sitting at a shell, on a real terminal.

use rustix::process::Signal;

use crate::support::{Machine, Shell, Tmux, Workspace, wait_until};

/// Leaves a shell.
const DETACH: &str = "C-]";

/// What the host's shell says when it waits for a line.
const PROMPT: &str = "host$";

/// Sits down at a shell; waits until keys go there.
fn attach(tmux: &Tmux<'_>, workspace: &Workspace<'_>, shell: &Shell<'_>) {
    tmux.type_line(&format!("pyro workspace shell attach {} {}", workspace.id, shell.id));
    wait_until("the terminal is raw", || tmux.mode().contains("-icanon"));
}

/// The host's shell has the terminal back as it was.
fn assert_restored(tmux: &Tmux<'_>, before: &str) {
    wait_until("the terminal has its mode back", || tmux.mode() == before);
    for (property, value) in [
        ("alternate_on", "0"),
        ("cursor_flag", "1"),
        ("mouse_any_flag", "0"),
        ("keypad_cursor_flag", "0"),
        ("keypad_flag", "0"),
        ("insert_flag", "0"),
    ] {
        assert_eq!(tmux.property(property), value, "{property}");
    }
    tmux.type_line("echo here$((1+1))");
    tmux.wait_for("here2");
    tmux.type_line("clear");
    tmux.wait_until("an empty screen", |pane| pane.trim_end() == PROMPT);
}

#[test]
fn somebody_sits_at_a_shell_and_leaves() {
    // Promise: keys, sizes and screens pass between a terminal and a shell; Ctrl-] leaves the shell running, and the
    // terminal as it was; who comes back finds the screen he left.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let shell = workspace.open(&[], &["bash", "--norc"]);
    let tmux = Tmux::start(&machine, 100, 30);
    let before = tmux.mode();
    attach(&tmux, &workspace, &shell);
    tmux.type_line("stty size; tty; cd /tmp");
    tmux.wait_for("30 100");
    tmux.order(&["resize-window", "-x", "90", "-y", "25"]);
    wait_until("the shell's terminal follows", || {
        shell.record()["cols"] == 90 && shell.record()["rows"] == 25
    });
    tmux.type_line("stty size");
    tmux.wait_for("25 90");
    // Keys that the host's terminal would obey are the guest's.
    tmux.type_line("sleep 1000");
    wait_until("it sleeps", || workspace.runs("sleep 1000"));
    tmux.press("C-c");
    wait_until("it sleeps no more", || !workspace.runs("sleep 1000"));
    tmux.type_line("echo $((6*7)); echo \"$PWD\"");
    tmux.wait_for("42");
    tmux.press(DETACH);
    tmux.wait_until("the host's shell", |pane| {
        pane.contains("detached=True") && pane.trim_end().ends_with(PROMPT)
    });
    assert_restored(&tmux, &before);
    assert_eq!(shell.state(), "running");
    // Two sit at one shell: each sees what the other types.
    attach(&tmux, &workspace, &shell);
    tmux.wait_for("42");
    shell.write("echo typed by somebody else");
    tmux.wait_for("typed by somebody else");
    tmux.type_line("exit 3");
    tmux.wait_until("the end", |pane| pane.contains("exit_code=3") && pane.trim_end().ends_with(PROMPT));
    assert_restored(&tmux, &before);
    tmux.type_line(&format!("pyro workspace shell attach {} {}; echo status $?", workspace.id, shell.id));
    tmux.wait_for("status 125");
}

#[test]
fn an_editor_is_left_and_found_again() {
    // Promise: leaving a full-screen program gives the terminal's own screen and modes back; coming back draws it anew.
    let machine = Machine::with_programs();
    let workspace = machine.workspace(&[]);
    let shell = workspace.open(&["--cols", "70", "--rows", "20"], &["vim", "-c", "set mouse=a", "note.txt"]);
    let tmux = Tmux::start(&machine, 80, 24);
    let before = tmux.mode();
    attach(&tmux, &workspace, &shell);
    tmux.wait_until("the editor", |pane| pane.starts_with("\n~\n"));
    assert_eq!(tmux.property("alternate_on"), "1");
    tmux.type_in("ihello");
    tmux.wait_until("what was typed", |pane| pane.starts_with("hello\n~\n") && pane.contains("-- INSERT --"));
    tmux.press(DETACH);
    tmux.wait_until("the host's shell", |pane| {
        pane.contains("detached=True") && pane.trim_end().ends_with(PROMPT)
    });
    assert_restored(&tmux, &before);
    shell.press(", world");
    attach(&tmux, &workspace, &shell);
    tmux.wait_until("all of it", |pane| pane.starts_with("hello, world\n~\n"));
    tmux.press("Escape");
    tmux.type_line(":wq");
    tmux.wait_until("the end", |pane| pane.contains("exit_code=0") && pane.trim_end().ends_with(PROMPT));
    assert_restored(&tmux, &before);
    assert_eq!(workspace.shell("cat note.txt"), "hello, world\n");
}

#[test]
fn whatever_ends_the_client_the_terminal_is_given_back() {
    // Promise: a signal, a crash, a closed shell or the end of the VM leave a terminal that works, and the first two the shell.
    let machine = Machine::with_programs();
    let workspace = machine.workspace(&[]);
    let tmux = Tmux::start(&machine, 80, 24);
    let before = tmux.mode();
    let shell = workspace.open(&[], &["vim", "-c", "set mouse=a", "note.txt"]);
    for signal in [Signal::TERM, Signal::HUP, Signal::ABORT, Signal::KILL] {
        attach(&tmux, &workspace, &shell);
        tmux.wait_until("the editor", |pane| pane.lines().filter(|line| *line == "~").count() > 10);
        println!("{signal:?}");
        tmux.foreground().signal(signal);
        // The prompt may have come on the screen that was given back.
        wait_until("the terminal is given back", || {
            tmux.mode() == before && tmux.property("alternate_on") == "0"
        });
        tmux.press("Enter");
        tmux.wait_until("the host's shell", |pane| pane.trim_end().ends_with(PROMPT));
        assert_restored(&tmux, &before);
        assert_eq!(shell.state(), "running", "{signal:?}");
    }
    attach(&tmux, &workspace, &shell);
    shell.close();
    tmux.wait_until("the host's shell", |pane| pane.trim_end().ends_with(PROMPT));
    assert_restored(&tmux, &before);
    let shell = workspace.open(&[], &["vim", "note.txt"]);
    attach(&tmux, &workspace, &shell);
    workspace.vmm().signal(Signal::KILL);
    tmux.wait_until("the host's shell", |pane| pane.trim_end().ends_with(PROMPT));
    assert_restored(&tmux, &before);
    assert_eq!(shell.state(), "lost");
}
