//! What the host has sent to one call and the call has not taken yet. Bounded by the windows.
//!
//! The session puts in, the call's own task takes out; both run on one thread.

use std::cell::RefCell;
use std::collections::VecDeque;

use pyro_proto::Channel;
use pyro_proto::agent::Input;
use pyro_proto::window::{ReceiveWindow, SendWindow, WindowError};
use tokio::sync::Notify;

use crate::limits::INPUTS_MAX;

/// News for one call.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    state: RefCell<State>,
    stdin_came: Notify,
    stdout_granted: Notify,
    stderr_granted: Notify,
    input_came: Notify,
}

#[derive(Debug, Default)]
struct State {
    stdin_window: ReceiveWindow,
    stdin: VecDeque<Vec<u8>>,
    stdin_ended: bool,
    stdout: SendWindow,
    stderr: SendWindow,
    inputs: VecDeque<Input>,
}

/// The host broke the rules of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MailboxError {
    /// Bytes or a grant beyond a window.
    #[error("{channel:?}: {error}")]
    Window { channel: Channel, error: WindowError },
    /// Bytes, an end or a grant where none belongs.
    #[error("a frame for {0:?} in the wrong direction")]
    Direction(Channel),
    /// Bytes after the end.
    #[error("standard input goes on after its end")]
    AfterEnd,
    /// Inputs that nobody can take that fast.
    #[error("more than {INPUTS_MAX} inputs wait")]
    Inputs,
}

/// What comes next on standard input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stdin {
    /// Bytes.
    Bytes(Vec<u8>),
    /// No more will come.
    End,
}

impl Mailbox {
    /// Puts in bytes of standard input.
    pub(crate) fn put_data(&self, channel: Channel, bytes: &[u8]) -> Result<(), MailboxError> {
        if channel != Channel::Stdin {
            return Err(MailboxError::Direction(channel));
        }
        let mut state = self.state.borrow_mut();
        if state.stdin_ended {
            return Err(MailboxError::AfterEnd);
        }
        state.stdin_window.receive(bytes.len()).map_err(|error| MailboxError::Window { channel, error })?;
        if !bytes.is_empty() {
            state.put_stdin(bytes);
        }
        self.stdin_came.notify_one();
        Ok(())
    }

    /// Puts in the end of standard input.
    pub(crate) fn put_eof(&self, channel: Channel) -> Result<(), MailboxError> {
        if channel != Channel::Stdin {
            return Err(MailboxError::Direction(channel));
        }
        self.state.borrow_mut().stdin_ended = true;
        self.stdin_came.notify_one();
        Ok(())
    }

    /// Puts in a grant for output.
    pub(crate) fn put_credit(&self, channel: Channel, bytes: u32) -> Result<(), MailboxError> {
        let mut state = self.state.borrow_mut();
        let window = state.send_window(channel).ok_or(MailboxError::Direction(channel))?;
        window.grant(bytes).map_err(|error| MailboxError::Window { channel, error })?;
        self.granted_notify(channel).notify_one();
        Ok(())
    }

    /// Puts in an input; a resize replaces one that still waits.
    pub(crate) fn put_input(&self, input: Input) -> Result<(), MailboxError> {
        let mut state = self.state.borrow_mut();
        if let (Input::Resize(_), Some(waiting @ Input::Resize(_))) = (input, state.inputs.back_mut()) {
            *waiting = input;
        } else if state.inputs.len() >= INPUTS_MAX {
            return Err(MailboxError::Inputs);
        } else {
            state.inputs.push_back(input);
        }
        self.input_came.notify_one();
        Ok(())
    }

    /// Waits for standard input.
    pub(crate) async fn stdin(&self) -> Stdin {
        loop {
            if let Some(next) = self.state.borrow_mut().next_stdin() {
                return next;
            }
            self.stdin_came.notified().await;
        }
    }

    /// Takes note that the process took `bytes`; gives the grant to send once it is worth a frame.
    pub(crate) fn stdin_consumed(&self, bytes: usize) -> Option<u32> {
        self.state.borrow_mut().stdin_window.consume(bytes)
    }

    /// Bytes that may be sent on an output now.
    pub(crate) fn room(&self, channel: Channel) -> usize {
        self.state.borrow_mut().send_window(channel).map_or(0, |window| window.available())
    }

    /// Takes note of `bytes` sent on an output.
    pub(crate) fn spend(&self, channel: Channel, bytes: usize) {
        if let Some(window) = self.state.borrow_mut().send_window(channel) {
            window.spend(bytes);
        }
    }

    /// Waits for a grant for an output.
    pub(crate) async fn granted(&self, channel: Channel) {
        self.granted_notify(channel).notified().await;
    }

    /// Waits for an input.
    pub(crate) async fn input(&self) -> Input {
        loop {
            if let Some(input) = self.state.borrow_mut().inputs.pop_front() {
                return input;
            }
            self.input_came.notified().await;
        }
    }

    fn granted_notify(&self, channel: Channel) -> &Notify {
        if channel == Channel::Stderr { &self.stderr_granted } else { &self.stdout_granted }
    }
}

impl State {
    fn send_window(&mut self, channel: Channel) -> Option<&mut SendWindow> {
        match channel {
            Channel::Stdin => None,
            Channel::Stdout => Some(&mut self.stdout),
            Channel::Stderr => Some(&mut self.stderr),
        }
    }

    /// Small pieces are joined, so that a window of single bytes does not become as many buffers.
    fn put_stdin(&mut self, bytes: &[u8]) {
        match self.stdin.back_mut() {
            Some(last) if last.len() + bytes.len() <= pyro_proto::limits::DATA_BYTES_MAX => {
                last.extend_from_slice(bytes)
            }
            _ => self.stdin.push_back(bytes.to_vec()),
        }
    }

    fn next_stdin(&mut self) -> Option<Stdin> {
        match self.stdin.pop_front() {
            Some(bytes) => Some(Stdin::Bytes(bytes)),
            None => self.stdin_ended.then_some(Stdin::End),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_proto::agent::TerminalSize;
    use pyro_proto::limits::WINDOW_BYTES;

    /// A host cannot fill the guest's memory: what it sends is bounded by the window.
    #[test]
    fn the_window_bounds_standard_input() {
        let mailbox = Mailbox::default();
        for _ in 0..WINDOW_BYTES {
            mailbox.put_data(Channel::Stdin, b"x").unwrap();
        }
        assert!(matches!(mailbox.put_data(Channel::Stdin, b"x"), Err(MailboxError::Window { .. })));
        assert!(mailbox.state.borrow().stdin.len() <= 16);
    }

    /// Frames in the wrong direction and after the end are refused.
    #[test]
    fn directions_are_kept() {
        let mailbox = Mailbox::default();
        assert!(mailbox.put_data(Channel::Stdout, b"x").is_err());
        assert!(mailbox.put_credit(Channel::Stdin, 1).is_err());
        assert!(mailbox.put_credit(Channel::Stdout, 1).is_err());
        mailbox.put_eof(Channel::Stdin).unwrap();
        assert_eq!(mailbox.put_data(Channel::Stdin, b"x"), Err(MailboxError::AfterEnd));
    }

    /// Only the newest size of a terminal matters; signals are all delivered.
    #[tokio::test]
    async fn resizes_are_merged() {
        let mailbox = Mailbox::default();
        let size = |rows| Input::Resize(TerminalSize { rows, columns: 80 });
        for rows in 0..1000 {
            mailbox.put_input(size(rows)).unwrap();
        }
        mailbox.put_input(Input::Signal(2)).unwrap();
        assert_eq!((mailbox.input().await, mailbox.input().await), (size(999), Input::Signal(2)));
    }
}
