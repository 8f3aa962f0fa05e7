//! Frames over asynchronous byte streams, for every process that speaks the protocol.
//!
//! Owns reading (bytes to frames) and writing (a bounded queue to bytes). Knows nothing of what the
//! frames mean and never buffers without a bound: a queue that its peer does not drain is an error of
//! the sender, who then ends the connection.

mod outbox;
mod reader;

pub use outbox::{Outbox, OutboxError, OutboxQueue, WRITE_BYTES_MAX, outbox};
pub use reader::{FrameReader, ReadError};
