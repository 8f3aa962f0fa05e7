//! A shell of a workspace, with somebody at it who reads on where he has left off.

use std::ffi::OsStr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::{Call, Workspace, wait_until};

/// Longest wait for what a shell prints, in milliseconds; guards hangs, measures nothing.
const WAIT_MS_MAX: &str = "120000";

/// A shell that was opened.
#[derive(Debug)]
pub(crate) struct Shell<'a> {
    workspace: &'a Workspace<'a>,
    pub(crate) id: String,
    cursor: AtomicU64,
}

impl Workspace<'_> {
    /// `pyro workspace shell open ID OPTIONS -- COMMAND…`
    pub(crate) fn open(&self, options: &[&str], command: &[&str]) -> Shell<'_> {
        let separator = if command.is_empty() { &[][..] } else { &["--"] };
        let words = ["--id-only"].iter().chain(options).chain(separator).chain(command);
        let opened = self.call("shell open", words).finish();
        let id = opened.exits(0).out().trim().to_owned();
        self.shell_of(&id)
    }

    /// One that was opened in another way.
    pub(crate) fn shell_of(&self, id: &str) -> Shell<'_> {
        Shell { workspace: self, id: id.to_owned(), cursor: AtomicU64::new(0) }
    }

    /// `pyro workspace shell list ID --json`
    pub(crate) fn shells(&self) -> Vec<Value> {
        let listed = self.call("shell list", ["--json"]).finish().exits(0).json();
        listed["shells"].as_array().unwrap().clone()
    }
}

impl Shell<'_> {
    /// `pyro workspace shell COMMAND WORKSPACE ID REST…`
    pub(crate) fn call<W: AsRef<OsStr>>(&self, command: &str, rest: impl IntoIterator<Item = W>) -> Call {
        let rest = rest.into_iter().map(|word| word.as_ref().to_owned());
        self.workspace.call(&format!("shell {command}"), std::iter::once(self.id.clone().into()).chain(rest))
    }

    /// Types a line.
    pub(crate) fn write(&self, line: &str) {
        self.call("write", ["--input", line]).finish().exits(0);
    }

    /// Presses keys, and no Enter behind them.
    pub(crate) fn press(&self, keys: &str) {
        self.call("write", ["--input", keys, "--no-newline"]).finish().exits(0);
    }

    /// Reads on, as lines, until a pattern matches.
    pub(crate) fn wait_for(&self, pattern: &str) -> String {
        let cursor = self.cursor.load(Ordering::Relaxed).to_string();
        let options =
            ["--json", "--cursor", &cursor, "--plain", "--until", pattern, "--wait-ms", WAIT_MS_MAX];
        let told = self.call("read", options).finish();
        assert_eq!(told.status.code(), Some(0), "{pattern:?} never came: {}{}", told.out(), told.err());
        let reading = told.json();
        self.cursor.store(reading["next_cursor"].as_u64().unwrap(), Ordering::Relaxed);
        reading["output"].as_str().unwrap().to_owned()
    }

    /// What its terminal shows now.
    pub(crate) fn screen(&self) -> String {
        let told =
            self.call("read", ["--screen", "--json", "--wait-for-idle-ms", "0"]).finish().exits(0).json();
        told["output"].as_str().unwrap().to_owned()
    }

    /// Waits until its terminal shows something.
    pub(crate) fn wait_for_screen(&self, what: &str, shows: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        wait_until(&format!("the screen shows {what}"), || {
            screen = self.screen();
            shows(&screen)
        });
        screen
    }

    /// Its record.
    pub(crate) fn record(&self) -> Value {
        let listed = self.workspace.shells();
        listed.into_iter().find(|shell| shell["shell_id"] == self.id.as_str()).expect("it is listed")
    }

    /// `running`, `exited` and so on.
    pub(crate) fn state(&self) -> String {
        self.record()["state"].as_str().unwrap().to_owned()
    }

    /// Waits until it has ended; gives its state and its exit code.
    pub(crate) fn end(&self) -> (String, Option<u64>) {
        wait_until("the shell has ended", || self.state() != "running");
        (self.state(), self.record()["exit_code"].as_u64())
    }

    /// Ends it with all that runs in it.
    pub(crate) fn close(&self) {
        self.call("close", [""; 0]).finish().exits(0);
    }
}
