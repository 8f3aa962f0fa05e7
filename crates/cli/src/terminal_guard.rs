//! Gives a terminal back when this process cannot: a small shell that waits beside it, and does it when the process is
//! gone without a word, as after `kill -9`.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Its standard input ends with the process, its standard error is the terminal. It must survive what ends the process,
/// and may set a terminal that is in somebody else's foreground by then.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM TTOU TTIN TSTP PIPE
saved=$(stty -g <&2) || exit 0
echo ready
read -r over && exit 0
stty "$saved" <&2
printf '\033[?1000l\033[?1002l\033[?1003l\033[?1006l\033[?1004l\033[?2004l\033>\033[?1l\033[?1049l\033[r\033[?25h\033[0 q\033[m\r\n' >&2
"#;

/// The shell that waits, until this is dropped.
#[derive(Debug)]
pub(crate) struct TerminalGuard {
    shell: Child,
    told: Option<ChildStdin>,
}

impl TerminalGuard {
    /// Has somebody remember the terminal's mode as it is now. `None` where there is no shell to do it: then only ends
    /// that this process hears of are good ones.
    pub(crate) fn start() -> Option<TerminalGuard> {
        let terminal = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(terminal))
            .spawn()
            .ok()?;
        let told = shell.stdin.take();
        let mut ready = String::new();
        // It says so, or has ended.
        BufReader::new(shell.stdout.take()?).read_line(&mut ready).ok()?;
        Some(TerminalGuard { shell, told })
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        // One that has gone needs no telling.
        let _ = self.told.take().map(|mut told| told.write_all(b"over\n"));
        let _ = self.shell.wait();
    }
}
