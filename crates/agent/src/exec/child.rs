//! Birth of a process, the one place where the agent leaves safe code for it.
//!
//! `clone3` with `CLONE_VM | CLONE_VFORK`: the child borrows the agent's memory until its `execve`, while
//! the agent's thread stands still. That costs no page table, and an error comes back as a plain value in
//! memory. `CLONE_INTO_CGROUP` bears the child inside its group; moving it there afterwards would wait for
//! an RCU grace period. Between birth and `execve` the child only makes system calls, by number: libc's own
//! wrappers of `setuid` and its like would reach for threads that are not the child's.

#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use libc::{c_int, c_long};
use rustix::io::Errno;
use rustix::process::Pid;

use super::account::Account;
use super::plan::Plan;
use super::stdio::ChildStdio;
use crate::limits::{CHILD_STACK_BYTES, OPEN_FILES_SOFT};

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the birth of a process is written for x86-64");

/// The step that failed in a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    /// `clone3`.
    Birth,
    /// Session, terminal and streams.
    Streams,
    /// User and groups.
    Account,
    /// The working directory.
    Directory,
    /// Resource limits.
    Limits,
    /// `execve`.
    Execute,
}

/// Why no process came to life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BirthError {
    pub(crate) step: Step,
    pub(crate) errno: Errno,
}

/// Stack for children, one at a time.
#[derive(Debug)]
pub(crate) struct Cradle {
    stack: Box<[u128]>,
}

/// `struct clone_args` of Linux 5.7, version 2.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Resets every signal that the agent handles; in no header of libc yet.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Everything the child needs, as the kernel wants it.
struct Orders {
    argv: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    candidates: Vec<*const c_char>,
    directory: *const c_char,
    directory_is_default: bool,
    stdio: [RawFd; 3],
    is_terminal: bool,
    account: Option<(u32, u32, Vec<u32>)>,
    /// Soft and hard limit of open files.
    open_files: [u64; 2],
    /// Written by the child, read by its parent once the child is gone from its memory.
    step: Step,
    errno: i32,
}

impl Default for Cradle {
    fn default() -> Self {
        Cradle { stack: vec![0; CHILD_STACK_BYTES / size_of::<u128>()].into_boxed_slice() }
    }
}

impl Cradle {
    /// Starts a command, in `cgroup` if there is one, as `account` unless it shall stay who the agent is.
    pub(crate) fn bear(
        &mut self,
        plan: &Plan,
        stdio: &ChildStdio,
        account: Option<&Account>,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> Result<Pid, BirthError> {
        let mut orders = Orders::new(plan, stdio, account);
        let args = CloneArgs {
            flags: clone_flags(cgroup.is_some()),
            exit_signal: libc::SIGCHLD as u64,
            stack: self.stack.as_mut_ptr() as u64,
            stack_size: size_of_val::<[u128]>(&self.stack) as u64,
            cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
            ..CloneArgs::default()
        };
        // SAFETY: `args` describes a stack of 16-byte units that nothing else uses until the child is gone
        // from this memory, which `CLONE_VFORK` makes this thread wait for. `orders` outlives that too, and
        // its pointers are those of `plan`, borrowed for as long. `child` never returns.
        let result = unsafe { clone3(&args, child, (&raw mut orders).cast()) };
        // The child wrote through a raw pointer while this thread stood still.
        // SAFETY: both fields are plain values inside a live local.
        let (step, errno) =
            unsafe { ((&raw const orders.step).read_volatile(), (&raw const orders.errno).read_volatile()) };
        let pid = match i32::try_from(result) {
            Ok(pid) if pid > 0 => Pid::from_raw(pid),
            _ => None,
        };
        match pid {
            Some(pid) if errno == 0 => Ok(pid),
            Some(pid) => {
                let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
                Err(BirthError { step, errno: Errno::from_raw_os_error(errno) })
            }
            None => {
                let errno = i32::try_from(result.unsigned_abs()).unwrap_or(libc::EIO);
                Err(BirthError { step: Step::Birth, errno: Errno::from_raw_os_error(errno) })
            }
        }
    }
}

fn clone_flags(has_cgroup: bool) -> u64 {
    let flags = (libc::CLONE_VM | libc::CLONE_VFORK) as u64 | CLONE_CLEAR_SIGHAND;
    if has_cgroup { flags | CLONE_INTO_CGROUP } else { flags }
}

impl Orders {
    fn new(plan: &Plan, stdio: &ChildStdio, account: Option<&Account>) -> Orders {
        let (stdio, is_terminal) = match stdio {
            ChildStdio::Pipes([stdin, stdout, stderr]) => {
                ([stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()], false)
            }
            ChildStdio::Terminal(slave) => ([slave.as_raw_fd(); 3], true),
        };
        Orders {
            argv: pointers(&plan.argv),
            environment: pointers(&plan.environment),
            candidates: pointers(&plan.candidates),
            directory: plan.directory.as_ptr(),
            directory_is_default: plan.directory_is_default,
            stdio,
            is_terminal,
            account: account.map(|account| (account.uid, account.gid, account.groups.clone())),
            open_files: open_files(),
            step: Step::Execute,
            errno: 0,
        }
    }
}

/// A command may raise its soft limit as far as this process's hard one.
fn open_files() -> [u64; 2] {
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
    [OPEN_FILES_SOFT.min(hard), hard]
}

/// A list as `execve` wants it, ended by a null pointer.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Makes a child that runs `run(data)` on the stack in `args`.
///
/// # Safety
/// `args` must ask for `CLONE_VM | CLONE_VFORK` and name an unused stack, aligned to 16 bytes at both ends;
/// `data` must be what `run` takes, and outlive the child's stay in this memory.
unsafe fn clone3(args: &CloneArgs, run: unsafe extern "C" fn(*mut c_void) -> !, data: *mut c_void) -> c_long {
    let result: c_long;
    // SAFETY: the parent sees an ordinary system call. The child starts behind it with the new stack
    // pointer and the parent's other registers, touches nothing of the parent's stack, and never comes back.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rdi, r9",
            "call r8",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") std::ptr::from_ref(args),
            in("rsi") size_of::<CloneArgs>(),
            in("r8") run,
            in("r9") data,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// The child's life until `execve`, or until it has told why there is none.
///
/// # Safety
/// `data` must point to live [`Orders`] that nobody else uses meanwhile.
unsafe extern "C" fn child(data: *mut c_void) -> ! {
    // SAFETY: by contract.
    let orders = unsafe { &mut *data.cast::<Orders>() };
    let Err((step, errno)) = obey(orders);
    orders.step = step;
    orders.errno = errno;
    loop {
        // SAFETY: ends this process alone; no destructor and no exit handler of the shared memory runs.
        unsafe { libc::syscall(libc::SYS_exit_group, 127) };
    }
}

type Halt = (Step, i32);

fn obey(orders: &Orders) -> Result<std::convert::Infallible, Halt> {
    take_streams(orders).map_err(|errno| (Step::Streams, errno))?;
    enter_directory(orders).map_err(|errno| (Step::Directory, errno))?;
    set_limits(orders).map_err(|errno| (Step::Limits, errno))?;
    become_account(orders).map_err(|errno| (Step::Account, errno))?;
    Err((Step::Execute, execute(orders)))
}

fn take_streams(orders: &Orders) -> Result<(), i32> {
    call(libc::SYS_setsid, [0; 4])?;
    if orders.is_terminal {
        call(libc::SYS_ioctl, [arg(orders.stdio[0]), libc::TIOCSCTTY as c_long, 0, 0])?;
    }
    for (target, source) in orders.stdio.iter().enumerate() {
        call(libc::SYS_dup3, [arg(*source), target as c_long, 0, 0])?;
    }
    default_signals()
}

/// What is ignored stays so across `execve`: SIGPIPE, which Rust's runtime ignores, and those that whoever
/// started an agent in the background (a test's shell, `nohup`) has ignored.
const IGNORED_AT_TIMES: [c_int; 4] = [libc::SIGPIPE, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP];

fn default_signals() -> Result<(), i32> {
    // The kernel's `struct sigaction`: handler, flags, restorer, mask.
    let default = [0u64; 4];
    for signal in IGNORED_AT_TIMES {
        call(
            libc::SYS_rt_sigaction,
            [signal.into(), default.as_ptr() as c_long, 0, size_of::<u64>() as c_long],
        )?;
    }
    Ok(())
}

fn enter_directory(orders: &Orders) -> Result<(), i32> {
    match call(libc::SYS_chdir, [orders.directory as c_long, 0, 0, 0]) {
        Err(libc::ENOENT) if orders.directory_is_default => {
            call(libc::SYS_chdir, [c"/".as_ptr() as c_long, 0, 0, 0]).map(drop)
        }
        result => result.map(drop),
    }
}

fn set_limits(orders: &Orders) -> Result<(), i32> {
    let limit = orders.open_files;
    call(libc::SYS_prlimit64, [0, libc::RLIMIT_NOFILE as c_long, limit.as_ptr() as c_long, 0]).map(drop)
}

fn become_account(orders: &Orders) -> Result<(), i32> {
    let Some((uid, gid, groups)) = &orders.account else { return Ok(()) };
    call(libc::SYS_setgroups, [groups.len() as c_long, groups.as_ptr() as c_long, 0, 0])?;
    call(libc::SYS_setgid, [c_long::from(*gid), 0, 0, 0])?;
    call(libc::SYS_setuid, [c_long::from(*uid), 0, 0, 0]).map(drop)
}

/// Tries every candidate as a shell would: what is not there is passed over, a refusal is remembered.
fn execute(orders: &Orders) -> i32 {
    let mut refusal = libc::ENOENT;
    for candidate in orders.candidates.iter().filter(|candidate| !candidate.is_null()) {
        let (argv, environment) = (orders.argv.as_ptr() as c_long, orders.environment.as_ptr() as c_long);
        match call(libc::SYS_execve, [*candidate as c_long, argv, environment, 0]) {
            Err(libc::EACCES) => refusal = libc::EACCES,
            Err(libc::ENOENT | libc::ENOTDIR) | Ok(_) => {}
            Err(errno) => return errno,
        }
    }
    refusal
}

fn arg(fd: RawFd) -> c_long {
    c_long::from(fd)
}

/// One system call; `Err` holds its error number.
fn call(number: c_long, args: [c_long; 4]) -> Result<c_long, c_int> {
    let [a, b, c, d] = args;
    // SAFETY: every caller in this module passes what the call of that number takes; libc's `syscall`
    // touches nothing but registers and this thread's `errno`, whose owner stands still.
    match unsafe { libc::syscall(number, a, b, c, d) } {
        // SAFETY: the address of this thread's `errno`.
        -1 => Err(unsafe { *libc::__errno_location() }),
        result => Ok(result),
    }
}

/// Sends a signal to a process group; one that is gone needs none.
pub(crate) fn signal_group(group: Pid, signal: u8) {
    // SAFETY: no memory is involved.
    unsafe { libc::kill(-group.as_raw_nonzero().get(), c_int::from(signal)) };
}

/// Sends a signal to one process; one that is gone needs none.
pub(crate) fn signal_process(pid: Pid, signal: u8) {
    // SAFETY: no memory is involved.
    unsafe { libc::kill(pid.as_raw_nonzero().get(), c_int::from(signal)) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::account::AccountFiles;
    use crate::exec::stdio;
    use pyro_proto::agent::Exec;

    fn bear(argv: &[&str]) -> Result<Pid, BirthError> {
        let exec = Exec {
            argv: argv.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
            environment: Vec::new(),
            directory: Some(b"/".to_vec()),
            user: None,
            terminal: None,
            stdin: false,
            timeout_ms: None,
        };
        let plan = Plan::new(&exec, &AccountFiles::default().account(None).unwrap()).unwrap();
        let (_stdio, child) = stdio::pipes(false).unwrap();
        Cradle::default().bear(&plan, &child, None, None)
    }

    /// The parent's memory and stack survive many children that live in them, and none is lost.
    #[tokio::test]
    async fn children_leave_the_parent_whole() {
        for round in 0..200 {
            let pid = bear(&["true"]).unwrap();
            let (_, status) =
                rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
            assert_eq!(status.exit_status(), Some(0), "round {round}");
        }
    }

    /// A child that cannot become the command tells why and leaves no zombie.
    #[tokio::test]
    async fn a_failed_birth_tells_its_step() {
        let error = bear(&["no-such-command"]).unwrap_err();
        assert_eq!((error.step, error.errno), (Step::Execute, Errno::NOENT));
        assert_eq!(bear(&["/etc/passwd"]).unwrap_err().errno, Errno::ACCESS);
    }
}
