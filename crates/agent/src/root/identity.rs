//! What makes a fork unlike its siblings and current: clock, random numbers, name.

#![allow(unsafe_code)]

use std::os::fd::AsRawFd;

use pyro_proto::agent::{Failure, FailureKind, Prepare};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::clock::set_clock;
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

/// What a system calls itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) hostname: String,
    pub(crate) machine_id: String,
}

impl Identity {
    /// What a guest is told to be.
    pub(crate) fn of(prepare: &Prepare) -> Identity {
        Identity { hostname: prepare.hostname.clone(), machine_id: prepare.machine_id.clone() }
    }

    /// As text: each on a line of its own.
    pub(crate) fn to_text(&self) -> String {
        format!("{}\n{}\n", self.hostname, self.machine_id)
    }

    /// From [`Self::to_text`]; `None` for what it never gives.
    pub(crate) fn parse(text: &[u8]) -> Option<Identity> {
        let (hostname, machine_id) = std::str::from_utf8(text).ok()?.strip_suffix('\n')?.split_once('\n')?;
        let is_one = is_hostname(hostname) && is_machine_id(machine_id);
        is_one.then(|| Identity { hostname: hostname.to_owned(), machine_id: machine_id.to_owned() })
    }
}

/// Gives this fork its own time, randomness and name. The clock goes first: what it is told ages.
pub(crate) fn adopt(prepare: &Prepare) -> Result<(), Failure> {
    set_clock(prepare.realtime_ns)?;
    reseed(&prepare.entropy)
        .map_err(|errno| system("the random number generator cannot be reseeded", errno))?;
    rustix::system::sethostname(prepare.hostname.as_bytes())
        .map_err(|errno| system("the host name cannot be set", errno))
}

/// Refuses names that would not be what they say, before anything is changed.
pub(crate) fn check(prepare: &Prepare) -> Result<(), Failure> {
    if !is_hostname(&prepare.hostname) {
        return Err(failure(FailureKind::InvalidArgument, format!("{:?} is no host name", prepare.hostname)));
    }
    if !is_machine_id(&prepare.machine_id) {
        return Err(failure(
            FailureKind::InvalidArgument,
            "a machine id has 32 lower-case hexadecimal digits",
        ));
    }
    match &prepare.boot_id {
        Some(boot_id) if !is_uuid(boot_id) => {
            Err(failure(FailureKind::InvalidArgument, "a boot id is a UUID in lower case"))
        }
        _ => Ok(()),
    }
}

fn is_hostname(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    !name.is_empty() && name.len() <= HOSTNAME_BYTES_MAX && name.bytes().all(is_letter)
}

fn is_machine_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(is_hex)
}

/// As the kernel writes one: groups of 8, 4, 4, 4 and 12 digits.
fn is_uuid(id: &str) -> bool {
    let is_hyphen = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    id.len() == 36
        && id
            .bytes()
            .enumerate()
            .all(|(at, byte)| is_hyphen(at) == (byte == b'-') && (is_hyphen(at) || is_hex(byte)))
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
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
        let (workspace, boot_id) = (WorkspaceDisk::Plain, None);
        Prepare { entropy: [0; 32], realtime_ns: 0, hostname, machine_id, workspace, boot_id }
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

    /// A boot id is one as the kernel writes them.
    #[test]
    fn boot_ids_are_checked() {
        let id = "0123456789abcdef0123456789abcdef";
        let check =
            |boot_id: &str| check(&Prepare { boot_id: Some(boot_id.to_owned()), ..prepare("vm", id) });
        assert_eq!(check("01234567-89ab-4def-8123-456789abcdef"), Ok(()));
        for boot_id in [
            "",
            "0123456789ab-4def-8123-456789abcdef-",
            "01234567-89AB-4def-8123-456789abcdef",
            "01234567-89ab-4def-8123-456789abcdef\n",
            "01234567089ab-4def-8123-456789abcdef",
        ] {
            assert!(check(boot_id).is_err(), "{boot_id:?}");
        }
    }

    /// A record gives back what it was made of, and nothing else is taken for one.
    #[test]
    fn a_record_is_read_back() {
        let identity = Identity::of(&prepare("vm-1.local", "0123456789abcdef0123456789abcdef"));
        let text = identity.to_text();
        assert_eq!(Identity::parse(text.as_bytes()), Some(identity));
        for end in 0..text.len() {
            assert_eq!(Identity::parse(&text.as_bytes()[..end]), None);
        }
        assert_eq!(Identity::parse(format!("x{text}x").as_bytes()), None);
    }
}
