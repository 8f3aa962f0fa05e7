//! Output kept for a result: all of it up to a bound, beyond that its head and its tail.

use std::collections::VecDeque;

use crate::limits::CAPTURE_BYTES_MAX;

/// One stream's output. Half of the bound is kept of each end; what lies between is counted.
#[derive(Clone, Debug)]
pub struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    half: usize,
    cut: u64,
}

impl Default for Capture {
    fn default() -> Self {
        Capture::with_bound(CAPTURE_BYTES_MAX)
    }
}

impl Capture {
    /// Keeps at most `bytes_max`.
    pub fn with_bound(bytes_max: usize) -> Capture {
        Capture { head: Vec::new(), tail: VecDeque::new(), half: bytes_max / 2, cut: 0 }
    }

    /// Takes more output.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = self.half - self.head.len();
        let (head, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let excess = self.tail.len().saturating_sub(self.half);
        self.tail.drain(..excess);
        self.cut += excess as u64;
    }

    /// Bytes that were not kept.
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// What was kept; bytes that are no UTF-8 are replaced.
    pub fn into_text(self) -> String {
        let mut bytes = self.head;
        if self.cut > 0 {
            bytes.extend_from_slice(format!("\n[{} bytes cut]\n", self.cut).as_bytes());
        }
        bytes.extend(self.tail);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Short output is whole; of long output both ends are there and the cut is counted.
    #[test]
    fn both_ends_are_kept() {
        let mut short = Capture::with_bound(10);
        short.push(b"0123");
        short.push(b"456789");
        assert_eq!((short.cut(), short.into_text().as_str()), (0, "0123456789"));
        let mut long = Capture::with_bound(10);
        for digit in b'a'..=b'z' {
            long.push(&[digit]);
        }
        assert_eq!(long.cut(), 16);
        assert_eq!(long.into_text(), "abcde\n[16 bytes cut]\nvwxyz");
    }
}
