//! Starts processes: the one place where they are born.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::rc::Rc;
use std::time::Instant;

use pyro_proto::agent::{Event, Exec, Failure, FailureKind, Reply};
use pyro_proto::limits::DATA_BYTES_MAX;
use pyro_proto::{Frame, Kind, StreamId, encode};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::process::Pid;
use tokio::sync::oneshot;

use super::account::{Account, AccountFiles};
use super::cgroup::{Cgroup, Cgroups};
use super::child::{BirthError, Cradle, Step};
use super::foreground::Foreground;
use super::halt::Halt;
use super::outcome::End;
use super::plan::{Plan, text};
use super::reaper::Reaper;
use super::running::Running;
use super::stdio::{self, ChildStdio, Stdio, StdioError};
use super::tree::Tree;
use crate::console::warn;
use crate::failure::{errno_text, failure, system};
use crate::lane::LaneSender;
use crate::limits::ACCOUNTS_BYTES_MAX;
use crate::mailbox::Mailbox;
use crate::small_file::read_at;

/// What all commands share.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) reaper: Reaper,
    pub(crate) cgroups: RefCell<Cgroups>,
    pub(super) halt: Halt,
    pub(super) foreground: Foreground,
    cradle: RefCell<Cradle>,
    /// Room for one read.
    pub(crate) buffer: RefCell<Box<[u8]>>,
    /// Whether commands can be given to users; an agent that is not root (a test) runs all as itself.
    is_root: bool,
}

/// How one call reaches its host.
#[derive(Clone, Debug)]
pub(crate) struct CallIo {
    pub(crate) stream: StreamId,
    pub(crate) mailbox: Rc<Mailbox>,
    pub(crate) control: LaneSender,
    pub(crate) bulk: LaneSender,
}

impl CallIo {
    /// Tells the host something of the call.
    pub(crate) async fn event(&self, event: &Event) {
        self.message(Kind::Event, encode(event)).await;
    }

    /// Ends the call.
    pub(crate) async fn reply(&self, reply: &Reply) {
        self.message(Kind::Reply, encode(reply)).await;
    }

    async fn message(&self, kind: Kind, payload: Result<Vec<u8>, pyro_proto::PayloadError>) {
        match payload {
            Ok(payload) => self.bulk.send(Frame { stream: self.stream, kind, payload }).await,
            Err(error) => warn(error),
        }
    }
}

impl Engine {
    /// An engine that reaps by `reaper` and puts commands into `cgroups`.
    pub(crate) fn new(reaper: Reaper, cgroups: Cgroups) -> Engine {
        Engine {
            reaper,
            cgroups: RefCell::new(cgroups),
            halt: Halt::default(),
            foreground: Foreground::default(),
            cradle: RefCell::default(),
            buffer: RefCell::new(vec![0; DATA_BYTES_MAX].into_boxed_slice()),
            is_root: rustix::process::geteuid().is_root(),
        }
    }

    /// Takes note of processes that ended.
    pub(crate) fn reap(&self) {
        if self.reaper.reap() > 0 {
            self.cgroups.borrow_mut().sweep();
        }
    }

    /// Makes what the next command will need, while nobody waits for it.
    pub(crate) fn prepare_next(&self) {
        if let Err(errno) = self.cgroups.borrow_mut().prepare() {
            warn(format!("no control group can be made: {}", errno_text(errno)));
        }
    }

    /// Starts a command that has streams of its own; gives our side of them.
    pub(super) fn start_streamed(&self, exec: &Exec) -> Result<(Running<'_>, Stdio), Failure> {
        let born = Instant::now();
        let account = self.account(exec)?;
        let plan = Plan::new(exec, &account)?;
        let (stdio, child) = self.streams(exec, &account).map_err(|error| system(error.what, error.errno))?;
        let master = stdio.is_terminal.then(|| Rc::clone(&stdio.stdout));
        let (tree, end) = self.launch(&plan, &child, &account, stdio.is_terminal)?;
        Ok((Running::new(tree, end, master, born), stdio))
    }

    /// Starts a command on streams that are there.
    pub(super) fn start(&self, exec: &Exec, child: &ChildStdio) -> Result<Running<'_>, Failure> {
        let born = Instant::now();
        let account = self.account(exec)?;
        let plan = Plan::new(exec, &account)?;
        let (tree, end) = self.launch(&plan, child, &account, true)?;
        Ok(Running::new(tree, end, None, born))
    }

    /// `gives_way`: nobody waits for it, and whoever waits for something else goes first.
    fn launch(
        &self,
        plan: &Plan,
        child: &ChildStdio,
        account: &Account,
        gives_way: bool,
    ) -> Result<(Tree<'_>, oneshot::Receiver<End>), Failure> {
        let cgroup = self
            .cgroups
            .borrow_mut()
            .take()
            .map_err(|errno| system("no control group can be made", errno))?;
        match self.bear(plan, child, account, cgroup.as_ref()) {
            Ok(pid) => {
                if let (true, Some(cgroup)) = (gives_way, &cgroup) {
                    cgroup.give_way();
                }
                Ok((Tree::new(self, pid, cgroup), self.reaper.enter(pid)))
            }
            Err(error) => {
                self.cgroups.borrow_mut().put_back(cgroup);
                Err(explain(error, plan))
            }
        }
    }

    fn account(&self, exec: &Exec) -> Result<Account, Failure> {
        let read = |path| read_at(CWD, path, ACCOUNTS_BYTES_MAX).unwrap_or_default();
        AccountFiles { passwd: read("/etc/passwd"), group: read("/etc/group") }.account(exec.user.as_deref())
    }

    fn streams(&self, exec: &Exec, account: &Account) -> Result<(Stdio, ChildStdio), StdioError> {
        match &exec.terminal {
            Some(terminal) => stdio::terminal(terminal, self.is_root.then_some(account.uid)),
            None => stdio::pipes(exec.stdin),
        }
    }

    fn bear(
        &self,
        plan: &Plan,
        child: &ChildStdio,
        account: &Account,
        cgroup: Option<&Cgroup>,
    ) -> Result<Pid, BirthError> {
        let account = self.is_root.then_some(account);
        self.cradle.borrow_mut().bear(plan, child, account, cgroup.map(std::os::fd::AsFd::as_fd))
    }
}

/// Why a command did not start, in the words of the one who asked for it.
fn explain(error: BirthError, plan: &Plan) -> Failure {
    let BirthError { step, errno } = error;
    match (step, errno) {
        (Step::Execute, _) => explain_execute(errno, plan),
        (
            Step::Directory,
            Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP | Errno::NAMETOOLONG,
        ) => failure(
            FailureKind::DirectoryMissing,
            format!("the working directory {}: {}", text(plan.directory.as_bytes()), errno_text(errno)),
        ),
        (Step::Birth, Errno::AGAIN) => {
            failure(FailureKind::Refused, "the guest has no room for another process")
        }
        (Step::Birth, _) => system("a process cannot be made", errno),
        (Step::Streams, _) => system("the streams of a process cannot be set up", errno),
        (Step::Account, _) => system("the user of a process cannot be set", errno),
        (Step::Limits, _) => system("the limits of a process cannot be set", errno),
        (Step::Directory, _) => system("the working directory cannot be entered", errno),
    }
}

fn explain_execute(errno: Errno, plan: &Plan) -> Failure {
    let program = plan.program();
    match errno {
        Errno::NOENT | Errno::NOTDIR => match first_existing(plan) {
            Some(path) => failure(
                FailureKind::CommandNotFound,
                format!(
                    "{} is there, but the interpreter or loader that it names is not",
                    text(path.to_bytes())
                ),
            ),
            None => failure(FailureKind::CommandNotFound, format!("{program}: command not found")),
        },
        Errno::NAMETOOLONG | Errno::LOOP => {
            failure(FailureKind::CommandNotFound, format!("{program}: {}", errno_text(errno)))
        }
        Errno::TOOBIG => {
            failure(FailureKind::InvalidArgument, "the arguments and the environment are too long")
        }
        Errno::ACCESS
        | Errno::NOEXEC
        | Errno::ISDIR
        | Errno::PERM
        | Errno::TXTBSY
        | Errno::LIBBAD
        | Errno::INVAL => {
            failure(FailureKind::CommandNotExecutable, format!("{program}: {}", errno_text(errno)))
        }
        _ => system(format_args!("{program} cannot be executed"), errno),
    }
}

/// The first candidate that exists, for a message about its interpreter.
fn first_existing(plan: &Plan) -> Option<&CStr> {
    let exists = |path: &&CString| rustix::fs::stat(path.as_c_str()).is_ok();
    plan.candidates.iter().find(exists).map(CString::as_c_str)
}
