//! Sockets that do not block.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::address::{Address, HOST_CID};
use crate::limits::{CONNECT_SECONDS_MAX, CONNECTIONS_WAITING_MAX};

/// `SO_VM_SOCKETS_CONNECT_TIMEOUT` (linux/vm_sockets.h).
const CONNECT_TIMEOUT: libc::c_int = 6;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// Whether this process can have a socket of this family.
///
/// # Errors
/// `EPERM` or `EACCES` where a container's rules forbid it. Others forbid it too, or the kernel's module is not loaded yet.
pub fn try_socket() -> io::Result<()> {
    stream().map(drop)
}

/// Listens at a port of the host for its guests; whoever else is on the host comes from elsewhere.
///
/// # Errors
/// `EADDRINUSE` when somebody listens there, others when the host has no vsock or it is not permitted.
pub fn listen(port: u32) -> io::Result<OwnedFd> {
    let listener = stream()?;
    rustix::net::bind(&listener, &Address { cid: HOST_CID, port })?;
    rustix::net::listen(&listener, CONNECTIONS_WAITING_MAX)?;
    Ok(listener)
}

/// A listener in the event loop.
#[derive(Debug)]
pub struct Acceptor(AsyncFd<OwnedFd>);

impl Acceptor {
    /// Enters a listener that [`listen`] gave into the event loop of this thread.
    ///
    /// # Errors
    /// When the event loop has no room.
    pub fn new(listener: OwnedFd) -> io::Result<Acceptor> {
        // SAFETY: an `OwnedFd` is open and the same until it is dropped, and the `AsyncFd` owns it.
        let watched = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) };
        Ok(Acceptor(watched.map_err(|error| error.into_parts().1)?))
    }

    /// Waits for the next connection; gives also who has made it. May be given up and called again.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn next(&self) -> io::Result<(OwnedFd, Option<Address>)> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|listener| Ok(rustix::net::acceptfrom_with(listener.get_ref(), FLAGS)?)) {
                Ok(Ok((stream, peer))) => return Ok((stream, peer.as_ref().and_then(Address::read))),
                // The connection has failed, not the listener (accept(2)).
                Ok(Err(error)) if is_passing(&error) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => {} // nobody after all
            }
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}

/// Begins to connect. The connection stands, or has failed, once the socket can be written to.
///
/// # Errors
/// When it can be told at once that nobody is there.
pub fn connect(to: Address) -> io::Result<OwnedFd> {
    let stream = stream()?;
    set_patience(&stream)?;
    match rustix::net::connect(&stream, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(stream),
        Err(errno) => Err(errno.into()),
    }
}

fn set_patience(stream: &OwnedFd) -> io::Result<()> {
    let patience = libc::timeval { tv_sec: CONNECT_SECONDS_MAX, tv_usec: 0 };
    // SAFETY: the option (linux/vm_sockets.h, its first form) takes one `timeval`, which lives on this stack.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::AF_VSOCK,
            CONNECT_TIMEOUT,
            (&raw const patience).cast(),
            size_of::<libc::timeval>() as libc::socklen_t,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn stream() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::VSOCK, SocketType::STREAM, FLAGS, None)?)
}
