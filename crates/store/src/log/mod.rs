//! The log of a service: lines of both its outputs in the order they came, with times, in files of bounded size.
//!
//! Lines are written as container runtimes write them for Kubernetes (the CRI's logging format: time, stream, `F` for
//! the end of a line or `P` for a part of one, text). The bytes of all lines together have offsets that only grow; each
//! file is named by the offset of its first byte, and the oldest goes when there are too many.

mod lines;
mod reader;
mod segment;
mod writer;

pub use lines::{LogLine, LogLines};
pub use reader::LogReader;
pub use writer::LogWriter;
