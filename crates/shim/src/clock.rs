//! Whether the host's clock has jumped: set by somebody, or gone on while the host was suspended. Its guests' have
//! not. Pure: told what the clocks say.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::limits::CLOCK_JUMP_MS_MAX;

/// How far the clock of the day is ahead of the monotonic one, which stands still while the host is suspended
/// (clock_gettime(2)).
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostClock {
    origin: Instant,
    ahead_ms: i128,
}

impl HostClock {
    /// As it is now.
    pub(crate) fn now() -> HostClock {
        let origin = Instant::now();
        HostClock { origin, ahead_ms: ahead_ms(origin, origin, SystemTime::now()) }
    }

    /// Whether it has jumped since the last time that it had.
    pub(crate) fn has_jumped(&mut self) -> bool {
        self.jumped(Instant::now(), SystemTime::now())
    }

    /// The guest may not know of the last jump: it shall be told again.
    pub(crate) fn doubt(&mut self) {
        self.ahead_ms = i128::MIN / 2;
    }

    fn jumped(&mut self, monotonic: Instant, realtime: SystemTime) -> bool {
        let ahead_ms = ahead_ms(self.origin, monotonic, realtime);
        let jumped = (ahead_ms - self.ahead_ms).abs() > CLOCK_JUMP_MS_MAX;
        if jumped {
            self.ahead_ms = ahead_ms;
        }
        jumped
    }
}

fn ahead_ms(origin: Instant, monotonic: Instant, realtime: SystemTime) -> i128 {
    let realtime = match realtime.duration_since(UNIX_EPOCH) {
        Ok(since) => i128::try_from(since.as_millis()).unwrap_or(i128::MAX),
        Err(before) => -i128::try_from(before.duration().as_millis()).unwrap_or(i128::MAX),
    };
    realtime - i128::try_from(monotonic.duration_since(origin).as_millis()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// An hour of suspension shows once, and so does a clock that was set back; the passing of time does not.
    #[test]
    fn jumps_are_seen_once() {
        let mut clock = HostClock::now();
        let (origin, hour) = (clock.origin, Duration::from_secs(3600));
        let day = UNIX_EPOCH + Duration::from_millis(u64::try_from(clock.ahead_ms).unwrap());
        assert!(!clock.jumped(origin + hour, day + hour));
        assert!(clock.jumped(origin + hour, day + 2 * hour));
        assert!(!clock.jumped(origin + 2 * hour, day + 3 * hour));
        assert!(clock.jumped(origin + 2 * hour, day));
        assert!(!clock.jumped(origin + 2 * hour, day + Duration::from_millis(10)));
        clock.doubt();
        assert!(clock.jumped(origin + 2 * hour, day));
        assert!(!clock.jumped(origin + 2 * hour, day));
    }
}
