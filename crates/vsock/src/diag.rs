//! Who listens on this host, as the kernel tells it (`NETLINK_SOCK_DIAG`, linux/vm_sockets_diag.h).

use std::io;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use crate::address::{Address, HOST_CID};
use crate::limits::SOCKETS_LISTED_MAX;

/// `VMADDR_CID_ANY`: a listener for whoever comes, guests included.
const ANY_CID: u32 = u32::MAX;

/// `SOCK_DIAG_BY_FAMILY` (linux/sock_diag.h); `NLM_F_REQUEST | NLM_F_DUMP`, `NLMSG_ERROR` and `NLMSG_DONE` (linux/netlink.h).
const DIAG_BY_FAMILY: u16 = 20;
const REQUEST_DUMP: u16 = 0x301;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// `TCP_LISTEN` (net/tcp_states.h), which vsock's sockets use.
const LISTEN: u8 = 10;

const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = 24;
const FAMILY_VSOCK: u8 = 40;

/// What one answer holds at most: the kernel fills pages.
const ANSWER_BYTES_MAX: usize = 32 * 1024;

/// Where guests of this host are listened to, by whatever program of this process's network namespace.
///
/// # Errors
/// When the kernel does not tell.
pub fn open_to_guests() -> io::Result<Vec<Address>> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG))?;
    send(&socket, &request(), SendFlags::empty())?;
    let mut listeners = Vec::new();
    let (mut answer, mut seen) = (vec![0; ANSWER_BYTES_MAX], 0);
    while seen < SOCKETS_LISTED_MAX {
        let (read, _) = recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
        let mut rest = answer.get(..read).unwrap_or_default();
        while let Some((kind, payload, after)) = message(rest) {
            match kind {
                DIAG_BY_FAMILY => listeners.extend(listener(payload)),
                DONE => return Ok(listeners),
                ERROR => return Err(io::ErrorKind::Unsupported.into()),
                _ => {}
            }
            seen += 1;
            rest = after;
        }
    }
    Ok(listeners)
}

fn request() -> [u8; HEADER_BYTES + REQUEST_BYTES] {
    let mut request = [0; HEADER_BYTES + REQUEST_BYTES];
    let length = (HEADER_BYTES + REQUEST_BYTES) as u32;
    request[..4].copy_from_slice(&length.to_ne_bytes());
    request[4..6].copy_from_slice(&DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&REQUEST_DUMP.to_ne_bytes());
    request[HEADER_BYTES] = FAMILY_VSOCK;
    // All states: the kernel leaves the choice to who asks.
    request[HEADER_BYTES + 4..HEADER_BYTES + 8].copy_from_slice(&u32::MAX.to_ne_bytes());
    request
}

/// The first of some messages: its type, what it carries, and what follows it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(number(bytes, 0)?).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let payload = bytes.get(HEADER_BYTES..length)?;
    Some((kind, payload, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// The address of a socket that guests can come to (`struct vsock_diag_msg`).
fn listener(payload: &[u8]) -> Option<Address> {
    let (family, state) = (payload.first()?, payload.get(2)?);
    let address = Address { cid: number(payload, 4)?, port: number(payload, 8)? };
    let is_open = (*family, *state) == (FAMILY_VSOCK, LISTEN) && [HOST_CID, ANY_CID].contains(&address.cid);
    is_open.then_some(address)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER_BYTES + payload.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend(payload);
        bytes
    }

    fn socket(state: u8, cid: u32, port: u32) -> Vec<u8> {
        let mut payload = vec![FAMILY_VSOCK, 1, state, 0];
        [cid, port, 0, 0, 0, 0, 0].iter().for_each(|number| payload.extend(number.to_ne_bytes()));
        payload
    }

    /// Listeners that guests can reach are told, others and connections are not; an answer cut short is no danger.
    #[test]
    fn listeners_for_guests_are_found() {
        let told = |state, cid| listener(&socket(state, cid, 22));
        for cid in [ANY_CID, HOST_CID] {
            assert_eq!(told(LISTEN, cid), Some(Address { cid, port: 22 }));
        }
        assert_eq!((told(LISTEN, 1), told(1, HOST_CID), listener(&[40, 1])), (None, None, None));
        let bytes = [answer(DIAG_BY_FAMILY, &socket(LISTEN, 2, 22)), answer(DONE, &[0; 4])].concat();
        let (kind, payload, rest) = message(&bytes).unwrap();
        assert_eq!((kind, listener(payload)), (DIAG_BY_FAMILY, Some(Address { cid: HOST_CID, port: 22 })));
        assert_eq!(message(rest).unwrap().0, DONE);
        for cut in 0..HEADER_BYTES {
            assert!(message(&bytes[..cut]).is_none());
        }
    }

    /// The kernel answers, or says that it cannot; it does not hang.
    #[test]
    fn the_kernel_can_be_asked() {
        match open_to_guests() {
            Ok(listeners) => assert!(listeners.iter().all(|at| [HOST_CID, ANY_CID].contains(&at.cid))),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
