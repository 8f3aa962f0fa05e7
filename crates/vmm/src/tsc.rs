//! The host's time stamp counter, measured against its monotonic clock.

#![allow(unsafe_code)]

use std::thread;
use std::time::{Duration, Instant};

use crate::limits::TSC_SAMPLE;

/// Pairs taken at each end; the one read in the shortest time counts.
const PAIRS: usize = 16;

/// Frequencies a processor may have, in kHz: 100 MHz to 20 GHz.
const PLAUSIBLE_KHZ: std::ops::RangeInclusive<u64> = 100_000..=20_000_000;

/// The counter's frequency in kHz, good to a few parts per million; `None` when the reading is absurd.
///
/// Blocks for [`TSC_SAMPLE`].
pub(crate) fn measure_khz() -> Option<u64> {
    let (clock, ticks) = pair();
    thread::sleep(TSC_SAMPLE);
    let (later_clock, later_ticks) = pair();
    frequency_khz(later_ticks.checked_sub(ticks)?, later_clock.duration_since(clock))
}

/// Ticks per millisecond, rounded to the nearest.
fn frequency_khz(ticks: u64, elapsed: Duration) -> Option<u64> {
    let nanos = elapsed.as_nanos();
    let scaled = u128::from(ticks) * 1_000_000 + nanos / 2;
    let khz = u64::try_from(scaled.checked_div(nanos)?).ok()?;
    PLAUSIBLE_KHZ.contains(&khz).then_some(khz)
}

/// The clock and the counter at one moment: the narrowest of several readings.
fn pair() -> (Instant, u64) {
    let mut best = read_pair();
    for _ in 1..PAIRS {
        let next = read_pair();
        if next.2 < best.2 {
            best = next;
        }
    }
    (best.0, best.1)
}

fn read_pair() -> (Instant, u64, u64) {
    let before = read_counter();
    let clock = Instant::now();
    let width = read_counter().saturating_sub(before);
    (clock, before + width / 2, width)
}

fn read_counter() -> u64 {
    // SAFETY: RDTSC only reads a register; Linux leaves it to user space on every x86-64 machine.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequency_is_ticks_per_millisecond() {
        // Promise: the guest is told the true rate, or nothing.
        assert_eq!(frequency_khz(120_000_000, Duration::from_millis(40)), Some(3_000_000));
        assert_eq!(frequency_khz(0, Duration::from_millis(40)), None);
        assert_eq!(frequency_khz(1, Duration::ZERO), None);
        assert_eq!(frequency_khz(u64::MAX, Duration::from_nanos(1)), None);
    }

    #[test]
    fn two_measurements_agree() {
        // Promise: the measurement is good to 0.1 % even on a busy machine.
        let (a, b) = (measure_khz().unwrap(), measure_khz().unwrap());
        assert!(a.abs_diff(b) * 1_000 < a, "{a} kHz, then {b} kHz");
    }
}
