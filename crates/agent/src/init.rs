//! The agent as PID 1: boots, then serves one host after the other for as long as the machine runs.

use std::rc::Rc;

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::system::RebootCommand;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::LocalSet;

use crate::boot::{self, BootError};
use crate::console::warn;
use crate::exec::{Cgroups, Engine, Reaper};
use crate::failure::errno_text;
use crate::guest::{Guest, Stage};
use crate::limits::{BLOCKING_THREADS_MAX, OPEN_FILES_HARD};
use crate::port::{Port, PortStream};
use crate::session::serve;

/// Runs the guest. Comes back only when it cannot: the machine is then powered off.
pub fn run() {
    if let Err(error) = boot_and_serve() {
        warn(error);
    }
    rustix::fs::sync();
    let _ = rustix::system::reboot(RebootCommand::PowerOff);
    let _ = rustix::system::reboot(RebootCommand::Restart);
}

/// Why the agent cannot serve.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("booting failed: {0}")]
    Boot(#[from] BootError),
    #[error("the event loop failed: {0}")]
    Runtime(#[from] std::io::Error),
}

fn boot_and_serve() -> Result<(), InitError> {
    let mounted = boot::mount_kernel_filesystems();
    boot::open_console();
    mounted?;
    boot::load_modules()?;
    boot::mount_devices()?;
    let ports = boot::ports()?;
    if let Err(errno) = boot::bring_up_loopback() {
        warn(format_args!("the loopback interface does not come up: {}", errno_text(errno)));
    }
    let cgroups = Cgroups::below(&boot::make_command_cgroups()?).map_err(BootError::Cgroups)?;
    raise_open_files();
    let engine = Engine::new(Reaper::new(), cgroups);
    engine.prepare_next();
    let guest = Rc::new(Guest::new(Stage::Booted, engine));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()?;
    Ok(LocalSet::new().block_on(&runtime, serve_hosts(guest, ports))?)
}

/// For the agent itself, whose calls hold several descriptors each, and as the bound for all commands.
fn raise_open_files() {
    let limit = Rlimit { current: Some(OPEN_FILES_HARD), maximum: Some(OPEN_FILES_HARD) };
    if let Err(errno) = setrlimit(Resource::Nofile, limit) {
        warn(format_args!("the limit of open files stays as it is: {}", errno_text(errno)));
    }
}

async fn serve_hosts(guest: Rc<Guest>, (control, bulk): (Port, Port)) -> std::io::Result<()> {
    let children = signal(SignalKind::child())?;
    tokio::task::spawn_local(reap(Rc::clone(&guest), children));
    loop {
        let (control_stream, bulk_stream) = (control.stream()?, bulk.stream()?);
        serve(Rc::clone(&guest), halves(control_stream), halves(bulk_stream)).await;
        control.host_returned().await;
        bulk.host_returned().await;
    }
}

/// Reaps for as long as children end.
pub(crate) async fn reap(guest: Rc<Guest>, mut children: Signal) {
    while children.recv().await.is_some() {
        guest.engine.reap();
    }
}

fn halves(stream: PortStream) -> (PortStream, PortStream) {
    (stream.clone(), stream)
}
