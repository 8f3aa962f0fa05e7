//! Flow control: how many bytes of one channel may be under way. Plain arithmetic.

use crate::limits::WINDOW_BYTES;

/// The sender's side of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendWindow {
    available: u32,
}

impl Default for SendWindow {
    fn default() -> Self {
        SendWindow { available: WINDOW_BYTES }
    }
}

/// A peer broke the rules of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// More bytes came than were allowed.
    #[error("{sent} bytes came where {allowed} were allowed")]
    Overrun {
        /// Bytes that came.
        sent: usize,
        /// Bytes that were allowed.
        allowed: u32,
    },
    /// More room was granted than a window has.
    #[error("a grant of {0} bytes overflows the window")]
    Overgrant(u32),
}

impl SendWindow {
    /// Bytes that may be sent now.
    pub fn available(&self) -> usize {
        self.available as usize
    }

    /// Takes note of `bytes` sent; at most [`Self::available`].
    pub fn spend(&mut self, bytes: usize) {
        self.available = self.available.saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Takes a grant of the receiver.
    pub fn grant(&mut self, bytes: u32) -> Result<(), WindowError> {
        match self.available.checked_add(bytes) {
            Some(sum) if sum <= WINDOW_BYTES => {
                self.available = sum;
                Ok(())
            }
            _ => Err(WindowError::Overgrant(bytes)),
        }
    }
}

/// The receiver's side of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveWindow {
    allowed: u32,
    consumed: u32,
}

impl Default for ReceiveWindow {
    fn default() -> Self {
        ReceiveWindow { allowed: WINDOW_BYTES, consumed: 0 }
    }
}

impl ReceiveWindow {
    /// A window of which a sender knows that `room` bytes are left.
    pub fn with_room(room: u32) -> ReceiveWindow {
        ReceiveWindow { allowed: room.min(WINDOW_BYTES), consumed: 0 }
    }

    /// Bytes that the sender may still send.
    pub fn room(&self) -> u32 {
        self.allowed
    }

    /// Takes note of `bytes` that came.
    pub fn receive(&mut self, bytes: usize) -> Result<(), WindowError> {
        let sent = u32::try_from(bytes).unwrap_or(u32::MAX);
        match self.allowed.checked_sub(sent) {
            Some(rest) => {
                self.allowed = rest;
                Ok(())
            }
            None => Err(WindowError::Overrun { sent: bytes, allowed: self.allowed }),
        }
    }

    /// Takes note of `bytes` handed on; gives the grant to send once it is worth a frame.
    pub fn consume(&mut self, bytes: usize) -> Option<u32> {
        self.consumed = self.consumed.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.consumed < WINDOW_BYTES / 2 {
            return None;
        }
        let grant = std::mem::take(&mut self.consumed);
        self.allowed = self.allowed.saturating_add(grant).min(WINDOW_BYTES);
        Some(grant)
    }

    /// Whether so little room is left that the sender may be waiting for a grant.
    pub fn is_narrow(&self) -> bool {
        self.allowed < WINDOW_BYTES / 2
    }

    /// Opens the window fully; gives the grant to send for that. For a receiver that lets everything come from
    /// now on.
    pub fn refill(&mut self) -> Option<u32> {
        let grant = WINDOW_BYTES.saturating_sub(self.allowed);
        *self = ReceiveWindow::default();
        (grant > 0).then_some(grant)
    }

    /// Takes note of a grant that somebody else decided, as a relay does.
    pub fn relay_grant(&mut self, bytes: u32) -> Result<(), WindowError> {
        match self.allowed.checked_add(bytes) {
            Some(sum) if sum <= WINDOW_BYTES => {
                self.allowed = sum;
                Ok(())
            }
            _ => Err(WindowError::Overgrant(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A sender that keeps the rules is never stuck for good and never overruns its receiver.
        #[test]
        fn any_sizes_flow(sizes in proptest::collection::vec(1usize..70_000, 1..200)) {
            let (mut send, mut receive) = (SendWindow::default(), ReceiveWindow::default());
            for size in sizes {
                let mut left = size;
                while left > 0 {
                    let now = left.min(send.available());
                    prop_assert!(now > 0);
                    send.spend(now);
                    prop_assert!(receive.receive(now).is_ok());
                    if let Some(grant) = receive.consume(now) {
                        prop_assert!(send.grant(grant).is_ok());
                    }
                    left -= now;
                }
            }
        }
    }

    /// A window that is opened fully lets a sender that had none left go on, within its rules.
    #[test]
    fn refilling_unblocks() {
        let (mut send, mut receive) = (SendWindow::default(), ReceiveWindow::default());
        send.spend(WINDOW_BYTES as usize);
        receive.receive(WINDOW_BYTES as usize).unwrap();
        let grant = receive.refill().unwrap();
        send.grant(grant).unwrap();
        assert_eq!((send.available(), receive.refill()), (WINDOW_BYTES as usize, None));
    }

    /// A peer that sends or grants beyond the window is caught.
    #[test]
    fn cheating_is_seen() {
        assert!(ReceiveWindow::default().receive(WINDOW_BYTES as usize + 1).is_err());
        assert_eq!(SendWindow::default().grant(1), Err(WindowError::Overgrant(1)));
        assert_eq!(ReceiveWindow::default().relay_grant(1), Err(WindowError::Overgrant(1)));
    }
}
