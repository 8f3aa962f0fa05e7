//! The system calls that no safe binding covers, each behind a safe function.
//!
//! All of them are async-signal-safe: a raw system call on memory the caller owns, no allocation, no lock.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::thread::UnshareFlags;

/// What a seccomp filter is loaded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listening {
    /// The filter never notifies.
    No,
    /// The filter notifies a listener.
    Yes,
}

/// Runs `hook` in the child, between fork and exec.
///
/// `hook` must make only async-signal-safe calls: no allocation, no lock. [`crate::child`] is the only caller
/// and is written so.
pub(crate) fn before_exec<F>(command: &mut Command, hook: F)
where
    F: FnMut() -> io::Result<()> + Send + Sync + 'static,
{
    // SAFETY: the only hook passed is child::Plan::confine, which makes raw system calls on memory prepared by
    // the parent and neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(hook);
    }
}

/// Moves the calling thread into new namespaces.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: no CLONE_FILES among the callers' flags, so no descriptor changes its meaning.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Tries in a forked child whether the kernel grants new namespaces.
pub(crate) fn try_unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the child makes two raw system calls and leaves by _exit: nothing of the parent's state is used.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = unshare(flags).err().and_then(|e| e.raw_os_error()).unwrap_or(0);
            // SAFETY: _exit runs no handlers and does not return.
            unsafe { libc::_exit(code & 0xff) }
        }
        child => exit_errno(child),
    }
}

fn exit_errno(child: libc::pid_t) -> io::Result<()> {
    let mut status = 0;
    loop {
        // SAFETY: waits for the child forked above; status outlives the call.
        let got = unsafe { libc::waitpid(child, &mut status, 0) };
        if got == child {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
        (true, 0) => Ok(()),
        (true, code) => Err(io::Error::from_raw_os_error(code)),
        (false, _) => Err(io::Error::from_raw_os_error(libc::ECHILD)),
    }
}

/// The Landlock ABI of the running kernel, 0 where there is none.
pub(crate) fn landlock_abi() -> u32 {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with a null attribute, size 0 and the version flag the call reads no memory.
    let abi =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, VERSION) };
    u32::try_from(abi).unwrap_or(0)
}

/// Enforces a prepared Landlock ruleset on the calling thread.
pub(crate) fn landlock_restrict(ruleset: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: two integers.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) }).map(drop)
}

/// Marks every descriptor from `first` up as closed on exec.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: three integers; marking descriptors closes none of them now.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    check(done).map(drop)
}

/// Ignores `SIGXFSZ`, so that a write past the file limit fails instead of killing; survives exec.
pub(crate) fn ignore_file_size_signal() {
    // SAFETY: SIG_IGN installs no handler.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// Empties the signal mask a runtime may have left.
pub(crate) fn unblock_signals() {
    // SAFETY: a zeroed sigset_t is initialized by sigemptyset before use and outlives both calls.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// True when the kernel can notify a listener about system calls and accept descriptors as their answer.
pub(crate) fn has_seccomp_notify() -> bool {
    let action: u32 = libc::SECCOMP_RET_USER_NOTIF;
    // SAFETY: reads one u32 that outlives the call.
    let available =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0u32, &raw const action) };
    available == 0
}

/// Loads a seccomp filter on the calling thread, returning its listener when asked for one.
pub(crate) fn load_filter(
    program: &[libc::sock_filter],
    listening: Listening,
) -> io::Result<Option<OwnedFd>> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let flags = match listening {
        Listening::Yes => libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
        Listening::No => 0,
    };
    let fprog = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `length` instructions from a slice that outlives the call and writes nothing.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const fprog)
    })?;
    match listening {
        Listening::No => Ok(None),
        // SAFETY: with NEW_LISTENER the call returns a new descriptor nobody else owns.
        Listening::Yes => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })),
    }
}

/// One intercepted system call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Notice {
    /// Names the call to the kernel.
    pub(crate) id: u64,
    /// The thread that made it.
    pub(crate) pid: u32,
    /// The system call's number.
    pub(crate) number: i32,
    /// Its arguments.
    pub(crate) args: [u64; 6],
}

/// Takes the next intercepted call, blocking until there is one.
pub(crate) fn receive_notice(listener: BorrowedFd<'_>) -> io::Result<Notice> {
    // SAFETY: seccomp_notif is plain integers; the kernel demands it zeroed and fills it whole.
    let mut notif: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live seccomp_notif, as the request demands.
    let done = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut notif) };
    check(libc::c_long::from(done))?;
    Ok(Notice { id: notif.id, pid: notif.pid, number: notif.data.nr, args: notif.data.args })
}

/// Lets an intercepted call go on as it was made.
pub(crate) fn continue_call(listener: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    let mut response = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: 0,
        flags: libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
    };
    // SAFETY: the pointer is to a live seccomp_notif_resp, as the request demands.
    let done =
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response) };
    check(libc::c_long::from(done)).map(drop)
}

/// Answers an intercepted open with a copy of `file`, closed on exec.
pub(crate) fn answer_open(listener: BorrowedFd<'_>, id: u64, file: BorrowedFd<'_>) -> io::Result<()> {
    let source = u32::try_from(file.as_raw_fd()).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    let mut injection = libc::seccomp_notif_addfd {
        id,
        flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
        srcfd: source,
        newfd: 0,
        newfd_flags: libc::O_CLOEXEC as u32,
    };
    // SAFETY: the pointer is to a live seccomp_notif_addfd, as the request demands.
    let done =
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw mut injection) };
    check(libc::c_long::from(done)).map(drop)
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
