//! Messages inside frames: postcard, whole payload or nothing.

use serde::{Serialize, de::DeserializeOwned};

/// Why a payload is not the message it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The bytes are no such message.
    #[error("malformed message: {0}")]
    Malformed(postcard::Error),
    /// The message ended before the payload did.
    #[error("{0} bytes after the end of a message")]
    TrailingBytes(usize),
    /// A message that its own encoder cannot write.
    #[error("message cannot be written: {0}")]
    Unwritable(postcard::Error),
}

/// Encodes a message.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, PayloadError> {
    postcard::to_stdvec(message).map_err(PayloadError::Unwritable)
}

/// Decodes a message that must fill `payload` to its end.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, PayloadError> {
    let (message, rest) = postcard::take_from_bytes(payload).map_err(PayloadError::Malformed)?;
    match rest.len() {
        0 => Ok(message),
        trailing => Err(PayloadError::TrailingBytes(trailing)),
    }
}
