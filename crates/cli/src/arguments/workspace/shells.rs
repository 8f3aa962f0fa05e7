//! The arguments of shells.

use std::ffi::OsString;

use clap::{Args, Subcommand};

use super::{Connected, One};

#[derive(Debug, Subcommand)]
pub(crate) enum Shell {
    /// Open a shell that stays, whoever leaves; print its id
    Open(ShellOpen),
    /// List the shells of a workspace
    #[command(visible_alias = "ls")]
    List(One),
    /// Read what a shell printed, from some byte on
    Read(ShellRead),
    /// Type into a shell: --input, or standard input as it is
    Write(ShellWrite),
    /// Send a signal to what runs in the foreground of a shell
    Signal(ShellSignal),
    /// Give a shell's terminal another size
    Resize(ShellResize),
    /// End a shell and everything that runs in it
    Close(ShellClose),
    /// Sit at a shell; Ctrl-] leaves it running
    Attach(ShellOne),
}

/// A shell.
#[derive(Args, Debug)]
pub(crate) struct ShellOne {
    #[command(flatten)]
    pub(crate) one: One,
    /// The shell: its id, or a unique beginning of it
    pub(crate) shell: String,
}

/// The size of a terminal.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct WindowSize {
    /// Characters in a line
    #[arg(long, value_name = "COUNT", default_value_t = 120)]
    pub(crate) cols: u64,
    /// Lines
    #[arg(long, value_name = "COUNT", default_value_t = 30)]
    pub(crate) rows: u64,
}

#[derive(Args, Debug)]
pub(crate) struct ShellOpen {
    #[command(flatten)]
    pub(crate) connected: Connected,
    #[command(flatten)]
    pub(crate) size: WindowSize,
    /// Working directory, in /workspace unless absolute
    #[arg(long, visible_alias = "workdir", value_name = "DIR")]
    pub(crate) cwd: Option<OsString>,
    /// Set a variable, or hand on one of this environment by its name
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<OsString>,
    /// User in the guest: name or uid, with an optional :group
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Print its id and nothing else
    #[arg(long, conflicts_with = "json")]
    pub(crate) id_only: bool,
    /// Another program than the user's own shell, behind `--`
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct ShellRead {
    #[command(flatten)]
    pub(crate) which: ShellOne,
    /// The first byte to read: the next_cursor of an earlier reading, or 0
    #[arg(long, value_name = "BYTE", default_value_t = 0)]
    pub(crate) cursor: u64,
    /// Characters at most; the next reading goes on behind them
    #[arg(long, value_name = "COUNT", default_value_t = pyro::limits::SHELL_READ_CHARS_DEFAULT)]
    pub(crate) max_chars: u64,
    /// Wait no longer than this for what is waited for [default: 1000, with --until 30000, with --wait-for-idle-ms
    /// 30000 more than that]
    #[arg(long, value_name = "MS")]
    pub(crate) wait_ms: Option<u64>,
    /// Wait until nothing was printed for so long; 0: do not wait [default: 100]
    #[arg(long, value_name = "MS")]
    pub(crate) wait_for_idle_ms: Option<u64>,
    /// Wait until what is seen from the cursor on matches; the exit code is 124 when it does not in time
    #[arg(long, value_name = "REGEX")]
    pub(crate) until: Option<String>,
    /// Show lines as a person would see them, without escape sequences
    #[arg(long)]
    pub(crate) plain: bool,
    /// Show the present screen of a full-screen program
    #[arg(long, conflicts_with = "plain")]
    pub(crate) screen: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ShellWrite {
    #[command(flatten)]
    pub(crate) which: ShellOne,
    /// A line to type; standard input without
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) input: Option<OsString>,
    /// Do not press Enter behind it
    #[arg(long, requires = "input")]
    pub(crate) no_newline: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ShellSignal {
    #[command(flatten)]
    pub(crate) which: ShellOne,
    /// Its name or number
    #[arg(long, value_name = "SIGNAL", default_value = "INT")]
    pub(crate) signal: String,
}

#[derive(Args, Debug)]
pub(crate) struct ShellResize {
    #[command(flatten)]
    pub(crate) which: ShellOne,
    /// Characters in a line
    #[arg(long, value_name = "COUNT")]
    pub(crate) cols: u64,
    /// Lines
    #[arg(long, value_name = "COUNT")]
    pub(crate) rows: u64,
}

#[derive(Args, Debug)]
pub(crate) struct ShellClose {
    #[command(flatten)]
    pub(crate) which: ShellOne,
    /// Kill what has not ended by itself after so long
    #[arg(long, value_name = "SECONDS", default_value_t = pyro::limits::SHELL_GRACE_SECONDS_DEFAULT)]
    pub(crate) grace_seconds: u64,
}
