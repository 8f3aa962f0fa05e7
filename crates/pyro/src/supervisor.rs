//! Starting a shim and ending it. The shim is this same program under a hidden command; it gets one end
//! of a socket as its standard input and everything else in its first message.

use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use pyro_proto::shim;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::connection::{Connection, lost, unexpected};
use crate::limits::{SHIM_DROP_POLL, SHIM_DROP_SECONDS_MAX, SHIM_END_SECONDS_MAX};
use crate::{Code, Failure};

/// A shim that this process started. Dropping it ends the VM, and waits a moment until that has happened.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) connection: Connection,
    process: Process,
}

/// The shim's process, and the socket that it lives by.
#[derive(Debug)]
struct Process {
    /// `None` once the shim was let go of.
    child: Option<Child>,
    socket: std::os::unix::net::UnixStream,
}

impl Drop for Process {
    /// Work that was called off is dropped, not awaited: this is where it ends before its caller goes on.
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        let _ = self.socket.shutdown(Shutdown::Both);
        let deadline = Instant::now() + SHIM_DROP_SECONDS_MAX;
        while let Ok(None) = child.try_wait() {
            if Instant::now() > deadline {
                let _ = child.start_kill();
                return;
            }
            std::thread::sleep(SHIM_DROP_POLL);
        }
    }
}

impl Supervisor {
    /// Starts a shim and has it bring its VM up.
    pub(crate) async fn start(
        program: &Path,
        start: shim::Start,
        on_event: impl FnMut(shim::Event),
    ) -> Result<(Supervisor, shim::Started), Failure> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(cannot_start)?;
        let child = Command::new(program)
            .arg("shim")
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .spawn()
            .map_err(cannot_start)?;
        let process = Process { child: Some(child), socket: ours.try_clone().map_err(cannot_start)? };
        ours.set_nonblocking(true).map_err(cannot_start)?;
        let connection = Connection::greet(UnixStream::from_std(ours).map_err(cannot_start)?).await?;
        let mut supervisor = Supervisor { connection, process };
        match supervisor.connection.request(&shim::Request::Start(Box::new(start)), on_event).await? {
            shim::Reply::Started(started) => Ok((supervisor, started)),
            shim::Reply::Failed(failure) => {
                supervisor.ended().await;
                Err(failure.into())
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Lets go of the shim: it lives on as its VM does, and this is one client of many.
    pub(crate) fn detach(mut self) -> Connection {
        self.process.child = None;
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

    /// Ends the VM; returns once nothing of it is left.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        let asked = self.connection.request(&shim::Request::Stop, |_| {});
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
            if let Some(child) = &mut self.process.child {
                let _ = child.wait().await;
            }
        };
        if tokio::time::timeout(SHIM_END_SECONDS_MAX, gone).await.is_err() {
            self.kill().await;
        }
    }

    /// Its VM dies with it, and what it leaves the next command removes.
    async fn kill(&mut self) {
        if let Some(child) = &mut self.process.child {
            let _ = child.start_kill();
            let _ = child.wait().await;
        }
    }
}

fn cannot_start(error: std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::NotFound {
        return lost(error);
    }
    Failure::new(Code::System, "the VM's supervisor could not be started")
        .because(error)
        .fix("check the limits on processes and open files (`ulimit -a`)")
}
