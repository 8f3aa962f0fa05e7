//! The terminal: the one place that writes to it, asks what it is, and changes its mode.
//!
//! Results go to standard output; markers, progress and errors to standard error. Color and bars appear
//! only on a terminal, and `NO_COLOR` holds.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pyro::TerminalSize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::settings;

/// A terminal's mode before a raw one was set, for every way this process can end.
static MODE_BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Writes a result line, or several. A reader that left is not an error worth words.
pub(crate) fn result(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Writes a marker or a note to people.
pub(crate) fn note(line: &str) {
    let mut text = line.to_owned();
    text.push_str(if raw_mode_is_on() { "\r\n" } else { "\n" });
    // Nothing can be told to somebody who closed standard error.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Writes an error's first word in color where that is wanted.
pub(crate) fn error(text: &str) {
    if io::stderr().is_terminal() && !settings::colors_unwanted() {
        note(&format!("\u{1b}[1;31merror:\u{1b}[0m {text}"));
    } else {
        note(&format!("error: {text}"));
    }
}

/// Standard output as bytes, unbuffered.
pub(crate) fn raw_stdout() -> io::Result<File> {
    io::stdout().as_fd().try_clone_to_owned().map(File::from)
}

/// Standard error as bytes, unbuffered.
pub(crate) fn raw_stderr() -> io::Result<File> {
    io::stderr().as_fd().try_clone_to_owned().map(File::from)
}

/// Standard input as bytes.
pub(crate) fn raw_stdin() -> impl Read {
    io::stdin()
}

/// Whether standard input is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// The terminal's size, from whichever standard stream is one.
pub(crate) fn size() -> Option<TerminalSize> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]
        .into_iter()
        .find_map(|stream| tcgetwinsize(stream).ok())
        .map(|size| TerminalSize { rows: size.ws_row, columns: size.ws_col })
}

/// Raw mode of the terminal on standard input, until dropped.
#[derive(Debug)]
pub(crate) struct RawMode(());

impl RawMode {
    /// Hands every key to the guest.
    pub(crate) fn enter() -> io::Result<RawMode> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        set_mode_before(Some(before));
        Ok(RawMode(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal its own mode back; does nothing when it has it.
pub(crate) fn restore() {
    let before = MODE_BEFORE.lock().ok().and_then(|mut mode| mode.take());
    if let Some(before) = before {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

fn set_mode_before(mode: Option<Termios>) {
    if let Ok(mut before) = MODE_BEFORE.lock() {
        *before = mode;
    }
}

fn raw_mode_is_on() -> bool {
    MODE_BEFORE.lock().is_ok_and(|mode| mode.is_some())
}

/// A progress bar on standard error; invisible where that is no terminal.
pub(crate) fn progress_bar() -> ProgressBar {
    let target = if io::stderr().is_terminal() && !settings::colors_unwanted() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(None, target);
    bar.set_style(spinner_style());
    bar
}

/// The look of work whose end is known.
pub(crate) fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template("{msg:24} {bar:30} {percent:>3}% {elapsed:>4}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The look of work whose end is not known.
pub(crate) fn spinner_style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}
