//! Context ids: which ones guests get, having one to oneself, and learning one's own.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

/// Below it are the ids that others like to count from; above it there is room for ports as well, all of them
/// beyond the privileged ones.
const CID_MIN: u32 = 0x1_0000;

/// Ids end here: a signed number of 32 bits holds each, and none is the wildcard.
const CID_MAX: u32 = 0x7fff_fffe;

/// `VHOST_VSOCK_SET_GUEST_CID` (linux/vhost.h).
const SET_GUEST_CID: Opcode = opcode::write::<u64>(0xAF, 0x60);

/// `IOCTL_VM_SOCKETS_GET_LOCAL_CID` (linux/vm_sockets.h).
const GET_LOCAL_CID: Opcode = opcode::none(7, 0xb9);

/// Where a guest asks for its id.
const VSOCK_DEVICE: &str = "/dev/vsock";

/// The context id of one guest: even, so that the two ports of one guest are never those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cid(u32);

impl Cid {
    /// Makes one of random bits.
    pub fn from_random(bits: u32) -> Cid {
        Cid(CID_MIN + (bits % (CID_MAX - CID_MIN + 1)) / 2 * 2)
    }

    /// Reads an id that a kernel gave; `None` for one that no guest of ours has.
    pub fn new(cid: u32) -> Option<Cid> {
        ((CID_MIN..=CID_MAX).contains(&cid) && cid.is_multiple_of(2)).then_some(Cid(cid))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }

    /// Where the host awaits this guest's control lane.
    pub fn control_port(self) -> u32 {
        self.0
    }

    /// Where it awaits its bulk lane.
    pub fn bulk_port(self) -> u32 {
        self.0 + 1
    }
}

/// Has a guest's id for as long as `device`, an open `/dev/vhost-vsock`, is open anywhere: the kernel gives no id
/// twice, whoever asks.
///
/// # Errors
/// `EADDRINUSE` when another has it.
pub fn claim(device: &File, cid: Cid) -> io::Result<()> {
    // SAFETY: the request reads one `u64`, which is what it is given.
    let request = unsafe { Setter::<SET_GUEST_CID, u64>::new(u64::from(cid.0)) };
    // SAFETY: the request is what the device of this name takes; any other refuses it.
    Ok(unsafe { ioctl(device.as_fd(), request) }?)
}

/// What tells a guest its own id, which changes with each fork. It is opened once: whoever is root in the guest can put
/// anything in its place later.
#[derive(Debug)]
pub struct OwnCid(File);

impl OwnCid {
    /// Opens it.
    ///
    /// # Errors
    /// When the kernel has no vsock.
    pub fn open() -> io::Result<OwnCid> {
        File::open(VSOCK_DEVICE).map(OwnCid)
    }

    /// This machine's id now; `VMADDR_CID_ANY` while it has no device that gives it one.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn get(&self) -> io::Result<u32> {
        // SAFETY: the request writes one `u32`, which is what it is given room for.
        let request = unsafe { Getter::<GET_LOCAL_CID, u32>::new() };
        // SAFETY: the request is what the device of this name takes; any other refuses it.
        Ok(unsafe { ioctl(self.0.as_fd(), request) }?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every id is in bounds and even, whatever the random bits: its ports are nobody else's.
    #[test]
    fn ids_keep_to_their_range() {
        for bits in [0, 1, 2, CID_MIN, CID_MAX - 1, CID_MAX, CID_MAX + 1, u32::MAX - 1, u32::MAX] {
            let cid = Cid::from_random(bits);
            assert_eq!(Cid::new(cid.get()), Some(cid), "{bits}");
            assert_eq!(Cid::new(cid.bulk_port()), None, "{bits}");
        }
        for nobodys in [0, 1, 2, 3, 4, CID_MIN - 2, CID_MAX + 2, u32::MAX] {
            assert_eq!(Cid::new(nobodys), None, "{nobodys}");
        }
    }

    /// The requests' numbers are the kernel's.
    #[test]
    fn requests_have_the_kernels_numbers() {
        assert_eq!((SET_GUEST_CID, GET_LOCAL_CID), (0x4008_AF60, 0x7b9));
    }
}
