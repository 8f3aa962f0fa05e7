//! AF_VSOCK sockets between a host and its guests: addresses, context ids, connecting and listening.
//!
//! Owns how the two sides find each other, and who else could be found. A guest comes to its host, never the other way round: whoever listens in a
//! guest could be reached by every user of the host, while a host sees from the kernel which guest has come. Each of
//! the two lanes has a port of its own, which follows from the guest's context id ([`Cid::control_port`]): a guest
//! that has become another one by a fork finds its new host by nothing but its new id.
//!
//! Must never do: wait for a peer without being asked to, or know what is said.

mod address;
mod cid;
mod diag;
mod limits;
mod sockets;

pub use address::{Address, HOST_CID};
pub use cid::{Cid, OwnCid, claim};
pub use diag::open_to_guests;
pub use sockets::{Acceptor, connect, listen, try_socket};
