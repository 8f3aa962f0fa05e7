//! The handshake: first frame on every connection, and again after every fork of a guest.

use serde::{Deserialize, Serialize};

use crate::limits::PROTOCOL_VERSION;

/// Marks a peer as pyro's; anything else is refused before its messages are read.
pub const MAGIC: [u8; 4] = *b"pyro";

/// Sent by the side that connects; the other side answers with its own and the same nonce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Always [`MAGIC`].
    pub magic: [u8; 4],
    /// The sender's [`PROTOCOL_VERSION`].
    pub version: u16,
    /// New for every connection and every fork, so that a stale answer is told from a fresh one.
    pub nonce: u64,
    /// The sender knows every call that is open, as another host has told it: they go on. Without, they end.
    pub continues: bool,
    /// The sender's release, for people who read logs.
    pub build: String,
}

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// The peer is something else.
    #[error("the peer does not speak this protocol")]
    NotPyro,
    /// The peer is another release.
    #[error("the peer speaks protocol version {theirs}, this side speaks {PROTOCOL_VERSION}")]
    Version {
        /// The peer's version.
        theirs: u16,
    },
    /// The answer belongs to an earlier handshake.
    #[error("the peer answered an earlier handshake")]
    Stale,
}

impl Hello {
    /// A handshake of this release that starts over.
    pub fn new(nonce: u64) -> Hello {
        Hello {
            magic: MAGIC,
            version: PROTOCOL_VERSION,
            nonce,
            continues: false,
            build: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// One that takes over the calls of another host.
    pub fn continuing(nonce: u64) -> Hello {
        Hello { continues: true, ..Hello::new(nonce) }
    }

    /// Checks what a peer opened with.
    pub fn check(&self) -> Result<(), HelloError> {
        if self.magic != MAGIC {
            return Err(HelloError::NotPyro);
        }
        if self.version != PROTOCOL_VERSION {
            return Err(HelloError::Version { theirs: self.version });
        }
        Ok(())
    }

    /// Checks what a peer answered to a handshake with `nonce`.
    pub fn check_answer(&self, nonce: u64) -> Result<(), HelloError> {
        self.check()?;
        if self.nonce == nonce { Ok(()) } else { Err(HelloError::Stale) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another protocol version, another program and a stale answer are three different refusals.
    #[test]
    fn handshake_tells_its_refusals_apart() {
        assert_eq!(Hello::new(1).check_answer(1), Ok(()));
        assert_eq!(Hello::new(1).check_answer(2), Err(HelloError::Stale));
        assert_eq!(Hello { version: 0, ..Hello::new(1) }.check(), Err(HelloError::Version { theirs: 0 }));
        assert_eq!(Hello { magic: *b"HTTP", ..Hello::new(1) }.check(), Err(HelloError::NotPyro));
    }
}
