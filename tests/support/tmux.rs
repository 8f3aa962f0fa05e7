//! A real terminal: tmux with a server of its own, one window with a plain shell in it, and somebody who types.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use super::{GONE_SECONDS_MAX, Machine, PYRO, Process, wait_until};

/// What the shell of the host says when it waits for a line; nothing in a guest says so.
pub(crate) const PROMPT: &str = "host$ ";

/// A terminal.
#[derive(Debug)]
pub(crate) struct Tmux<'a> {
    machine: &'a Machine,
    socket: PathBuf,
}

impl Tmux<'_> {
    /// A terminal of a size, with a shell of the host that changes no terminal's mode itself and finds `pyro`.
    pub(crate) fn start(machine: &Machine, columns: u16, rows: u16) -> Tmux<'_> {
        let tmux = Tmux { machine, socket: machine.root().join("tmux") };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let size = ["new-session", "-d", "-x", &columns, "-y", &rows];
        let prompt = format!("PS1={PROMPT}");
        tmux.order(&[&size[..], &["env", &prompt, "sh"]].concat());
        tmux.wait_for(PROMPT.trim());
        tmux
    }

    /// One order to the server; gives what it says.
    pub(crate) fn order(&self, words: &[&str]) -> String {
        let told =
            self.command(words).output().unwrap_or_else(|error| panic!("tmux is needed here: {error}"));
        assert!(told.status.success(), "tmux {words:?}: {}", String::from_utf8_lossy(&told.stderr));
        String::from_utf8(told.stdout).unwrap()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut tmux = Command::new("tmux");
        self.machine.surround(&mut tmux);
        let own = PathBuf::from(PYRO).parent().unwrap().display().to_string();
        let path = format!("{own}:{}", std::env::var("PATH").unwrap_or_default());
        tmux.env("PATH", path).env("LC_ALL", "C.UTF-8").env("TERM", "xterm-256color");
        tmux.arg("-u").arg("-S").arg(&self.socket).args(["-f", "/dev/null"]).args(words);
        tmux
    }

    /// Types characters.
    pub(crate) fn type_in(&self, text: &str) {
        self.order(&["send-keys", "-l", "--", text]);
    }

    /// Types a line.
    pub(crate) fn type_line(&self, text: &str) {
        self.type_in(text);
        self.press("Enter");
    }

    /// Presses a key by its name, such as `Enter` or `C-]`.
    pub(crate) fn press(&self, key: &str) {
        self.order(&["send-keys", key]);
    }

    /// What is on the screen, without spaces at the ends of lines; a line that was wrapped is one.
    pub(crate) fn pane(&self) -> String {
        let pane = self.order(&["capture-pane", "-p", "-J"]);
        pane.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// Waits until a line of the screen is this one.
    pub(crate) fn wait_for(&self, line: &str) {
        self.wait_until(line, |pane| pane.lines().any(|shown| shown == line));
    }

    /// Waits until the screen shows something.
    pub(crate) fn wait_until(&self, what: &str, shows: impl Fn(&str) -> bool) {
        wait_until(&format!("the terminal shows {what}"), || shows(&self.pane()));
    }

    /// A property of the window in tmux's words, such as `alternate_on`.
    pub(crate) fn property(&self, name: &str) -> String {
        self.order(&["display-message", "-p", &format!("#{{{name}}}")]).trim().to_owned()
    }

    /// The program that the shell of the host runs now.
    pub(crate) fn foreground(&self) -> Process {
        let shell = self.property("pane_pid").parse().unwrap();
        let mut children = Vec::new();
        wait_until("the host's shell runs something", || {
            children = Process::children_of(shell);
            !children.is_empty()
        });
        children.remove(0)
    }

    /// What the terminal's mode is, by the host's own `stty`; its size aside.
    pub(crate) fn mode(&self) -> String {
        let terminal = self.property("pane_tty");
        let told = Command::new("stty").args(["-F", &terminal, "-a"]).output().unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let told = String::from_utf8(told.stdout).unwrap();
        told.lines().filter(|line| !line.contains(" columns ")).collect()
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        let _ = self.command(&["kill-server"]).output();
        let deadline = Instant::now() + GONE_SECONDS_MAX;
        while Process::all().iter().any(|process| process.concerns(&self.socket)) && Instant::now() < deadline
        {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}
