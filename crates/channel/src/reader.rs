//! Bytes to frames.

use std::collections::VecDeque;

use pyro_proto::{Decoder, Frame, FrameError};
use tokio::io::{AsyncRead, AsyncReadExt};

const READ_BYTES: usize = 64 * 1024;

/// Why no more frames come.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The transport failed.
    #[error("reading from the peer failed")]
    Io(#[from] std::io::Error),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol")]
    Frame(#[from] FrameError),
    /// The peer left in the middle of a frame.
    #[error("the peer left in the middle of a frame")]
    Truncated,
}

/// Reads frames; [`Self::next`] may be dropped at any await without losing one.
#[derive(Debug)]
pub struct FrameReader<R> {
    source: R,
    decoder: Decoder,
    ready: VecDeque<Frame>,
    buffer: Box<[u8]>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `source`.
    pub fn new(source: R) -> Self {
        FrameReader {
            source,
            decoder: Decoder::default(),
            ready: VecDeque::new(),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
        }
    }

    /// The next frame; `None` once the peer has closed between two frames.
    pub async fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(Some(frame));
            }
            let count = self.source.read(&mut self.buffer).await?;
            if count == 0 {
                return if self.decoder.is_empty() { Ok(None) } else { Err(ReadError::Truncated) };
            }
            self.decoder.push(self.buffer.get(..count).unwrap_or_default());
            while let Some(frame) = self.decoder.next_frame()? {
                self.ready.push_back(frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_proto::{Channel, StreamId};

    /// A peer that dies inside a frame is told from one that closed.
    #[tokio::test]
    async fn truncation_is_seen() {
        let mut wire = Vec::new();
        Frame::data(StreamId(1), Channel::Stdout, b"abc").write_to(&mut wire);
        let mut whole = FrameReader::new(&wire[..]);
        assert!(whole.next().await.unwrap().is_some());
        assert!(whole.next().await.unwrap().is_none());
        let mut cut = FrameReader::new(&wire[..wire.len() - 1]);
        assert!(matches!(cut.next().await, Err(ReadError::Truncated)));
    }
}
