//! Frames: twelve bytes of header, then a payload.
//!
//! Header, little endian: payload length `u32`, stream `u32`, kind `u8`, three zero bytes.

use crate::limits::{DATA_BYTES_MAX, FRAME_HEADER_BYTES, MESSAGE_BYTES_MAX, OPEN_BYTES_MAX};

/// Number of a call on one connection; zero is the connection itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

impl StreamId {
    /// The connection itself: [`Kind::Hello`] comes first on it, [`Kind::Reply`], where one comes, last.
    pub const CONNECTION: StreamId = StreamId(0);
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Version and nonce, on [`StreamId::CONNECTION`].
    Hello,
    /// Opens a call; payload is a request.
    Open,
    /// News of a call from the side that serves it.
    Event,
    /// The end of a call, exactly one. On [`StreamId::CONNECTION`] it is why a supervisor ends the connection, and the
    /// answer to whatever comes too late: to clients of VMs without a workspace.
    Reply,
    /// News of a call from the side that opened it: a resize, a signal, a kill.
    Input,
    /// Bytes of one channel.
    Data,
    /// No more bytes on one channel.
    Eof,
    /// The receiver of a channel lets that many more bytes come.
    Credit,
    /// The last frame of the bulk lane before [`crate::agent::Request::Hold`], on [`StreamId::CONNECTION`].
    Barrier,
}

impl Kind {
    /// The lane this kind travels on when a transport has two.
    pub fn lane(self) -> Lane {
        match self {
            Kind::Event | Kind::Reply | Kind::Data | Kind::Eof | Kind::Barrier => Lane::Bulk,
            Kind::Hello | Kind::Open | Kind::Input | Kind::Credit => Lane::Control,
        }
    }

    /// Largest payload this kind may have, in bytes.
    pub fn payload_bytes_max(self) -> usize {
        match self {
            Kind::Open => OPEN_BYTES_MAX,
            Kind::Data => DATA_BYTES_MAX + 1,
            Kind::Eof => 1,
            Kind::Credit => 5,
            Kind::Barrier => 0,
            _ => MESSAGE_BYTES_MAX,
        }
    }

    fn to_byte(self) -> u8 {
        match self {
            Kind::Hello => 1,
            Kind::Open => 2,
            Kind::Event => 3,
            Kind::Reply => 4,
            Kind::Input => 5,
            Kind::Data => 6,
            Kind::Eof => 7,
            Kind::Credit => 8,
            Kind::Barrier => 9,
        }
    }

    fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Hello,
            2 => Kind::Open,
            3 => Kind::Event,
            4 => Kind::Reply,
            5 => Kind::Input,
            6 => Kind::Data,
            7 => Kind::Eof,
            8 => Kind::Credit,
            9 => Kind::Barrier,
            _ => return None,
        })
    }
}

/// Where a frame travels: opening, steering and crediting a call never queue behind its bytes.
///
/// Everything the server of a call sends about it shares one lane, so that a reply never overtakes the
/// last bytes of its call. In the other direction data may overtake the frame that opens its call: ids
/// of streams rise, and a server keeps the data of an id above all it has seen until it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Handshakes, requests, inputs, credit.
    Control,
    /// Stream bytes, events, replies.
    Bulk,
}

/// One byte stream of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    /// Towards the process.
    Stdin,
    /// From the process; a terminal's output too.
    Stdout,
    /// From the process.
    Stderr,
}

impl Channel {
    fn to_byte(self) -> u8 {
        match self {
            Channel::Stdin => 0,
            Channel::Stdout => 1,
            Channel::Stderr => 2,
        }
    }

    fn from_byte(byte: u8) -> Option<Channel> {
        Some(match byte {
            0 => Channel::Stdin,
            1 => Channel::Stdout,
            2 => Channel::Stderr,
            _ => return None,
        })
    }
}

/// One frame; the payload's form follows from the kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The call it belongs to.
    pub stream: StreamId,
    /// What it is.
    pub kind: Kind,
    /// Its bytes, within [`Kind::payload_bytes_max`].
    pub payload: Vec<u8>,
}

/// Why bytes are not a frame. The connection they came on is of no more use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A kind byte that names nothing.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// Reserved header bytes that are not zero.
    #[error("reserved header bytes are not zero")]
    ReservedBytes,
    /// A payload longer than its kind allows.
    #[error("{kind:?} frame of {length} bytes, at most {max} are allowed")]
    TooLong {
        /// The frame's kind.
        kind: Kind,
        /// The length it claims.
        length: usize,
        /// What its kind allows.
        max: usize,
    },
    /// A data, end or credit payload without its fixed part.
    #[error("malformed {0:?} payload")]
    Malformed(Kind),
}

impl Frame {
    /// Whether it ends the connection.
    pub fn is_last(&self) -> bool {
        self.stream == StreamId::CONNECTION && self.kind == Kind::Reply
    }

    /// Bytes of `channel`; `bytes` beyond [`DATA_BYTES_MAX`] are the caller's mistake and refused by the peer.
    pub fn data(stream: StreamId, channel: Channel, bytes: &[u8]) -> Frame {
        let mut payload = Vec::with_capacity(bytes.len() + 1);
        payload.push(channel.to_byte());
        payload.extend_from_slice(bytes);
        Frame { stream, kind: Kind::Data, payload }
    }

    /// The end of `channel`.
    pub fn eof(stream: StreamId, channel: Channel) -> Frame {
        Frame { stream, kind: Kind::Eof, payload: vec![channel.to_byte()] }
    }

    /// Room for `bytes` more on `channel`.
    pub fn credit(stream: StreamId, channel: Channel, bytes: u32) -> Frame {
        let mut payload = vec![channel.to_byte()];
        payload.extend_from_slice(&bytes.to_le_bytes());
        Frame { stream, kind: Kind::Credit, payload }
    }

    /// Channel and bytes of a data frame.
    pub fn as_data(&self) -> Result<(Channel, &[u8]), FrameError> {
        let (first, rest) = self.payload.split_first().ok_or(FrameError::Malformed(self.kind))?;
        let channel = Channel::from_byte(*first).ok_or(FrameError::Malformed(self.kind))?;
        Ok((channel, rest))
    }

    /// Channel of an end frame.
    pub fn as_eof(&self) -> Result<Channel, FrameError> {
        match self.as_data()? {
            (channel, []) => Ok(channel),
            _ => Err(FrameError::Malformed(self.kind)),
        }
    }

    /// Channel and grant of a credit frame.
    pub fn as_credit(&self) -> Result<(Channel, u32), FrameError> {
        let (channel, rest) = self.as_data()?;
        let bytes: [u8; 4] = rest.try_into().map_err(|_| FrameError::Malformed(self.kind))?;
        Ok((channel, u32::from_le_bytes(bytes)))
    }

    /// Bytes this frame takes on the wire.
    pub fn wire_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.payload.len()
    }

    /// Appends the frame's wire form to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&self.stream.0.to_le_bytes());
        out.extend_from_slice(&[self.kind.to_byte(), 0, 0, 0]);
        out.extend_from_slice(&self.payload);
    }
}

/// Turns bytes, cut anywhere, into frames. Holds at most one incomplete frame beyond what was pushed.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` until more bytes come.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let pending = self.buffer.get(self.start..).unwrap_or_default();
        let Some((header, rest)) = pending.split_first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(None) };
        let (length, stream, kind) = parse_header(header)?;
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let frame = Frame { stream, kind, payload: payload.to_vec() };
        self.start += FRAME_HEADER_BYTES + length;
        Ok(Some(frame))
    }

    /// True when no part of a frame is waiting for its rest.
    pub fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }
}

fn parse_header(header: &[u8; FRAME_HEADER_BYTES]) -> Result<(usize, StreamId, Kind), FrameError> {
    let [l0, l1, l2, l3, s0, s1, s2, s3, kind, r0, r1, r2] = *header;
    let kind = Kind::from_byte(kind).ok_or(FrameError::UnknownKind(kind))?;
    if [r0, r1, r2] != [0, 0, 0] {
        return Err(FrameError::ReservedBytes);
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let max = kind.payload_bytes_max();
    if length > max {
        return Err(FrameError::TooLong { kind, length, max });
    }
    Ok((length, StreamId(u32::from_le_bytes([s0, s1, s2, s3])), kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames() -> Vec<Frame> {
        vec![
            Frame { stream: StreamId::CONNECTION, kind: Kind::Hello, payload: vec![1, 2, 3] },
            Frame::data(StreamId(7), Channel::Stdout, b"hello"),
            Frame::eof(StreamId(7), Channel::Stderr),
            Frame::credit(StreamId(u32::MAX), Channel::Stdin, 4096),
        ]
    }

    /// The wire form is fixed: another release reads the same bytes.
    #[test]
    fn wire_form_is_pinned() {
        let mut wire = Vec::new();
        Frame::credit(StreamId(0x0102_0304), Channel::Stderr, 0x0A0B).write_to(&mut wire);
        assert_eq!(wire, [5, 0, 0, 0, 4, 3, 2, 1, 8, 0, 0, 0, 2, 0x0B, 0x0A, 0, 0]);
    }

    /// However the transport cuts the bytes, the frames come out the same.
    #[test]
    fn frames_survive_any_cut() {
        let mut wire = Vec::new();
        frames().iter().for_each(|frame| frame.write_to(&mut wire));
        for step in 1..=wire.len() {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for piece in wire.chunks(step) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, frames());
            assert!(decoder.is_empty());
        }
    }

    /// A length is compared with its limit before a byte of the payload is waited for.
    #[test]
    fn a_lie_about_length_is_refused_at_once() {
        let mut decoder = Decoder::default();
        decoder.push(&[255, 255, 255, 255, 1, 0, 0, 0, 6, 0, 0, 0]);
        assert!(matches!(decoder.next_frame(), Err(FrameError::TooLong { kind: Kind::Data, .. })));
    }

    proptest! {
        /// No input makes the decoder panic, and what it decodes it would write the same way.
        #[test]
        fn decoding_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            let mut offset = 0;
            while let Ok(Some(frame)) = decoder.next_frame() {
                let mut wire = Vec::new();
                frame.write_to(&mut wire);
                prop_assert_eq!(&bytes[offset..offset + wire.len()], &wire[..]);
                offset += wire.len();
                let _ = (frame.as_data(), frame.as_eof(), frame.as_credit());
            }
        }
    }
}
