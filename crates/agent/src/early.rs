//! Data that has overtaken the frame that opens its call: the two lanes are not ordered among each other.
//!
//! Stream ids rise, so data above every id seen belongs to a call yet to come, and is kept within a bound;
//! data below belongs to a call that has ended, and is dropped.

use std::collections::HashMap;

use pyro_proto::{Frame, Kind, StreamId};

use crate::limits::EARLY_BYTES_MAX;

/// Frames of calls that are not open yet.
#[derive(Debug, Default)]
pub(crate) struct Early {
    highest: u32,
    frames: HashMap<StreamId, Vec<Frame>>,
    bytes: usize,
}

/// More came early than is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {EARLY_BYTES_MAX} bytes for calls that are not open")]
pub(crate) struct EarlyError;

impl Early {
    /// Takes note that a call opens; gives what came early for it, or `None` when its id does not rise.
    pub(crate) fn open(&mut self, stream: StreamId) -> Option<Vec<Frame>> {
        if stream.0 <= self.highest {
            return None;
        }
        self.highest = stream.0;
        let frames = self.frames.remove(&stream).unwrap_or_default();
        self.bytes -= frames.iter().map(Frame::wire_bytes).sum::<usize>();
        Some(frames)
    }

    /// Keeps a frame of a call that is not open, if it may yet be.
    pub(crate) fn keep(&mut self, frame: Frame) -> Result<(), EarlyError> {
        let can_overtake = matches!(frame.kind, Kind::Data | Kind::Eof);
        if frame.stream.0 <= self.highest || !can_overtake {
            return Ok(());
        }
        self.bytes += frame.wire_bytes();
        if self.bytes > EARLY_BYTES_MAX {
            return Err(EarlyError);
        }
        self.frames.entry(frame.stream).or_default().push(frame);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_proto::Channel;

    fn data(stream: u32, bytes: usize) -> Frame {
        Frame::data(StreamId(stream), Channel::Stdin, &vec![0; bytes])
    }

    /// Data that overtakes its call reaches it; data of an ended call is dropped.
    #[test]
    fn early_data_is_kept_and_late_data_dropped() {
        let mut early = Early::default();
        early.keep(data(2, 5)).unwrap();
        assert_eq!(early.open(StreamId(1)), Some(vec![]));
        early.keep(data(1, 5)).unwrap();
        assert_eq!(early.open(StreamId(2)), Some(vec![data(2, 5)]));
        assert_eq!((early.bytes, early.frames.len()), (0, 0));
        assert_eq!(early.open(StreamId(2)), None);
    }

    /// A host that never opens what it sends for is stopped.
    #[test]
    fn what_is_kept_is_bounded() {
        let mut early = Early::default();
        let kept = (0..u32::MAX).take_while(|_| early.keep(data(7, 30_000)).is_ok()).count();
        assert!(kept * 30_000 <= EARLY_BYTES_MAX);
    }
}
