//! The three streams of a command: pipes, or a pseudo-terminal.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use pyro_proto::agent::{Terminal, TerminalSize};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, SpecialCodeIndex, Winsize};
use tokio::io::Interest;

use crate::watched::{Watched, watch};

/// The child's side.
#[derive(Debug)]
pub(crate) enum ChildStdio {
    /// Standard input, output, error.
    Pipes([OwnedFd; 3]),
    /// One terminal for all three, to become the controlling one.
    Terminal(OwnedFd),
}

/// The agent's side.
#[derive(Debug)]
pub(crate) struct Stdio {
    /// Towards the command.
    pub(crate) stdin: Option<Rc<Watched>>,
    pub(crate) stdout: Rc<Watched>,
    pub(crate) stderr: Option<Rc<Watched>>,
    /// Whether all of these are one terminal's master.
    pub(crate) is_terminal: bool,
    /// The other side of it: while somebody has that open, a command that closes it has not hung up.
    pub(crate) slave: Option<OwnedFd>,
}

/// Why streams could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct StdioError {
    pub(crate) what: &'static str,
    pub(crate) errno: Errno,
}

fn failed(what: &'static str) -> impl FnOnce(Errno) -> StdioError {
    move |errno| StdioError { what, errno }
}

/// Pipes; `/dev/null` as standard input unless the host will send some.
pub(crate) fn pipes(stdin: bool) -> Result<(Stdio, ChildStdio), StdioError> {
    let (stdin, child_stdin) = if stdin {
        let (read, write) = pipe()?;
        (Some(watched(write, Interest::WRITABLE)?), read)
    } else {
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        (None, null.map_err(failed("/dev/null cannot be opened"))?)
    };
    let (stdout, child_stdout) = pipe()?;
    let (stderr, child_stderr) = pipe()?;
    let stdio = Stdio {
        stdin,
        stdout: watched(stdout, Interest::READABLE)?,
        stderr: Some(watched(stderr, Interest::READABLE)?),
        is_terminal: false,
        slave: None,
    };
    Ok((stdio, ChildStdio::Pipes([child_stdin, child_stdout, child_stderr])))
}

/// Nothing in, and nothing of what comes out.
pub(crate) fn null() -> Result<ChildStdio, StdioError> {
    let open = || {
        rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed("/dev/null cannot be opened"))
    };
    Ok(ChildStdio::Pipes([open()?, open()?, open()?]))
}

/// A pseudo-terminal that belongs to `uid`.
pub(crate) fn terminal(terminal: &Terminal, uid: Option<u32>) -> Result<(Stdio, ChildStdio), StdioError> {
    let cannot = "a pseudo-terminal cannot be opened";
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .map_err(failed(cannot))?;
    rustix::pty::unlockpt(&master).map_err(failed(cannot))?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).map_err(failed(cannot))?;
    resize(&master, terminal.size).map_err(failed("a pseudo-terminal cannot be sized"))?;
    if let Some(uid) = uid {
        let owner = Some(rustix::fs::Uid::from_raw(uid));
        rustix::fs::fchown(&slave, owner, None).map_err(failed("a pseudo-terminal cannot be handed over"))?;
    }
    let master = watched(master, Interest::READABLE | Interest::WRITABLE)?;
    let kept = slave.try_clone().map_err(|error| StdioError {
        what: "a pseudo-terminal cannot be kept",
        errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
    })?;
    let (stdin, slave_kept) = (Some(Rc::clone(&master)), Some(kept));
    let stdio = Stdio { stdin, stdout: master, stderr: None, is_terminal: true, slave: slave_kept };
    Ok((stdio, ChildStdio::Terminal(slave)))
}

/// Gives a terminal a new size.
pub(crate) fn resize(master: &OwnedFd, size: TerminalSize) -> rustix::io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(master, size)
}

/// What to type so that the reader of a terminal sees an end of file, as a person would: the end-of-file
/// character at the start of a line, twice inside one. A terminal in raw mode has no such thing.
pub(crate) fn end_of_file(master: BorrowedFd<'_>, at_line_start: bool) -> Vec<u8> {
    match rustix::termios::tcgetattr(master) {
        Ok(modes) if modes.local_modes.contains(LocalModes::ICANON) => {
            let key = modes.special_codes[SpecialCodeIndex::VEOF];
            if at_line_start { vec![key] } else { vec![key, key] }
        }
        _ => Vec::new(),
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), StdioError> {
    pipe_with(PipeFlags::CLOEXEC).map_err(failed("a pipe cannot be made"))
}

/// The agent's end never blocks; the command's end is left as commands expect it.
fn watched(fd: OwnedFd, interest: Interest) -> Result<Rc<Watched>, StdioError> {
    rustix::fs::fcntl_setfl(&fd, OFlags::NONBLOCK).map_err(failed("a stream cannot be made non-blocking"))?;
    let watched = watch(fd, interest).map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        StdioError { what: "a stream cannot be watched", errno }
    })?;
    Ok(Rc::new(watched))
}
