//! Starting a shim and ending it. The shim is this same program under a hidden command; it gets one end
//! of a socket as its standard input and everything else in its first message.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::pin::pin;
use std::process::Stdio;

use pyro_proto::shim::{self, FailureCode, Transport};
use pyro_store::ProcessIdentity;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::connection::{Connection, lost, unexpected};
use crate::limits::{
    POOL_ANSWER_SECONDS_MAX, POOL_TAKE_SECONDS_MAX, SHIM_END_SECONDS_MAX, SHIM_KILLED_SECONDS_MAX,
};
use crate::socket::peer;
use crate::ways::{VsockHost, explain_vsock};
use crate::{Code, Failure};

pub(crate) mod parting;
mod tie;

use tie::Tie;

/// A shim whose VM is this process's own. Dropping it ends the VM, and waits a moment until that has happened.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) connection: Connection,
    tie: Tie,
}

/// How a parked shim met an order.
#[derive(Debug)]
pub(crate) enum Taken {
    /// The VM is up, and this process's own.
    Up(Box<Supervisor>, shim::Started),
    /// The order cannot be met, by no VM.
    Refused(Failure),
    /// It was of no use: another VM may be.
    Useless,
}

impl Supervisor {
    /// Starts a shim and has it bring its VM up.
    pub(crate) async fn start(
        program: &Path,
        start: shim::Start,
        on_event: impl FnMut(shim::Event),
    ) -> Result<(Supervisor, shim::Started), Failure> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(cannot_start)?;
        let child = spawn(program, OwnedFd::from(theirs))?;
        let tie = Tie::child(child, ours.try_clone().map_err(cannot_start)?);
        ours.set_nonblocking(true).map_err(cannot_start)?;
        let connection = Connection::greet(UnixStream::from_std(ours).map_err(cannot_start)?).await?;
        let mut supervisor = Supervisor { connection, tie };
        // A kept memory has no other way to be reached than its own.
        let is_of_memory = matches!(&start.purpose, shim::Purpose::Workspace(workspace) if workspace.memory);
        let may_lack_vsock = start.machine.transport == Transport::Vsock && !is_of_memory;
        match supervisor.connection.request(&shim::Request::Start(Box::new(start)), on_event).await? {
            shim::Reply::Started(started) => Ok((supervisor, started)),
            shim::Reply::Failed(failure) => {
                supervisor.ended().await;
                let failure = failure.into();
                Err(if may_lack_vsock { explain_vsock(failure, &VsockHost::look()) } else { failure })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Starts a shim that lives on without this process, and does not wait for anything that it says.
    pub(crate) fn start_alone(program: &Path, start: shim::Start) -> Result<ProcessIdentity, Failure> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(cannot_start)?;
        // The words wait in the socket, whose other end outlives this one.
        parting::words(&ours, &shim::Request::Start(Box::new(start)))?;
        let child = spawn(program, OwnedFd::from(theirs))?;
        child.id().and_then(ProcessIdentity::of).ok_or_else(|| lost("it has ended at once"))
    }

    /// Has a parked shim take an order, with which its VM becomes this process's own. `on_connected` is told when
    /// it has answered. One that is of no use, or has not brought its VM up within a bound, is killed: nobody else
    /// will come for it.
    pub(crate) async fn take(socket: UnixStream, start: shim::Start, on_connected: impl FnOnce()) -> Taken {
        let shim = peer(&socket);
        let mut taking = pin!(Supervisor::order(socket, start, on_connected));
        let taken = tokio::time::timeout(POOL_TAKE_SECONDS_MAX, &mut taking).await;
        let taken = taken.unwrap_or(Taken::Useless);
        if let (Taken::Useless, Some(shim)) = (&taken, shim) {
            shim.kill_and_wait(SHIM_KILLED_SECONDS_MAX);
        }
        taken
    }

    async fn order(socket: UnixStream, start: shim::Start, on_connected: impl FnOnce()) -> Taken {
        let Ok(ours) = socket.as_fd().try_clone_to_owned() else { return Taken::Useless };
        let greeted = tokio::time::timeout(POOL_ANSWER_SECONDS_MAX, Connection::greet(socket)).await;
        let Ok(Ok(connection)) = greeted else { return Taken::Useless };
        on_connected();
        let mut supervisor = Supervisor { connection, tie: Tie::taken(ours.into()) };
        let order = shim::Request::Start(Box::new(start));
        match supervisor.connection.request(&order, |_| {}).await {
            Ok(shim::Reply::Started(started)) => Taken::Up(Box::new(supervisor), started),
            Ok(shim::Reply::Failed(failure)) => {
                supervisor.ended().await;
                if is_its_own(failure.code) { Taken::Useless } else { Taken::Refused(failure.into()) }
            }
            Ok(_) | Err(_) => Taken::Useless,
        }
    }

    /// Lets go of the shim: it lives on as its VM does, and this is one client of many.
    pub(crate) fn detach(mut self) -> Connection {
        self.tie.loosen();
        self.connection
    }

    /// Memory of the VMM that it shares with nothing, in KiB.
    pub(crate) async fn private_kib(&mut self) -> Result<u64, Failure> {
        match self.connection.request(&shim::Request::Status, |_| {}).await? {
            shim::Reply::Status(status) => Ok(status.private_kib),
            shim::Reply::Failed(failure) => Err(failure.into()),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends the VM, which has no workspace; returns once nothing of it is left.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        let asked = self.connection.request(&shim::Request::Stop { discard: true }, |_| {});
        let Ok(reply) = tokio::time::timeout(SHIM_END_SECONDS_MAX, asked).await else {
            self.kill().await;
            return Err(lost("it did not end in time"));
        };
        self.ended().await;
        match reply {
            Ok(shim::Reply::Stopped) => Ok(()),
            Ok(shim::Reply::Failed(failure)) => Err(failure.into()),
            Ok(other) => Err(unexpected(&other)),
            Err(failure) => Err(failure),
        }
    }

    /// Waits for a shim that ends by itself: its cleaning up is done when it is gone.
    pub(crate) async fn ended(&mut self) {
        let gone = async {
            self.connection.closed().await;
            if let Some(child) = self.tie.process() {
                let _ = child.wait().await;
            }
        };
        if tokio::time::timeout(SHIM_END_SECONDS_MAX, gone).await.is_err() {
            self.kill().await;
        }
    }

    /// Its VM dies with it, and what it leaves the next command removes.
    async fn kill(&mut self) {
        if let Some(child) = self.tie.process() {
            let _ = child.start_kill();
            let _ = child.wait().await;
        }
    }
}

fn spawn(program: &Path, socket: OwnedFd) -> Result<Child, Failure> {
    Command::new(program)
        .arg("shim")
        .env_clear()
        .stdin(socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .spawn()
        .map_err(cannot_start)
}

/// Whether a parked VM failed at an order for a reason of its own: it was not well, or was just ending.
fn is_its_own(code: FailureCode) -> bool {
    matches!(
        code,
        FailureCode::VmmFailed
            | FailureCode::VmmDied
            | FailureCode::GuestSilent
            | FailureCode::GuestPanicked
            | FailureCode::GuestEnded
            | FailureCode::GuestFaulty
            | FailureCode::TemplateUnusable
            | FailureCode::Stopped
            | FailureCode::Refused
    )
}

fn cannot_start(error: std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::NotFound {
        return lost(error);
    }
    Failure::new(Code::System, "the VM's supervisor could not be started")
        .because(error)
        .fix("check the limits on processes and open files (`ulimit -a`)")
}
