//! Sockets of shims: reaching one, and whose it is.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use pyro_store::ProcessIdentity;
use rustix::fs::{Mode, OFlags};

/// A socket whose path may have any length: an address holds 107 bytes (unix(7)).
struct Address {
    path: PathBuf,
    /// What the path leads through.
    _directory: OwnedFd,
}

impl Address {
    fn of(path: &Path) -> io::Result<Address> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let (directory, name) = (path.parent().ok_or_else(invalid)?, path.file_name().ok_or_else(invalid)?);
        let directory =
            rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let path = Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
        Ok(Address { path, _directory: directory })
    }
}

/// Connects to a socket.
pub(crate) async fn connect_to(path: &Path) -> io::Result<tokio::net::UnixStream> {
    let address = Address::of(path)?;
    tokio::net::UnixStream::connect(&address.path).await
}

/// The same for who may block.
pub(crate) fn connect_blocking(path: &Path) -> io::Result<std::os::unix::net::UnixStream> {
    let address = Address::of(path)?;
    std::os::unix::net::UnixStream::connect(&address.path)
}

/// The process that listens at the other end of a socket.
pub(crate) fn peer(socket: &impl AsFd) -> Option<ProcessIdentity> {
    peer_pid(socket).and_then(ProcessIdentity::of)
}

/// Its number, which another process may have later.
pub(crate) fn peer_pid(socket: &impl AsFd) -> Option<u32> {
    let peer = rustix::net::sockopt::socket_peercred(socket).ok()?;
    u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket is reached at a path that is longer than an address, and it is known whose it is.
    #[test]
    fn long_paths_are_reached() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("d".repeat(200));
        std::fs::create_dir(&directory).unwrap();
        let address = Address::of(&directory.join("s")).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&address.path).unwrap();
        let socket = connect_blocking(&directory.join("s")).unwrap();
        assert_eq!(peer(&socket).map(|peer| peer.pid), Some(std::process::id()));
        assert!(connect_blocking(&directory.join("missing")).is_err());
    }
}
