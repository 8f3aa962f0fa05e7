//! QMP, QEMU's control protocol: one JSON object a line.
//!
//! QEMU is not trusted here: a compromised one may say anything. Lines and messages are bounded, decoding is
//! total, every command has a deadline. The client keeps of the events only why the machine shut down and how
//! the last migration went.

mod client;
mod message;

pub(crate) use client::{Client, MigrationState};

use std::io;

/// QMP went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QmpError {
    /// QEMU closed the channel: it is gone, or about to be.
    #[error("QEMU closed its control channel")]
    Closed,
    /// QEMU did not answer in time.
    #[error("QEMU did not answer {command} within {seconds} s")]
    Silent {
        /// What was asked.
        command: &'static str,
        /// How long was waited, in seconds.
        seconds: u64,
    },
    /// QEMU refused a command.
    #[error("QEMU refused {command}: {description}")]
    Refused {
        /// What was asked.
        command: &'static str,
        /// QEMU's words.
        description: String,
    },
    /// QEMU sent something that is not QMP.
    #[error("QEMU's control channel makes no sense: {what}")]
    Malformed {
        /// What was found.
        what: &'static str,
    },
    /// The channel itself failed.
    #[error("QEMU's control channel failed")]
    Channel(#[source] io::Error),
}
