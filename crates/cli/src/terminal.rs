//! The terminal: the one place that writes to it, asks what it is, and changes its mode.
//!
//! Results go to standard output; markers, progress and errors to standard error. Color and bars appear
//! only on a terminal, and `NO_COLOR` holds.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pyro::{TerminalModes, TerminalSize};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::settings;
use crate::untrusted::printable;

/// A terminal's mode before a raw one was set, for every way this process can end.
static MODE_BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// What a guest's programs have set on the terminal beside that, while somebody sits at a shell.
static MODES: Mutex<Option<TerminalModes>> = Mutex::new(None);

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

/// Writes a result that is no text of ours: a patch.
pub(crate) fn copy_to_stdout(source: &mut impl Read) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        bytes_to_stdout(buffer.get(..count).unwrap_or_default())?;
    }
}

const COPY_BYTES: usize = 64 * 1024;

/// Writes bytes of a guest's files to standard output: as they are for a program, with nothing that moves a
/// cursor for a person. (Output of commands is what their user asked to see, and is written as it is.)
pub(crate) fn bytes_to_stdout(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if io::stdout().is_terminal() {
        out.write_all(printable(bytes).as_bytes())?;
    } else {
        out.write_all(bytes)?;
    }
    out.flush()
}

/// Writes what is kept of a command's standard output.
pub(crate) fn output_to_stdout(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// The same for standard error.
pub(crate) fn bytes_to_stderr(bytes: &[u8]) -> io::Result<()> {
    io::stderr().lock().write_all(bytes)
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

/// Whether standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
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

/// Asks a person and gives the answer; `None` where there is no terminal to ask on.
pub(crate) fn ask(question: &str) -> Option<String> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return None;
    }
    let mut err = io::stderr().lock();
    let asked = err.write_all(question.as_bytes()).and_then(|()| err.flush());
    drop(err);
    let mut answer = String::new();
    let heard = asked.and_then(|()| io::stdin().lock().read_line(&mut answer));
    // A terminal that went away has answered with nothing.
    Some(heard.map(|_| answer).unwrap_or_default())
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

/// From here on, what is shown by [`show_modes`] is taken back at the end.
pub(crate) fn begin_modes() {
    if let Ok(mut modes) = MODES.lock() {
        *modes = Some(TerminalModes::new());
    }
}

/// Writes what a guest's terminal shows, and remembers what it sets.
pub(crate) fn show_modes(bytes: &[u8]) -> io::Result<()> {
    watch_modes(bytes);
    output_to_stdout(bytes)
}

/// Remembers what these bytes set on the terminal.
pub(crate) fn watch_modes(bytes: &[u8]) {
    if let Ok(mut modes) = MODES.lock()
        && let Some(modes) = modes.as_mut()
    {
        modes.watch(bytes);
    }
}

/// Gives the terminal its own mode back; does nothing when it has it.
pub(crate) fn restore() {
    // Who panics in the middle of watching has it locked.
    let modes = MODES.try_lock().ok().and_then(|mut modes| modes.take());
    if let Some(modes) = modes {
        let _ = output_to_stdout(&modes.resets()).and_then(|()| output_to_stdout(b"\r\n"));
    }
    let before = MODE_BEFORE.lock().ok().and_then(|mut mode| mode.take());
    if let Some(before) = before {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

/// Has the terminal given back also when this process panics.
pub(crate) fn restore_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        report(panic);
    }));
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

/// How often a bar is moved.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Turns a bar to counting bytes.
pub(crate) fn begin_bytes(bar: &ProgressBar, what: &'static str) {
    bar.set_style(style("{spinner} {msg} {bytes} {binary_bytes_per_sec}"));
    bar.set_message(what);
    bar.enable_steady_tick(TICK);
}

/// Moves such a bar; a sum that is known makes it one with an end.
pub(crate) fn show_bytes(bar: &ProgressBar, done: u64, total: u64) {
    if total > 0 && bar.length().is_none() {
        bar.set_style(style("{msg:10} {bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec}"));
        bar.set_length(total);
    }
    if bar.length().is_some() {
        bar.set_position(done);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
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
