//! Addresses of AF_VSOCK, which rustix has no type for.

#![allow(unsafe_code)]

use rustix::net::AddressFamily;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{SocketAddrAny, addr::SocketAddrStorage};

/// The host's context id as its guests, and its own listeners, name it (`VMADDR_CID_HOST`, vsock(7)).
pub const HOST_CID: u32 = libc::VMADDR_CID_HOST;

/// A context id and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The machine.
    pub cid: u32,
    /// The port in it.
    pub port: u32,
}

impl Address {
    /// Reads an address that the kernel gave; `None` for one of another family.
    pub(crate) fn read(address: &SocketAddrAny) -> Option<Address> {
        let fits = address.addr_len() as usize >= size_of::<libc::sockaddr_vm>()
            && address.address_family() == AddressFamily::VSOCK;
        // SAFETY: the address is of this family and as long as its structure, which is plain numbers; it may lie
        // anywhere, hence the unaligned read.
        let read =
            |from: *const SocketAddrStorage| unsafe { from.cast::<libc::sockaddr_vm>().read_unaligned() };
        let raw = fits.then(|| read(address.as_ptr()))?;
        Some(Address { cid: raw.svm_cid, port: raw.svm_port })
    }

    fn to_raw(self) -> libc::sockaddr_vm {
        // SAFETY: all zeros is a value of this plain structure.
        let mut raw: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
        raw.svm_family = AddressFamily::VSOCK.as_raw();
        raw.svm_cid = self.cid;
        raw.svm_port = self.port;
        raw
    }
}

// SAFETY: the closure gets a whole `sockaddr_vm` that lives while it runs, and its length.
unsafe impl SocketAddrArg for Address {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        let raw = self.to_raw();
        f((&raw const raw).cast(), size_of::<libc::sockaddr_vm>() as SocketAddrLen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written is read, and an address of another family is none.
    #[test]
    fn addresses_go_there_and_back() {
        let address = Address { cid: 0x7fff_0002, port: u32::MAX - 1 };
        assert_eq!(Address::read(&address.as_any()), Some(address));
        let other: std::net::SocketAddr = "127.0.0.1:80".parse().unwrap();
        assert_eq!(Address::read(&other.as_any()), None);
    }
}
