//! Whose turn it is: any number that share, or one alone, in the order in which they asked. Pure.

use std::collections::VecDeque;

/// How somebody wants to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Beside others that share.
    Shared,
    /// Alone.
    Exclusive,
}

/// A queue of those who ask. Nobody overtakes: who shares waits behind who wants to be alone and asked before.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    sharing: usize,
    alone: bool,
    waiting: VecDeque<(Turn, T)>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Turns { sharing: 0, alone: false, waiting: VecDeque::new() }
    }
}

impl<T> Turns<T> {
    /// Asks for a turn; [`Self::next`] gives it.
    pub(crate) fn ask(&mut self, turn: Turn, who: T) {
        self.waiting.push_back((turn, who));
    }

    /// The next one whose turn has come; it lasts until [`Self::done`]. Call until there is none.
    pub(crate) fn next(&mut self) -> Option<T> {
        let (turn, _) = self.waiting.front()?;
        let free = match turn {
            Turn::Shared => !self.alone,
            Turn::Exclusive => !self.alone && self.sharing == 0,
        };
        let (turn, who) = if free { self.waiting.pop_front()? } else { return None };
        match turn {
            Turn::Shared => self.sharing += 1,
            Turn::Exclusive => self.alone = true,
        }
        Some(who)
    }

    /// A turn is over.
    pub(crate) fn done(&mut self, turn: Turn) {
        match turn {
            Turn::Shared => self.sharing = self.sharing.saturating_sub(1),
            Turn::Exclusive => self.alone = false,
        }
    }

    /// Takes those out who no longer wait.
    pub(crate) fn remove(&mut self, mut leaves: impl FnMut(&T) -> bool) -> Vec<T> {
        let (gone, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|(_, who)| leaves(who));
        self.waiting = waiting;
        let gone: VecDeque<(Turn, T)> = gone;
        gone.into_iter().map(|(_, who)| who).collect()
    }

    /// Those who wait.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|(_, who)| who)
    }

    /// The same, to be changed.
    pub(crate) fn waiting_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.waiting.iter_mut().map(|(_, who)| who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(turns: &mut Turns<u32>) -> Vec<u32> {
        std::iter::from_fn(|| turns.next()).collect()
    }

    /// Those who share run together, one who changes things runs alone, and nobody overtakes.
    #[test]
    fn turns_come_in_order() {
        let mut turns = Turns::default();
        for (turn, who) in [(Turn::Shared, 1), (Turn::Shared, 2), (Turn::Exclusive, 3), (Turn::Shared, 4)] {
            turns.ask(turn, who);
        }
        turns.ask(Turn::Exclusive, 5);
        assert_eq!(all(&mut turns), [1, 2]);
        turns.done(Turn::Shared);
        assert!(all(&mut turns).is_empty());
        turns.done(Turn::Shared);
        assert_eq!(all(&mut turns), [3]);
        turns.done(Turn::Exclusive);
        assert_eq!(all(&mut turns), [4]);
        turns.done(Turn::Shared);
        assert_eq!(all(&mut turns), [5]);
    }

    /// One who leaves the queue no longer keeps those behind away.
    #[test]
    fn leavers_make_room() {
        let mut turns = Turns::default();
        turns.ask(Turn::Shared, 1);
        assert_eq!(all(&mut turns), [1]);
        turns.ask(Turn::Exclusive, 2);
        turns.ask(Turn::Shared, 3);
        assert!(all(&mut turns).is_empty());
        assert_eq!(turns.remove(|who| *who == 2), [2]);
        assert_eq!(all(&mut turns), [3]);
        assert_eq!(turns.waiting().count(), 0);
    }
}
