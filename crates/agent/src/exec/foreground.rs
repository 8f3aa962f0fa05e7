//! Who goes first: commands that somebody waits for, before output of shells and services. One that prints without end
//! would otherwise have as much of the processor as all of them together.

use std::cell::Cell;

use tokio::time::{Duration, Instant, sleep};

use crate::limits::{MAKE_WAY_MS, MAKE_WAY_TERMINAL_BURST_BYTES, MAKE_WAY_TERMINAL_BYTES_PER_SECOND};

/// How many commands run that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Foreground(Cell<usize>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Entered<'a>(&'a Foreground);

/// How one output makes way for them.
#[derive(Debug)]
pub(crate) struct Way<'a> {
    foreground: &'a Foreground,
    /// None of a pipe.
    terminal: Option<Allowance>,
}

/// Bytes that a terminal may print now, in the long run at a rate.
#[derive(Debug)]
struct Allowance {
    left: f64,
    since: Instant,
}

impl Foreground {
    /// One more.
    pub(crate) fn enter(&self) -> Entered<'_> {
        self.0.set(self.0.get() + 1);
        Entered(self)
    }

    fn is_empty(&self) -> bool {
        self.0.get() == 0
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get().saturating_sub(1));
    }
}

impl<'a> Way<'a> {
    pub(crate) fn new(foreground: &'a Foreground, is_terminal: bool) -> Way<'a> {
        let burst = f64::from(MAKE_WAY_TERMINAL_BURST_BYTES);
        let allowance = Allowance { left: burst, since: Instant::now() };
        Way { foreground, terminal: is_terminal.then_some(allowance) }
    }

    /// Waits behind so many bytes, if anybody goes first.
    pub(crate) async fn make(&mut self, bytes: usize) {
        let pause = match &mut self.terminal {
            Some(allowance) => allowance.spend(bytes, Instant::now()),
            None => MAKE_WAY_MS,
        };
        // In small steps: who goes first may be gone before it is over.
        let until = Instant::now() + pause;
        while !self.foreground.is_empty() && Instant::now() < until {
            sleep(MAKE_WAY_MS.min(until - Instant::now())).await;
        }
    }
}

impl Allowance {
    /// Takes note of bytes; gives how long they are too many for.
    fn spend(&mut self, bytes: usize, now: Instant) -> Duration {
        let (rate, burst) =
            (f64::from(MAKE_WAY_TERMINAL_BYTES_PER_SECOND), f64::from(MAKE_WAY_TERMINAL_BURST_BYTES));
        let gained = now.duration_since(self.since).as_secs_f64() * rate;
        self.since = now;
        // Debts are of one piece at most: nobody pays for what was printed while nobody waited.
        self.left = (self.left + gained).min(burst).max(0.0) - bytes as f64;
        Duration::from_secs_f64((-self.left / rate).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys and screens are printed at once, a flood at its rate.
    #[tokio::test]
    async fn floods_are_slowed_down() {
        let (now, burst) = (Instant::now(), MAKE_WAY_TERMINAL_BURST_BYTES as usize);
        let mut allowance = Allowance { left: f64::from(MAKE_WAY_TERMINAL_BURST_BYTES), since: now };
        assert_eq!(allowance.spend(burst / 2, now), Duration::ZERO);
        assert_eq!(allowance.spend(burst / 2, now), Duration::ZERO);
        let second = allowance.spend(MAKE_WAY_TERMINAL_BYTES_PER_SECOND as usize, now);
        assert_eq!(second.as_secs_f64().round(), 1.0);
        let later = now + Duration::from_secs(10);
        assert_eq!(allowance.spend(burst, later), Duration::ZERO);
    }

    /// Nobody is slowed down for nobody.
    #[tokio::test]
    async fn nobody_waits_for_nobody() {
        let foreground = Foreground::default();
        let mut way = Way::new(&foreground, true);
        // A minute's worth of output.
        way.make(8 << 20).await;
        let entered = foreground.enter();
        assert!(!foreground.is_empty());
        let waited = tokio::time::timeout(Duration::from_millis(50), way.make(8 << 20)).await;
        assert!(waited.is_err(), "it did not wait");
        drop(entered);
        way.make(8 << 20).await;
        assert!(foreground.is_empty());
    }
}
