//! `pyro shim`: the supervisor of one VM. Its standard input is a socket to the client that started it.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use crate::exit::Status;
use crate::terminal;

pub(crate) fn run() -> ExitCode {
    let starter = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    // Only a socket has a local address: a person who types the command gets a sentence, not a hang.
    match starter {
        Ok(starter) if starter.local_addr().is_ok() => pyro_shim::serve(starter),
        _ => {
            terminal::error("`pyro shim` is started by other commands, not by hand");
            Status::USAGE.into()
        }
    }
}
