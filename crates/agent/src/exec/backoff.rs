//! Pauses between the starts of a service that does not stay up. Pure.

use std::time::Duration;

use crate::limits::{RESTART_PAUSE_MS_MIN, RESTART_PAUSE_SECONDS_MAX, RESTART_RESET_SECONDS};

/// The pauses of one service.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// The pause after a life in which it was ready for so long, if it was: twice the one before, unless it had
    /// recovered.
    pub(super) fn next(&mut self, ready_for: Option<Duration>) -> Duration {
        let has_recovered = ready_for.is_some_and(|time| time >= RESTART_RESET_SECONDS);
        let pause = match self.last.filter(|_| !has_recovered) {
            None => RESTART_PAUSE_MS_MIN,
            Some(last) => last.saturating_mul(2).min(RESTART_PAUSE_SECONDS_MAX),
        };
        self.last = Some(pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pauses double up to a bound, and begin anew when the service has been well for a while.
    #[test]
    fn pauses_grow_and_begin_anew() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..12).map(|_| backoff.next(None).as_millis()).collect();
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[11], RESTART_PAUSE_SECONDS_MAX.as_millis());
        assert_eq!(backoff.next(Some(RESTART_RESET_SECONDS / 2)), RESTART_PAUSE_SECONDS_MAX);
        assert_eq!(backoff.next(Some(RESTART_RESET_SECONDS)), RESTART_PAUSE_MS_MIN);
    }
}
