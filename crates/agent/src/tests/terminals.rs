//! Commands on a pseudo-terminal.

use super::host::{Host, exec, on_terminal, with_host};
use pyro_proto::agent::{Exec, Input, Outcome, Request, TerminalSize};

/// A command on a terminal has it as its controlling one, with the size and the name that were asked for.
#[test]
fn a_terminal_is_one() {
    with_host(async |host: &mut Host| {
        let done = host
            .run(on_terminal(
                "stty size; echo $TERM; tty; echo err >&2; true < /dev/tty && echo own",
                33,
                101,
            ))
            .await;
        let text = done.text();
        assert!(text.starts_with("33 101\r\nxterm\r\n/dev/pts/"), "{text:?}");
        assert!(text.ends_with("err\r\nown\r\n"), "{text:?}");
        assert_eq!((done.stderr.len(), done.outcome()), (0, Outcome::Code(0)));
    });
}

/// A resize is seen by the command, which is told with SIGWINCH.
#[test]
fn a_terminal_is_resized() {
    with_host(async |host: &mut Host| {
        let script = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.01; done";
        let stream = host.open(&Request::Exec(on_terminal(script, 24, 80))).await;
        host.until(stream, "ready").await;
        host.input(stream, Input::Resize(TerminalSize { rows: 50, columns: 132 })).await;
        host.until(stream, "50 132").await;
    });
}

/// The end of a host's input is the end of the terminal's, at the start of a line and within one.
#[test]
fn the_end_of_input_is_seen() {
    with_host(async |host: &mut Host| {
        for (sent, lines) in [("one\ntwo\n", 2), ("one\ntwo", 1), ("", 0)] {
            let done = host.run_with(on_terminal("stty -echo; cat | wc -l", 24, 80), sent.as_bytes()).await;
            assert!(done.text().contains(&lines.to_string()), "{sent:?}: {:?}", done.text());
        }
    });
}

/// A terminal that nobody types on keeps no reader waiting.
#[test]
fn a_terminal_without_input_ends() {
    with_host(async |host: &mut Host| {
        let stream =
            host.open(&Request::Exec(Exec { stdin: false, ..on_terminal("cat; echo done", 24, 80) })).await;
        host.until(stream, "done").await;
    });
}

/// A signal goes to the terminal's foreground, as a key press would.
#[test]
fn signals_go_to_the_foreground() {
    with_host(async |host: &mut Host| {
        let stream = host
            .open(&Request::Exec(on_terminal(
                "trap 'echo caught; exit 4' INT; echo ready; while :; do sleep 0.01; done",
                24,
                80,
            )))
            .await;
        host.until(stream, "ready").await;
        host.input(stream, Input::Signal(2)).await;
        host.until(stream, "caught").await;
        assert_eq!(host.finish(stream, b"").await.outcome(), Outcome::Code(4));
    });
}

/// The last output before an end is not lost on a terminal either.
#[test]
fn a_terminals_last_bytes_are_not_lost() {
    with_host(async |host: &mut Host| {
        for _ in 0..20 {
            let request = Exec { terminal: on_terminal("", 24, 80).terminal, ..exec(&["seq", "5000"]) };
            let done = host.run(request).await;
            assert!(done.text().ends_with("\r\n5000\r\n"));
            assert_eq!(done.stdout.iter().filter(|byte| **byte == b'\n').count(), 5000);
        }
    });
}
