//! What is said to a shim by a process that does not wait for an answer, or not for what it says. Blocking, and
//! bounded.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use pyro_proto::hello::Hello;
use pyro_proto::{Frame, Kind, StreamId, encode, shim};
use pyro_store::ProcessIdentity;

use crate::Failure;
use crate::connection::lost;
use crate::limits::{POOL_END_SECONDS_MAX, SHIM_KILLED_SECONDS_MAX};
use crate::socket::{connect_blocking, peer};

/// Opens a connection and makes one request on it.
pub(crate) fn words(mut socket: &UnixStream, request: &shim::Request) -> Result<(), Failure> {
    let mut nonce = [0; 8];
    rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty()).map_err(lost)?;
    let hello = encode(&Hello::new(u64::from_le_bytes(nonce))).map_err(lost)?;
    let open = encode(request).map_err(lost)?;
    let mut bytes = Vec::new();
    Frame { stream: StreamId::CONNECTION, kind: Kind::Hello, payload: hello }.write_to(&mut bytes);
    Frame { stream: StreamId(1), kind: Kind::Open, payload: open }.write_to(&mut bytes);
    socket.set_write_timeout(Some(POOL_END_SECONDS_MAX)).map_err(lost)?;
    socket.write_all(&bytes).map_err(lost)
}

/// Has the shim at a socket end its VM, which nobody uses, and does not wait until it has.
pub(crate) fn end(path: &Path) -> Option<Ending> {
    let socket = connect_blocking(path).ok()?;
    let shim = peer(&socket);
    words(&socket, &shim::Request::Stop { discard: true }).ok()?;
    Some(Ending { socket, shim })
}

/// A shim that was told to end.
#[derive(Debug)]
pub(crate) struct Ending {
    socket: UnixStream,
    shim: Option<ProcessIdentity>,
}

/// Waits until a shim that is ending is gone, the process too; one that does not go within a bound is killed, its VM with
/// it.
pub(crate) fn gone(ending: Ending) {
    closes(ending.socket);
    if let Some(shim) = ending.shim {
        // One that has closed its side has left nothing, and has nothing more to do.
        shim.kill_and_wait(SHIM_KILLED_SECONDS_MAX);
    }
}

/// Waits until the other side closes a socket, within a bound, whatever it says before.
fn closes(mut socket: UnixStream) {
    let deadline = Instant::now() + POOL_END_SECONDS_MAX;
    let mut answer = [0; 4096];
    while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        match socket.set_read_timeout(Some(left)).and_then(|()| socket.read(&mut answer)) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The end, or out of time, or out of order: a connection that was broken off has no other side.
            Ok(0) | Err(_) => return,
        }
    }
}
