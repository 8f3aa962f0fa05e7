//! Where a guest and its VMM's owner meet over vsock.
//!
//! The id is claimed here, on the device that QEMU then inherits: the kernel gives no id twice, so that neither two
//! supervisors nor another program that starts VMs can meet on one. The host listens before its guest runs, and takes
//! the first connection to each port that comes from this guest; the kernel says who comes. Then nobody listens any
//! more: programs in the guest can reach nothing of ours.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;

use pyro_jail::Access;
use pyro_vsock::{Acceptor, Cid, claim, listen};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::net::UnixStream;

use crate::error::VmmError;
use crate::launch::open;
use crate::limits::CID_TRIES_MAX;
use crate::vm::GuestChannels;

/// Device node through which a guest gets a context id.
pub const VHOST_DEVICE: &str = "/dev/vhost-vsock";

/// The two sockets that a guest will come to.
#[derive(Debug)]
pub(crate) struct Rendezvous {
    cid: Cid,
    control: OwnedFd,
    bulk: OwnedFd,
}

/// Finds out whether guests can be reached over vsock here: does everything that a start does before QEMU, and undoes
/// it.
///
/// # Errors
/// [`VmmError::Open`] when the device is missing or not permitted, [`VmmError::Vsock`] when ids or sockets are refused.
pub fn try_vsock() -> Result<(), VmmError> {
    Rendezvous::prepare().map(drop)
}

impl Rendezvous {
    /// Claims an id; gives also the device, which has it for as long as it is open. It is QEMU's from then on, and nobody
    /// else's: on some kernels a process that has a vhost device does not end before all have closed it (Linux 6.4 to 6.8).
    pub(crate) fn prepare() -> Result<(Rendezvous, File), VmmError> {
        let device = open(Path::new(VHOST_DEVICE), Access::ReadWrite)?;
        let mut tries = 0;
        loop {
            tries += 1;
            match claim_and_listen(&device) {
                Ok(rendezvous) => return Ok((rendezvous, device)),
                // Somebody has the id, or listens at one of its ports.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < CID_TRIES_MAX => {}
                Err(error) => return Err(VmmError::Vsock(error)),
            }
        }
    }

    /// The guest's id.
    pub(crate) fn cid(&self) -> Cid {
        self.cid
    }

    /// Waits until the guest has come to both ports; both are listened at until then, which tells this listener from others.
    pub(crate) async fn meet(self) -> io::Result<GuestChannels> {
        let (at_control, at_bulk) = (Acceptor::new(self.control)?, Acceptor::new(self.bulk)?);
        let (control, bulk) = tokio::try_join!(first(&at_control, self.cid), first(&at_bulk, self.cid))?;
        Ok(GuestChannels { control, bulk })
    }
}

fn claim_and_listen(device: &File) -> io::Result<Rendezvous> {
    let mut bits = [0; 4];
    getrandom(&mut bits, GetRandomFlags::empty())?;
    let cid = Cid::from_random(u32::from_ne_bytes(bits));
    claim(device, cid)?;
    Ok(Rendezvous { cid, control: listen(cid.control_port())?, bulk: listen(cid.bulk_port())? })
}

/// The first connection from this guest; others are turned away.
async fn first(acceptor: &Acceptor, cid: Cid) -> io::Result<UnixStream> {
    loop {
        match acceptor.next().await? {
            (stream, Some(peer)) if peer.cid == cid.get() => return to_stream(stream),
            _stranger => {}
        }
    }
}

/// A stream socket is read, written, polled and closed alike in every family; the type is no more than its descriptor
/// in the event loop.
fn to_stream(socket: OwnedFd) -> io::Result<UnixStream> {
    UnixStream::from_std(StdUnixStream::from(socket))
}
