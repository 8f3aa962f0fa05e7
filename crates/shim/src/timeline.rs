//! What each step of a start took.

use std::time::{Duration, Instant};

/// Named steps, in order.
#[derive(Debug)]
pub(crate) struct Timeline {
    since: Instant,
    steps: Vec<(String, u64)>,
}

impl Timeline {
    /// Starts the clock.
    pub(crate) fn start() -> Timeline {
        Timeline { since: Instant::now(), steps: Vec::new() }
    }

    /// Ends a step that began where the one before ended.
    pub(crate) fn step(&mut self, name: &str) {
        let now = Instant::now();
        self.add(name, now - self.since);
        self.since = now;
    }

    /// Enters a step that somebody else measured, and goes on from now.
    pub(crate) fn measured(&mut self, name: &str, duration: Duration) {
        self.add(name, duration);
        self.since = Instant::now();
    }

    /// All steps in microseconds.
    pub(crate) fn into_steps(self) -> Vec<(String, u64)> {
        self.steps
    }

    fn add(&mut self, name: &str, duration: Duration) {
        self.steps.push((name.to_owned(), u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)));
    }
}
