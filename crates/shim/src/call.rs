//! One call between a client and the agent: what it is, and what may still flow in it. Pure: no I/O.

use pyro_proto::window::{ReceiveWindow, WindowError};
use pyro_proto::{Channel, StreamId};
use tokio::time::Instant;

use crate::limits::{EXEC_FLUSH_SECONDS_MAX, NEWS_BURST_MAX, NEWS_PER_SECOND_MAX, TRANSFER_IDLE_SECONDS_MAX};
use crate::turns::Turn;

/// Number of a client connection, never used twice.
pub(crate) type ClientId = u64;

/// A client's call: who, and which stream of theirs.
pub(crate) type Owner = (ClientId, StreamId);

/// One relayed call.
#[derive(Debug)]
pub(crate) struct Call {
    /// Who hears of it; `None` once that client has left, or has been told that the command runs detached.
    pub(crate) owner: Option<Owner>,
    /// What it is.
    pub(crate) work: Work,
    /// When the guest must have answered.
    pub(crate) deadline: Option<Instant>,
    /// Whether the client may still send standard input.
    pub(crate) takes_input: bool,
    stdin: ReceiveWindow,
    stdout: Outward,
    stderr: Outward,
    news: News,
}

/// What a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// A command.
    Exec {
        /// Its number in the workspace's history.
        sequence: Option<u64>,
        /// Whether it goes on without its client.
        detached: bool,
    },
    /// A shell.
    Shell(ShellKey),
    /// A service.
    Service(ServiceKey),
    /// A tree that is moved.
    Transfer(Transfer),
    /// The shim's own.
    Internal(Internal),
}

/// Number of a shell among those of this VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ShellKey(pub(crate) u32);

/// Number of a service among those of this VM; each start has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ServiceKey(pub(crate) u32);

/// What a shim asks of the guest for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Internal {
    /// A step of a capture.
    Capture(Step),
    /// The time of day.
    Clock,
}

/// What the guest does for a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write out what is not on the disk yet.
    Sync,
    /// The same, and write no more.
    Freeze,
    /// Write again.
    Thaw,
    /// Say no more.
    Hold,
    /// Speak again.
    Release,
}

/// What kind of tree is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// The baseline of a new workspace.
    Seed,
    /// Into the workspace.
    Push,
    /// The changes, out of it.
    Changes,
    /// Files, out of it.
    Export,
}

/// The guest sent what no call allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Breach {
    /// Data, or room, of no bytes.
    #[error("a frame that says nothing")]
    Empty,
    /// Something on a channel that was ended.
    #[error("more of an output that was ended")]
    Ended,
    /// An end of a call before the end of its outputs.
    #[error("an end of a call before that of its output")]
    Unended,
    /// More news than anybody needs.
    #[error("a flood of news")]
    Flood,
    /// More bytes than were allowed.
    #[error(transparent)]
    Window(#[from] WindowError),
}

/// What may still flow in a call that goes on with another shim.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rooms {
    /// What the guest may still send of standard output and error, `None` of one that has ended.
    pub(crate) outputs: [Option<u32>; 2],
    /// What it may still be sent.
    pub(crate) input: u32,
}

/// A channel from the guest.
#[derive(Debug, Default)]
struct Outward {
    window: ReceiveWindow,
    ended: bool,
}

/// How many events a call may still bring now.
#[derive(Debug)]
struct News {
    left: u32,
    since: Instant,
}

impl Transfer {
    /// Whether it may run beside others.
    pub(crate) fn turn(self) -> Turn {
        match self {
            Transfer::Seed | Transfer::Push => Turn::Exclusive,
            Transfer::Changes | Transfer::Export => Turn::Shared,
        }
    }

    fn takes_input(self) -> bool {
        matches!(self, Transfer::Seed | Transfer::Push)
    }
}

impl Work {
    /// Whether a call of this kind has bytes from the guest on a channel. On others they would fill a window
    /// that no client empties.
    fn brings(self, channel: Channel) -> bool {
        match self {
            Work::Exec { .. } | Work::Shell(_) | Work::Service(_) => channel != Channel::Stdin,
            Work::Transfer(Transfer::Changes | Transfer::Export) => channel == Channel::Stdout,
            Work::Transfer(Transfer::Seed | Transfer::Push) | Work::Internal(_) => false,
        }
    }
}

impl Call {
    fn new(
        owner: Option<Owner>,
        work: Work,
        takes_input: bool,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Call {
        Call {
            owner,
            work,
            deadline,
            takes_input,
            stdin: ReceiveWindow::default(),
            stdout: Outward::default(),
            stderr: Outward::default(),
            news: News { left: NEWS_BURST_MAX, since: now },
        }
    }

    /// A command's call.
    pub(crate) fn exec(
        owner: Owner,
        (sequence, detached): (Option<u64>, bool),
        takes_input: bool,
        deadline: Option<Instant>,
    ) -> Call {
        Call::new(Some(owner), Work::Exec { sequence, detached }, takes_input, deadline, Instant::now())
    }

    /// The call of a shell that somebody opens.
    pub(crate) fn shell(owner: Owner, key: ShellKey) -> Call {
        Call::new(Some(owner), Work::Shell(key), false, None, Instant::now())
    }

    /// The call of a service.
    pub(crate) fn service(key: ServiceKey) -> Call {
        Call::new(None, Work::Service(key), false, None, Instant::now())
    }

    /// A call that another shim had open.
    pub(crate) fn continued(work: Work, rooms: Rooms, deadline: Option<Instant>) -> Call {
        let mut call = Call::new(None, work, false, deadline, Instant::now());
        let [stdout, stderr] = rooms.outputs.map(|room| Outward {
            window: ReceiveWindow::with_room(room.unwrap_or_default()),
            ended: room.is_none(),
        });
        (call.stdout, call.stderr) = (stdout, stderr);
        // The guest goes on to grant room for input that it had been sent before.
        call.stdin = ReceiveWindow::with_room(rooms.input);
        call
    }

    /// A call of the shim's own.
    pub(crate) fn internal(work: Internal, deadline: Option<Instant>) -> Call {
        Call::new(None, Work::Internal(work), false, deadline, Instant::now())
    }

    /// What the guest may still send of an output; `None` of one that has ended.
    pub(crate) fn room(&mut self, channel: Channel) -> Option<u32> {
        self.outward(channel).filter(|outward| !outward.ended).map(|outward| outward.window.room())
    }

    /// A transfer's call; its time runs once it flows.
    pub(crate) fn transfer(owner: Owner, transfer: Transfer) -> Call {
        Call::new(Some(owner), Work::Transfer(transfer), transfer.takes_input(), None, Instant::now())
    }

    /// Whether it is one whose client sends something.
    pub(crate) fn work_takes_input(&self) -> bool {
        matches!(self.work, Work::Transfer(transfer) if transfer.takes_input())
    }

    /// The window of a channel, seen from its receiving side.
    pub(crate) fn window(&mut self, channel: Channel) -> &mut ReceiveWindow {
        match channel {
            Channel::Stdin => &mut self.stdin,
            Channel::Stdout => &mut self.stdout.window,
            Channel::Stderr => &mut self.stderr.window,
        }
    }

    /// Takes note of bytes from the guest; `None` for a channel on which none come.
    pub(crate) fn receive(&mut self, channel: Channel, bytes: usize) -> Option<Result<(), Breach>> {
        if !self.work.brings(channel) {
            return None;
        }
        let outward = self.outward(channel)?;
        Some(match (outward.ended, bytes) {
            (true, _) => Err(Breach::Ended),
            (false, 0) => Err(Breach::Empty),
            (false, _) => outward.window.receive(bytes).map_err(Breach::Window),
        })
    }

    /// Takes note of the end of an output; `None` for standard input.
    pub(crate) fn end_output(&mut self, channel: Channel) -> Option<Result<(), Breach>> {
        let outward = self.outward(channel)?;
        let before = std::mem::replace(&mut outward.ended, true);
        Some(if before { Err(Breach::Ended) } else { Ok(()) })
    }

    /// Whether the guest may say now that all went well.
    pub(crate) fn check_ended(&self) -> Result<(), Breach> {
        let ended = match self.work {
            Work::Exec { .. } | Work::Shell(_) | Work::Service(_) => self.stdout.ended && self.stderr.ended,
            Work::Transfer(Transfer::Changes | Transfer::Export) => self.stdout.ended,
            Work::Transfer(Transfer::Seed | Transfer::Push) | Work::Internal(_) => true,
        };
        if ended { Ok(()) } else { Err(Breach::Unended) }
    }

    /// Takes note of room that the guest grants for input.
    pub(crate) fn grant_input(&mut self, bytes: u32) -> Result<(), Breach> {
        if bytes == 0 {
            return Err(Breach::Empty);
        }
        Ok(self.stdin.relay_grant(bytes)?)
    }

    /// Takes note of an event.
    pub(crate) fn hear(&mut self, now: Instant) -> Result<(), Breach> {
        self.news.hear(now)
    }

    /// Takes note that something of a transfer flows.
    pub(crate) fn flow(&mut self, now: Instant) {
        if matches!(self.work, Work::Transfer(_)) {
            self.deadline = now.checked_add(TRANSFER_IDLE_SECONDS_MAX);
        }
    }

    /// Gives a command that has ended the time to get what it wrote onto the disk: its own limit is over, and
    /// that may be a gigabyte.
    pub(crate) fn await_flush(&mut self, now: Instant) {
        let has_process = matches!(self.work, Work::Exec { .. } | Work::Shell(_) | Work::Service(_));
        if has_process && self.check_ended().is_ok() {
            self.deadline = now.checked_add(EXEC_FLUSH_SECONDS_MAX);
        }
    }

    fn outward(&mut self, channel: Channel) -> Option<&mut Outward> {
        match channel {
            Channel::Stdin => None,
            Channel::Stdout => Some(&mut self.stdout),
            Channel::Stderr => Some(&mut self.stderr),
        }
    }

    /// Whether the client's slowness, not the guest's, may be what keeps the call's end away.
    pub(crate) fn is_held_up_by_client(&self) -> bool {
        let takes_nothing = self.stdout.window.is_narrow() || self.stderr.window.is_narrow();
        let sends_nothing =
            matches!(self.work, Work::Transfer(_)) && self.takes_input && !self.stdin.is_narrow();
        self.owner.is_some() && (takes_nothing || sends_nothing)
    }
}

impl News {
    fn hear(&mut self, now: Instant) -> Result<(), Breach> {
        let seconds = u32::try_from(now.duration_since(self.since).as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            self.left = self.left.saturating_add(seconds.saturating_mul(NEWS_PER_SECOND_MAX));
            self.left = self.left.min(NEWS_BURST_MAX);
            self.since = now;
        }
        self.left = self.left.checked_sub(1).ok_or(Breach::Flood)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Bytes come only where somebody takes them.
    #[test]
    fn trees_come_on_one_channel() {
        let call = |transfer| Call::transfer((7, StreamId(5)), transfer);
        assert_eq!(call(Transfer::Export).receive(Channel::Stdout, 1), Some(Ok(())));
        assert_eq!(call(Transfer::Changes).receive(Channel::Stderr, 1), None);
        assert_eq!(call(Transfer::Push).receive(Channel::Stdout, 1), None);
        assert_eq!(call(Transfer::Push).grant_input(0), Err(Breach::Empty));
        assert_eq!(call(Transfer::Changes).check_ended(), Err(Breach::Unended));
    }

    /// News come at the pace of people; a flood is no news.
    #[tokio::test]
    async fn a_flood_of_news_is_seen() {
        let mut call = Call::transfer((7, StreamId(5)), Transfer::Push);
        let now = Instant::now();
        let quiet = |call: &mut Call, now| (0..NEWS_BURST_MAX).all(|_| call.hear(now).is_ok());
        assert!(quiet(&mut call, now));
        assert_eq!(call.hear(now), Err(Breach::Flood));
        assert!(call.hear(now + Duration::from_secs(1)).is_ok());
        assert!(quiet(&mut call, now + Duration::from_secs(3600)));
    }
}
