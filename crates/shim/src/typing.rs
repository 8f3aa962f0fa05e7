//! What clients type into one shell, in the order it came: whole pieces, never mixed. Pure: who types, how much may go
//! now, and what is still to come.

use std::collections::VecDeque;

use crate::call::{ClientId, Owner};
use crate::limits::TYPED_BYTES_MAX;

/// What waits to be typed.
#[derive(Debug, Default)]
pub(crate) struct Typing {
    waiting: VecDeque<Typed>,
    bytes: usize,
}

/// One piece.
#[derive(Debug)]
struct Typed {
    typist: Typist,
    bytes: Vec<u8>,
    sent: usize,
}

/// Who types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Typist {
    /// Somebody who waits until the guest has taken it all.
    Writer(Owner),
    /// Somebody who sits at the shell, and gets room for more as the guest takes it.
    Attached(Owner),
}

/// The next bytes to go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) typist: Typist,
    pub(crate) bytes: Vec<u8>,
    /// The last of what this typist has put in at once.
    pub(crate) is_last: bool,
}

impl Typist {
    fn owner(self) -> Owner {
        match self {
            Typist::Writer(owner) | Typist::Attached(owner) => owner,
        }
    }
}

impl Typing {
    /// Puts bytes in; false when too many wait already.
    pub(crate) fn put(&mut self, typist: Typist, bytes: Vec<u8>) -> bool {
        let sum = self.bytes.saturating_add(bytes.len());
        if sum > TYPED_BYTES_MAX {
            return false;
        }
        self.bytes = sum;
        self.waiting.push_back(Typed { typist, bytes, sent: 0 });
        true
    }

    /// Takes the next bytes, `room` of them at most.
    pub(crate) fn take(&mut self, room: usize) -> Option<Piece> {
        let typed = self.waiting.front_mut().filter(|_| room > 0)?;
        let rest = typed.bytes.get(typed.sent..).unwrap_or_default();
        let bytes = rest.get(..room.min(rest.len())).unwrap_or_default().to_vec();
        typed.sent += bytes.len();
        self.bytes = self.bytes.saturating_sub(bytes.len());
        let (typist, is_last) = (typed.typist, typed.sent == typed.bytes.len());
        if is_last {
            self.waiting.pop_front();
        }
        Some(Piece { typist, bytes, is_last })
    }

    /// A client has left: nobody wants the rest of what it typed.
    pub(crate) fn forget(&mut self, client: ClientId) {
        self.waiting.retain(|typed| typed.typist.owner().0 != client);
        self.bytes = self.waiting.iter().map(|typed| typed.bytes.len() - typed.sent).sum();
    }

    /// Everybody who waits.
    pub(crate) fn writers(&self) -> impl Iterator<Item = Owner> + '_ {
        self.waiting.iter().filter_map(|typed| match typed.typist {
            Typist::Writer(owner) => Some(owner),
            Typist::Attached(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_proto::StreamId;

    const ONE: Typist = Typist::Writer((1, StreamId(1)));
    const OTHER: Typist = Typist::Attached((2, StreamId(1)));

    fn piece(typist: Typist, bytes: &[u8], is_last: bool) -> Option<Piece> {
        Some(Piece { typist, bytes: bytes.to_vec(), is_last })
    }

    /// What one writes in one piece is typed in one piece, however little goes at once.
    #[test]
    fn pieces_are_not_mixed() {
        let mut typing = Typing::default();
        assert!(typing.put(ONE, b"abcde".to_vec()) && typing.put(OTHER, b"x".to_vec()));
        assert_eq!(typing.take(0), None);
        assert_eq!(typing.take(2), piece(ONE, b"ab", false));
        assert_eq!(typing.take(9), piece(ONE, b"cde", true));
        assert_eq!(typing.take(9), piece(OTHER, b"x", true));
        assert_eq!(typing.take(9), None);
    }

    /// A shell that reads nothing does not fill the shim's memory, and who left keeps nobody waiting.
    #[test]
    fn what_waits_is_bounded() {
        let mut typing = Typing::default();
        let put = |typing: &mut Typing| (0..99).take_while(|_| typing.put(ONE, vec![0; 1 << 20])).count();
        assert_eq!(put(&mut typing), TYPED_BYTES_MAX >> 20);
        assert_eq!(typing.writers().count(), TYPED_BYTES_MAX >> 20);
        typing.forget(1);
        assert_eq!((typing.take(1), typing.bytes), (None, 0));
        assert!(typing.put(OTHER, vec![0]));
    }
}
