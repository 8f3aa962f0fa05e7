//! Trees across the border between host and guest.
//!
//! Inward: a host directory or an archive becomes a stream of [`pyro_proto::tree`]. Outward: such a stream
//! lands on the host, as an export, or as changes applied to a directory that may have moved on. Blocking
//! code that knows nothing of virtual machines. Nothing from a guest or an archive is trusted, and nothing is
//! read or written outside the directory that was named.

pub mod apply;
pub mod changes;
pub mod landing;
pub mod limits;
pub mod source;
