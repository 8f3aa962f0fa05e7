//! Clients that follow the output of recorded commands, of shells and services, each at its own pace. It reads what is kept and never
//! holds anything for a slow follower: what is gone by then is told as cut.

use std::collections::HashMap;

use pyro_proto::limits::DATA_BYTES_MAX;
use pyro_proto::shim::{Event, Reply};
use pyro_proto::window::{SendWindow, WindowError};
use pyro_proto::{Channel, Frame, StreamId};
use pyro_store::{LogReader, OutputPiece, OutputReader};

use crate::call::{ClientId, Owner, ServiceKey, ShellKey};
use crate::client::{event, reply};

/// Whose output is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// A command's.
    Command(u64),
    /// A shell's.
    Shell(ShellKey),
    /// A service's.
    Service(ServiceKey),
}

/// Where the output of a process is kept.
#[derive(Debug)]
pub(crate) enum Reader {
    /// As bytes.
    Output(OutputReader),
    /// As lines of a log.
    Log(LogReader),
}

/// Where a follower reads.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) stdout: Option<Reader>,
    pub(crate) stderr: Option<Reader>,
    /// From which byte of standard output on.
    pub(crate) from: u64,
    /// `None` while it runs.
    pub(crate) ended: Option<Ended>,
}

/// What a follower needs to know of an end.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) reply: Reply,
    pub(crate) stdout_bytes: u64,
    pub(crate) stderr_bytes: u64,
}

/// Everyone who follows an output.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    by_owner: HashMap<Owner, Follower>,
}

/// One of them.
#[derive(Debug)]
struct Follower {
    followed: Followed,
    stdout: Side,
    stderr: Side,
    ended: Option<Ended>,
}

/// One output on its way to one of them.
#[derive(Debug)]
struct Side {
    channel: Channel,
    reader: Option<Reader>,
    offset: u64,
    window: SendWindow,
    is_over: bool,
}

impl Followers {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_owner.len()
    }

    /// Whether a client follows on this stream.
    pub(crate) fn has(&self, owner: Owner) -> bool {
        self.by_owner.contains_key(&owner)
    }

    /// Who they are.
    pub(crate) fn owners(&self) -> impl Iterator<Item = Owner> + '_ {
        self.by_owner.keys().copied()
    }

    /// Takes one in; gives the first frames for it.
    pub(crate) fn join(
        &mut self,
        owner: Owner,
        followed: Followed,
        source: Source,
    ) -> Vec<(ClientId, Frame)> {
        let follower = Follower {
            followed,
            stdout: Side::new(Channel::Stdout, source.stdout, source.from),
            stderr: Side::new(Channel::Stderr, source.stderr, 0),
            ended: source.ended,
        };
        self.by_owner.insert(owner, follower);
        self.advance(&[owner])
    }

    /// More of an output is kept; gives what is to be sent for it.
    pub(crate) fn feed(&mut self, followed: Followed) -> Vec<(ClientId, Frame)> {
        let owners = self.of(followed);
        self.advance(&owners)
    }

    /// What was followed has ended.
    pub(crate) fn finish(&mut self, followed: Followed, ended: &Ended) -> Vec<(ClientId, Frame)> {
        let owners = self.of(followed);
        for owner in &owners {
            if let Some(follower) = self.by_owner.get_mut(owner) {
                follower.ended = Some(ended.clone());
            }
        }
        self.advance(&owners)
    }

    /// A follower takes more.
    pub(crate) fn grant(
        &mut self,
        owner: Owner,
        channel: Channel,
        bytes: u32,
    ) -> Result<Vec<(ClientId, Frame)>, WindowError> {
        if let Some(follower) = self.by_owner.get_mut(&owner) {
            follower.side(channel).window.grant(bytes)?;
        }
        Ok(self.advance(&[owner]))
    }

    /// A client has left; whether it followed anything.
    pub(crate) fn forget(&mut self, client: ClientId) -> bool {
        let before = self.len();
        self.by_owner.retain(|owner, _| owner.0 != client);
        self.len() < before
    }

    /// Somebody does not follow any more.
    pub(crate) fn leave(&mut self, owner: Owner) {
        self.by_owner.remove(&owner);
    }

    fn of(&self, followed: Followed) -> Vec<Owner> {
        let follows = self.by_owner.iter().filter(|(_, follower)| follower.followed == followed);
        follows.map(|(owner, _)| *owner).collect()
    }

    fn advance(&mut self, owners: &[Owner]) -> Vec<(ClientId, Frame)> {
        let mut frames = Vec::new();
        for owner in owners {
            let Some(follower) = self.by_owner.get_mut(owner) else { continue };
            let over = follower.advance(owner.1, &mut |frame| frames.push((owner.0, frame)));
            if over {
                self.by_owner.remove(owner);
            }
        }
        frames
    }
}

impl Follower {
    /// Sends what may be sent; `true` when that was all.
    fn advance(&mut self, stream: StreamId, send: &mut dyn FnMut(Frame)) -> bool {
        let totals = self.ended.as_ref().map(|ended| (ended.stdout_bytes, ended.stderr_bytes));
        self.stdout.advance(stream, totals.map(|totals| totals.0), send);
        self.stderr.advance(stream, totals.map(|totals| totals.1), send);
        let Some(ended) = self.ended.as_ref().filter(|_| self.stdout.is_over && self.stderr.is_over) else {
            return false;
        };
        if let Some(frame) = reply(stream, &ended.reply) {
            send(frame);
        }
        true
    }

    fn side(&mut self, channel: Channel) -> &mut Side {
        if channel == Channel::Stderr { &mut self.stderr } else { &mut self.stdout }
    }
}

impl Side {
    fn new(channel: Channel, reader: Option<Reader>, offset: u64) -> Side {
        Side { channel, reader, offset, window: SendWindow::default(), is_over: false }
    }

    /// `total`: how long the output is, once that is known.
    fn advance(&mut self, stream: StreamId, total: Option<u64>, send: &mut dyn FnMut(Frame)) {
        while !self.is_over {
            let room = self.window.available().min(DATA_BYTES_MAX);
            let bytes = self.read(stream, room, send);
            if !bytes.is_empty() {
                self.window.spend(bytes.len());
                self.offset = self.offset.saturating_add(bytes.len() as u64);
                send(Frame::data(stream, self.channel, &bytes));
                continue;
            }
            match total {
                // With room and nothing there: the rest was never written, or is gone.
                Some(total) if room > 0 || self.offset >= total => {
                    self.skip_to(stream, total, send);
                    send(Frame::eof(stream, self.channel));
                    self.is_over = true;
                }
                _ => return,
            }
        }
    }

    fn read(&mut self, stream: StreamId, room: usize, send: &mut dyn FnMut(Frame)) -> Vec<u8> {
        let Some(reader) = self.reader.as_ref().filter(|_| room > 0) else { return Vec::new() };
        match reader.read_from(self.offset, room) {
            Ok(piece) => {
                self.skip_to(stream, piece.offset, send);
                piece.bytes
            }
            Err(_) => {
                self.reader = None;
                Vec::new()
            }
        }
    }

    fn skip_to(&mut self, stream: StreamId, offset: u64, send: &mut dyn FnMut(Frame)) {
        let bytes = offset.saturating_sub(self.offset);
        if bytes > 0 {
            let cut = Event::Cut { of_stderr: self.channel == Channel::Stderr, bytes };
            event(stream, &cut).into_iter().for_each(send);
            self.offset = offset;
        }
    }
}

impl Reader {
    fn read_from(&self, offset: u64, bytes_max: usize) -> std::io::Result<OutputPiece> {
        match self {
            Reader::Output(reader) => reader.read_from(offset, bytes_max),
            Reader::Log(reader) => reader.read_from(offset, bytes_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_proto::limits::WINDOW_BYTES;
    use pyro_proto::{Kind, decode};
    use pyro_store::limits::{HISTORY_HEAD_BYTES, HISTORY_TAIL_BYTES};
    use pyro_store::{Keep, OutputWriter};

    const OWNER: Owner = (7, StreamId(5));

    /// Bytes and gaps of standard output among frames.
    fn taken(frames: &[(ClientId, Frame)]) -> (u64, u64) {
        let (mut bytes, mut cut) = (0, 0);
        for (_, frame) in frames {
            match frame.kind {
                Kind::Data => bytes += frame.as_data().unwrap().1.len() as u64,
                Kind::Event => match decode::<Event>(&frame.payload).unwrap() {
                    Event::Cut { of_stderr: false, bytes } => cut += bytes,
                    other => panic!("{other:?}"),
                },
                _ => {}
            }
        }
        (bytes, cut)
    }

    fn ended(stdout_bytes: u64) -> Ended {
        Ended { reply: Reply::Detached, stdout_bytes, stderr_bytes: 0 }
    }

    /// A follower gets what is kept, hears what is not, never more than it asked for, and the end last.
    #[test]
    fn a_slow_follower_hears_of_the_gap() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1.out");
        let mut writer = OutputWriter::create(&path, Keep::HeadAndTail).unwrap();
        let mut followers = Followers::default();
        let source = Source {
            stdout: OutputReader::open(&path).ok().map(Reader::Output),
            stderr: None,
            from: 0,
            ended: None,
        };
        assert!(followers.join(OWNER, Followed::Command(1), source).is_empty());
        let total = 3 * (HISTORY_HEAD_BYTES + HISTORY_TAIL_BYTES);
        let mut frames = Vec::new();
        for _ in 0..total / 8192 {
            writer.append(&[1; 8192]).unwrap();
            frames.extend(followers.feed(Followed::Command(1)));
        }
        assert_eq!(taken(&frames), (u64::from(WINDOW_BYTES), 0));
        frames.extend(followers.finish(Followed::Command(1), &ended(total)));
        while followers.has(OWNER) {
            frames.extend(followers.grant(OWNER, Channel::Stdout, WINDOW_BYTES / 2).unwrap());
        }
        let (bytes, cut) = taken(&frames);
        assert_eq!((bytes + cut, bytes), (total, HISTORY_HEAD_BYTES + HISTORY_TAIL_BYTES));
        let kinds: Vec<Kind> = frames.iter().rev().take(2).map(|(_, frame)| frame.kind).collect();
        assert_eq!(kinds, [Kind::Reply, Kind::Eof]);
        assert!(frames.iter().filter(|(_, frame)| frame.kind == Kind::Eof).count() == 2);
    }

    /// Outputs that are pruned, or that the disk refused, are told as cut, and the end still comes.
    #[test]
    fn missing_outputs_are_cut() {
        let mut followers = Followers::default();
        let source = Source { stdout: None, stderr: None, from: 0, ended: Some(ended(12)) };
        let frames = followers.join(OWNER, Followed::Command(1), source);
        assert_eq!(taken(&frames), (0, 12));
        assert_eq!(frames.last().unwrap().1.kind, Kind::Reply);
        assert_eq!(followers.len(), 0);
    }

    /// A follower that grants more than it was sent is caught.
    #[test]
    fn overgrants_are_seen() {
        let mut followers = Followers::default();
        let source = Source { stdout: None, stderr: None, from: 0, ended: None };
        followers.join(OWNER, Followed::Command(1), source);
        assert!(followers.grant(OWNER, Channel::Stderr, 1).is_err());
    }
}
