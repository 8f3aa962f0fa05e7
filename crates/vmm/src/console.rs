//! The end of what a guest or QEMU wrote: bounded, however much there is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;

const READ_BYTES: usize = 4096;

/// The last bytes of a stream, shared by the task that reads it and the VM that shows it.
#[derive(Debug, Clone)]
pub(crate) struct Tail {
    bytes: Arc<Mutex<VecDeque<u8>>>,
    bytes_max: usize,
}

impl Tail {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes: Arc::default(), bytes_max }
    }

    pub(crate) fn push(&self, new: &[u8]) {
        let new = new.get(new.len().saturating_sub(self.bytes_max)..).unwrap_or(new);
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let excess = (bytes.len() + new.len()).saturating_sub(self.bytes_max);
        bytes.drain(..excess);
        bytes.extend(new);
    }

    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    pub(crate) fn to_text(&self) -> String {
        String::from_utf8_lossy(&self.to_vec()).into_owned()
    }
}

/// Reads a stream into a tail until it ends.
pub(crate) fn follow<R>(mut stream: R, tail: Tail) -> JoinHandle<()>
where
    R: AsyncRead + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(read) = stream.read(&mut buffer).await {
            match buffer.get(..read) {
                Some(new) if !new.is_empty() => tail.push(new),
                _ => break,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept() {
        // Promise: a guest that writes without end fills no memory.
        let tail = Tail::new(4);
        for chunk in [&b"ab"[..], b"cde", b"", b"0123456789"] {
            tail.push(chunk);
            assert!(tail.to_vec().len() <= 4);
        }
        assert_eq!(tail.to_vec(), b"6789");
        tail.push(b"x");
        assert_eq!(tail.to_vec(), b"789x");
    }
}
