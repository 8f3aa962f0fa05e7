//! The parent's side of intercepted opens: one thread per confined child that has any.
//!
//! A read-write open of exactly an answered path gets the parent's descriptor; every other one goes on as it
//! was made, under Landlock and the file's own mode. Nothing the child does can make an answer more than the
//! descriptors of its own spec.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use crate::error::JailError;
use crate::limits::{ANSWERED_PATH_BYTES_MAX, ATTENDANT_STACK_BYTES, LISTENER_WAIT_MAX};
use crate::sys::{self, Notice};

/// What remains to be done for the child once it has been started.
#[derive(Debug)]
#[must_use = "a child with answered opens hangs until it is attended"]
pub struct Attendant {
    pub(crate) answers: Vec<(CString, OwnedFd)>,
    pub(crate) listener_from: Option<OwnedFd>,
}

impl Attendant {
    /// Begins to answer the child's opens, until the child is gone. Call it after a successful spawn, and drop
    /// the `Command` first, so that its copy of the descriptors is closed.
    ///
    /// # Errors
    /// When the child's listener does not arrive, or no thread can be made.
    pub fn attend(self) -> Result<(), JailError> {
        let Some(socket) = self.listener_from else { return Ok(()) };
        let listener = receive_descriptor(&socket).map_err(JailError::Listener)?;
        let answers = self.answers;
        std::thread::Builder::new()
            .name("jail-attendant".to_owned())
            .stack_size(ATTENDANT_STACK_BYTES)
            .spawn(move || answer_until_gone(&listener, &answers))
            .map(drop)
            .map_err(JailError::Descriptor)
    }
}

fn receive_descriptor(socket: &OwnedFd) -> io::Result<OwnedFd> {
    wait_readable(socket)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut parts = [io::IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message
            && let Some(fd) = fds.next()
        {
            return Ok(fd);
        }
    }
    Err(io::Error::from(io::ErrorKind::UnexpectedEof))
}

fn wait_readable(socket: &OwnedFd) -> io::Result<()> {
    let wait = Timespec::try_from(LISTENER_WAIT_MAX).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&wait))? {
        0 => Err(io::Error::from(io::ErrorKind::TimedOut)),
        _ => Ok(()),
    }
}

fn answer_until_gone(listener: &OwnedFd, answers: &[(CString, OwnedFd)]) {
    while next_is_ready(listener) {
        if let Ok(notice) = sys::receive_notice(listener.as_fd()) {
            // An error here means that the caller is gone or was interrupted; the kernel asks again.
            let _gone = answer(listener, answers, notice);
        }
    }
}

/// False once no process uses the filter any more.
fn next_is_ready(listener: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(listener, PollFlags::IN)];
    loop {
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => {
                return fds.iter().any(|fd| {
                    fd.revents().contains(PollFlags::IN) && !fd.revents().contains(PollFlags::HUP)
                });
            }
        }
    }
}

fn answer(listener: &OwnedFd, answers: &[(CString, OwnedFd)], notice: Notice) -> io::Result<()> {
    let path = opened_path(&notice);
    let known = answers.iter().find(|(name, _)| Some(name.to_bytes()) == path.as_deref());
    match known {
        Some((_, file)) => sys::answer_open(listener.as_fd(), notice.id, file.as_fd()),
        None => sys::continue_call(listener.as_fd(), notice.id),
    }
}

/// The path of an intercepted open, `None` when it cannot be read or is longer than any of ours.
fn opened_path(notice: &Notice) -> Option<Vec<u8>> {
    let address = match i64::from(notice.number) {
        libc::SYS_openat => notice.args.get(1),
        _ => notice.args.first(),
    }?;
    let memory = File::open(format!("/proc/{}/mem", notice.pid)).ok()?;
    let mut bytes = vec![0; ANSWERED_PATH_BYTES_MAX];
    let read = memory.read_at(&mut bytes, *address).ok()?;
    bytes.truncate(read);
    let end = bytes.iter().position(|byte| *byte == 0)?;
    bytes.truncate(end);
    Some(bytes)
}
