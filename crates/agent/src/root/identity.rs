//! What makes a fork unlike its siblings and current: clock, random numbers, name.

#![allow(unsafe_code)]

use std::os::fd::AsRawFd;

use pyro_proto::agent::{Failure, FailureKind, Prepare};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::time::{ClockId, Timespec, clock_settime};

use crate::failure::{failure, system};
use crate::limits::HOSTNAME_BYTES_MAX;

/// From `linux/random.h`: `_IOW('R', 0x03, int[2])` and `_IO('R', 0x07)`.
const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
const RNDRESEEDCRNG: libc::c_ulong = 0x5207;

/// `struct rand_pool_info` with a buffer of 32 bytes.
#[repr(C)]
struct PoolInfo {
    entropy_bits: i32,
    bytes: i32,
    buffer: [u8; 32],
}

/// Gives this fork its own time, randomness and name. The clock goes first: what it is told ages.
pub(crate) fn adopt(prepare: &Prepare) -> Result<(), Failure> {
    set_clock(prepare.realtime_ns).map_err(|errno| system("the clock cannot be set", errno))?;
    reseed(&prepare.entropy)
        .map_err(|errno| system("the random number generator cannot be reseeded", errno))?;
    rustix::system::sethostname(prepare.hostname.as_bytes())
        .map_err(|errno| system("the host name cannot be set", errno))
}

/// Refuses names that would not be what they say, before anything is changed.
pub(crate) fn check(prepare: &Prepare) -> Result<(), Failure> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let hostname = prepare.hostname.as_bytes();
    if hostname.is_empty() || hostname.len() > HOSTNAME_BYTES_MAX || !hostname.iter().copied().all(is_name) {
        return Err(failure(FailureKind::InvalidArgument, format!("{:?} is no host name", prepare.hostname)));
    }
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if prepare.machine_id.len() != 32 || !prepare.machine_id.bytes().all(is_hex) {
        return Err(failure(
            FailureKind::InvalidArgument,
            "a machine id has 32 lower-case hexadecimal digits",
        ));
    }
    Ok(())
}

fn set_clock(realtime_ns: u64) -> rustix::io::Result<()> {
    const NS: u64 = 1_000_000_000;
    let seconds = i64::try_from(realtime_ns / NS).map_err(|_| Errno::INVAL)?;
    let nanoseconds = i64::try_from(realtime_ns % NS).map_err(|_| Errno::INVAL)?;
    clock_settime(ClockId::Realtime, Timespec { tv_sec: seconds, tv_nsec: nanoseconds })
}

/// Mixes fresh bytes in, credits them, and makes the kernel draw a new key at once: without the second step
/// siblings would go on with the template's key for a while.
fn reseed(entropy: &[u8; 32]) -> rustix::io::Result<()> {
    let urandom = rustix::fs::open("/dev/urandom", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let pool = PoolInfo { entropy_bits: 256, bytes: 32, buffer: *entropy };
    // SAFETY: RNDADDENTROPY reads one `rand_pool_info`, whose length field is that of its buffer.
    ioctl_result(unsafe { libc::ioctl(urandom.as_raw_fd(), RNDADDENTROPY as _, &raw const pool) })?;
    // SAFETY: RNDRESEEDCRNG takes no argument.
    ioctl_result(unsafe { libc::ioctl(urandom.as_raw_fd(), RNDRESEEDCRNG as _) })
}

fn ioctl_result(result: libc::c_int) -> rustix::io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_proto::agent::WorkspaceDisk;

    fn prepare(hostname: &str, machine_id: &str) -> Prepare {
        let (hostname, machine_id) = (hostname.to_owned(), machine_id.to_owned());
        Prepare { entropy: [0; 32], realtime_ns: 0, hostname, machine_id, workspace: WorkspaceDisk::Plain }
    }

    /// Names that would break a file of the guest are refused before anything is touched.
    #[test]
    fn names_are_checked() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(check(&prepare("vm-1.local", id)), Ok(()));
        for hostname in ["", "a b", "a\nb", "é", &"a".repeat(65)] {
            assert!(check(&prepare(hostname, id)).is_err(), "{hostname:?}");
        }
        for id in ["", "0123", "0123456789ABCDEF0123456789ABCDEF"] {
            assert!(check(&prepare("vm", id)).is_err(), "{id:?}");
        }
    }
}
