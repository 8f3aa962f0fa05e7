//! What a shim is held by while its VM is a process's own.

use std::io::{self, Read};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use tokio::process::Child;

use crate::limits::{SHIM_DROP_POLL, SHIM_DROP_SECONDS_MAX};

/// The socket that a shim lives by, and its process where this one started it.
#[derive(Debug)]
pub(super) struct Tie(Option<Ends>);

#[derive(Debug)]
struct Ends {
    socket: UnixStream,
    child: Option<Child>,
}

impl Tie {
    /// To a shim that this process started.
    pub(super) fn child(child: Child, socket: UnixStream) -> Tie {
        Tie(Some(Ends { socket, child: Some(child) }))
    }

    /// To one that was parked.
    pub(super) fn taken(socket: UnixStream) -> Tie {
        Tie(Some(Ends { socket, child: None }))
    }

    /// From now on the shim lives its own life.
    pub(super) fn loosen(&mut self) {
        self.0 = None;
    }

    /// The shim's process.
    pub(super) fn process(&mut self) -> Option<&mut Child> {
        self.0.as_mut()?.child.as_mut()
    }
}

impl Drop for Tie {
    /// Work that was called off is dropped, not awaited: this is where it ends before its caller goes on.
    fn drop(&mut self) {
        let Some(Ends { socket, child }) = &mut self.0 else { return };
        let deadline = Instant::now() + SHIM_DROP_SECONDS_MAX;
        match child {
            Some(child) => {
                let _ = socket.shutdown(Shutdown::Both);
                while let Ok(None) = child.try_wait() {
                    if Instant::now() > deadline {
                        let _ = child.start_kill();
                        return;
                    }
                    std::thread::sleep(SHIM_DROP_POLL);
                }
            }
            None => {
                // The shim sees this side end, and closes its own when nothing of the VM is left.
                let _ = socket.shutdown(Shutdown::Write);
                while is_open(socket) && Instant::now() < deadline {
                    std::thread::sleep(SHIM_DROP_POLL);
                }
            }
        }
    }
}

/// Whether the other side of a socket that does not block is still there; what it says is of no interest any more.
fn is_open(socket: &mut UnixStream) -> bool {
    let mut words = [0; 4096];
    loop {
        match socket.read(&mut words) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket is open until its other side has closed it, whatever that has said before.
    #[test]
    fn an_end_is_seen_behind_words() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        assert!(is_open(&mut ours));
        io::Write::write_all(&mut &theirs, b"words").unwrap();
        assert!(is_open(&mut ours));
        drop(theirs);
        assert!(!is_open(&mut ours));
    }
}
