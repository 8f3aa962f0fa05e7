//! The shim: the supervisor of one VM, a process of its own.
//!
//! It owns the VMM, the way to the guest's agent, and everything the VM has on disk; for a VM of a workspace
//! also the workspace, which stays when the VM goes, and its history. It lives exactly as long as its VM: it
//! ends it when asked to, when the client that started it leaves (before a workspace is ready, and always
//! where there is none), when the time to live is over, or when it is told to end itself; if it is killed, the kernel ends the VMM with it and the next
//! command removes what is left. It never reads the environment or a configuration: all it has to know is in
//! its first message.

mod bringup;
mod call;
mod calls;
mod client;
mod clock;
mod continued;
mod disks;
mod driver;
mod failure;
mod followers;
mod guest;
mod held;
mod identity;
mod layers;
mod life;
mod lifetime;
pub mod limits;
mod link;
mod parking;
mod process;
mod recorder;
mod room;
mod services;
mod settle;
mod shells;
mod signals;
mod socket;
mod tape;
mod timeline;
mod turns;
mod typing;
mod workspace;

use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// Serves the client at the other end of `starter` until its VM is gone. The process's whole life.
pub fn serve(starter: UnixStream) -> ExitCode {
    // The terminal's signals are the client's to interpret; files of a VM are its user's alone.
    let _ = rustix::process::setsid();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.and_then(|runtime| runtime.block_on(life::live(starter)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
