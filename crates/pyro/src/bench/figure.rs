//! Samples and the figures they come to. Pure.

use std::time::Duration;

use serde::Serialize;

/// One figure over its samples.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Samples taken.
    pub count: usize,
}

/// Samples of one figure.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<f64>);

impl Samples {
    /// Takes a duration, in milliseconds.
    pub(super) fn add(&mut self, duration: Duration) {
        self.0.push(duration.as_secs_f64() * 1000.0);
    }

    /// Takes a plain value.
    pub(super) fn add_value(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Takes how many times as long as another one a duration is.
    pub(super) fn add_ratio(&mut self, duration: Duration, of: Duration) {
        self.0.push(duration.as_secs_f64() / of.as_secs_f64().max(f64::MIN_POSITIVE));
    }

    /// Whether none was taken yet.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the samples come to.
    pub(super) fn figure(mut self, name: &'static str, unit: &'static str) -> Figure {
        self.0.sort_by(f64::total_cmp);
        Figure {
            name,
            unit,
            p50: percentile(&self.0, 50),
            p95: percentile(&self.0, 95),
            p99: percentile(&self.0, 99),
            count: self.0.len(),
        }
    }
}

/// The nearest-rank percentile of sorted values; zero of none.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::percentile;

    /// Percentiles are nearest-rank: a value that was really measured.
    #[test]
    fn percentiles_are_measured_values() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            (percentile(&hundred, 50), percentile(&hundred, 95), percentile(&hundred, 99)),
            (50.0, 95.0, 99.0)
        );
        assert_eq!((percentile(&[7.0], 99), percentile(&[], 50)), (7.0, 0.0));
    }
}
