//! When a VM's time is over. Pure: no clock of its own.

use std::time::Duration;

use tokio::time::Instant;

/// How long a VM may live.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lifetime {
    /// Until then, whatever it does.
    Until(Option<Instant>),
    /// Until it was idle for so long.
    Idle {
        /// How long; `None`: for ever.
        ttl: Option<Duration>,
        /// Since when it is idle, if it is.
        since: Instant,
    },
}

impl Lifetime {
    /// When it is over, if nothing happens.
    pub(crate) fn due(&self, busy: bool) -> Option<Instant> {
        match *self {
            Lifetime::Until(moment) => moment,
            Lifetime::Idle { .. } if busy => None,
            // A moment too far away for the clock never comes.
            Lifetime::Idle { ttl, since } => since.checked_add(ttl?),
        }
    }

    /// It was used until now.
    pub(crate) fn used(&mut self, now: Instant) {
        if let Lifetime::Idle { since, .. } = self {
            *since = now;
        }
    }

    /// Changes how long it may be idle, from now on. `false` when that is not how this one ends.
    pub(crate) fn set_ttl(&mut self, seconds: Option<u64>, now: Instant) -> bool {
        match self {
            Lifetime::Until(_) => false,
            Lifetime::Idle { ttl, since } => {
                *ttl = seconds.map(Duration::from_secs);
                *since = now;
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace's time runs from its last use, and never during one.
    #[tokio::test]
    async fn idle_time_counts_from_the_last_use() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut life = Lifetime::Idle { ttl: Some(10 * second), since: start };
        assert_eq!(life.due(true), None);
        assert_eq!(life.due(false), Some(start + 10 * second));
        life.used(start + 5 * second);
        assert_eq!(life.due(false), Some(start + 15 * second));
        assert!(life.set_ttl(Some(3), start + 6 * second));
        assert_eq!(life.due(false), Some(start + 9 * second));
        assert!(life.set_ttl(Some(u64::MAX), start) && life.due(false).is_none());
        assert!(life.set_ttl(None, start) && life.due(false).is_none());
    }

    /// Another VM's time is over when it is over.
    #[tokio::test]
    async fn other_vms_end_on_time() {
        let moment = Instant::now();
        let mut life = Lifetime::Until(Some(moment));
        life.used(moment + Duration::from_secs(1));
        assert_eq!(life.due(true), Some(moment));
        assert!(!life.set_ttl(None, moment));
    }
}
