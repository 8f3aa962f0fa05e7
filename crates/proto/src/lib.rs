//! What client, shim and guest agent say to one another.
//!
//! One protocol runs from the client through the shim to the agent, so that there is one decoder to
//! harden. This crate owns its frames, messages and flow-control arithmetic. It does no I/O, holds no
//! clock, and never trusts a byte: decoding is total (every input gives a value or an error, never a
//! panic) and bounded (no length is believed before it is compared with a limit).
//!
//! A *call* is one stream: the opener sends [`Kind::Open`], the other side answers with any number of
//! [`Kind::Event`] frames and exactly one [`Kind::Reply`]. Bytes of a call flow as [`Kind::Data`] per
//! [`Channel`], each channel ends with [`Kind::Eof`], and each has a window that the receiver refills
//! with [`Kind::Credit`]. Control and bulk frames travel on separate lanes where the transport has two.

pub mod agent;
pub mod frame;
pub mod hello;
pub mod limits;
mod payload;
pub mod shim;
pub mod tree;
pub mod window;

pub use frame::{Channel, Decoder, Frame, FrameError, Kind, Lane, StreamId};
pub use payload::{PayloadError, decode, encode};
