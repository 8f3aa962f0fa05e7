//! The guest's clock: read, set to the host's, and moved by what it is off.

#![allow(unsafe_code)]

use pyro_proto::agent::Failure;
use rustix::io::Errno;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use crate::failure::system;

const NS: u64 = 1_000_000_000;

/// Sets the clock to the host's.
pub(crate) fn set_clock(realtime_ns: u64) -> Result<(), Failure> {
    set_realtime(realtime_ns).map_err(|errno| system("the clock cannot be set", errno))
}

/// What it shows, in nanoseconds since 1970.
pub(crate) fn read_clock() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds.saturating_mul(NS).saturating_add(u64::try_from(now.tv_nsec).unwrap_or_default())
}

/// Moves it in one step of the kernel's: between a reading and a setting of it a swamped machine might let any
/// time pass.
pub(crate) fn adjust_clock(offset_ns: i64) -> Result<(), Failure> {
    let (seconds, nanoseconds) = split(offset_ns);
    // SAFETY: a structure of plain numbers, for which zeros are what adjtimex(2) leaves alone.
    let mut change: libc::timex = unsafe { std::mem::zeroed() };
    change.modes = libc::ADJ_SETOFFSET | libc::ADJ_NANO;
    change.time.tv_sec = seconds;
    change.time.tv_usec = nanoseconds;
    // SAFETY: the call reads and writes that structure, which nothing else refers to.
    match unsafe { libc::clock_adjtime(libc::CLOCK_REALTIME, &raw mut change) } {
        0.. => Ok(()),
        _ => {
            let errno = std::io::Error::last_os_error().raw_os_error();
            Err(system("the clock cannot be moved", errno.map_or(Errno::IO, Errno::from_raw_os_error)))
        }
    }
}

/// Whole seconds, and nanoseconds that are never negative, as the kernel wants an offset.
fn split(offset_ns: i64) -> (i64, i64) {
    const NS: i64 = 1_000_000_000;
    (offset_ns.div_euclid(NS), offset_ns.rem_euclid(NS))
}

fn set_realtime(realtime_ns: u64) -> rustix::io::Result<()> {
    let seconds = i64::try_from(realtime_ns / NS).map_err(|_| Errno::INVAL)?;
    let nanoseconds = i64::try_from(realtime_ns % NS).map_err(|_| Errno::INVAL)?;
    clock_settime(ClockId::Realtime, Timespec { tv_sec: seconds, tv_nsec: nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offsets in both directions are said as the kernel takes them.
    #[test]
    fn offsets_are_split() {
        assert_eq!(split(1_500_000_000), (1, 500_000_000));
        assert_eq!(split(-1), (-1, 999_999_999));
        assert_eq!(split(-2_000_000_000), (-2, 0));
        assert_eq!(split(0), (0, 0));
    }
}
