//! Between what the kernel says of a file and what a tree stream says.

use std::os::fd::AsFd;

use pyro_proto::tree::{Mtime, Node, NodeKind};
use rustix::fs::{AtFlags, FileType, Mode, RawMode, Stat, Timespec, Timestamps, UTIME_OMIT};

use super::directory::kind;

/// Bits of a mode that a tree carries.
pub(crate) const MODE_BITS: RawMode = 0o7777;

/// What a stream says of `name` in `parent`, whose state is `stat`.
pub(crate) fn node(parent: impl AsFd, name: &[u8], stat: &Stat) -> rustix::io::Result<Node> {
    let kind = match kind(stat) {
        FileType::Directory => NodeKind::Directory,
        FileType::RegularFile => NodeKind::File { bytes: bytes(stat) },
        FileType::Symlink => {
            NodeKind::Symlink { target: rustix::fs::readlinkat(parent, name, Vec::new())?.into_bytes() }
        }
        _ => NodeKind::Special,
    };
    Ok(node_of(kind, stat))
}

/// A node of a kind that is known.
pub(crate) fn node_of(kind: NodeKind, stat: &Stat) -> Node {
    Node { kind, mode: stat.st_mode & MODE_BITS, mtime: mtime(stat) }
}

/// Length of a file.
pub(crate) fn bytes(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Last modification.
pub(crate) fn mtime(stat: &Stat) -> Mtime {
    Mtime { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}

/// What to give to the kernel for a last modification; the last access stays as it is.
pub(crate) fn timestamps(mtime: Mtime) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() },
    }
}

/// Sets the time of what `name` is, a symlink too.
pub(crate) fn set_mtime_at(parent: impl AsFd, name: &[u8], mtime: Mtime) -> rustix::io::Result<()> {
    rustix::fs::utimensat(parent, name, &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)
}

/// A mode that is made of the bits of [`MODE_BITS`] alone.
pub(crate) fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits & MODE_BITS)
}

/// What a host recognizes a node by. Never zero. Files that were changed have another change time, a clock of
/// the kernel's that ticks every few milliseconds: a change of the same length within one tick is not seen.
pub(crate) fn version(stat: &Stat) -> u64 {
    // FNV-1a: the same in every build of the agent, unlike the hash of the standard library.
    const START: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let parts = [
        stat.st_ino.to_le_bytes(),
        stat.st_size.to_le_bytes(),
        stat.st_mtime.to_le_bytes(),
        stat.st_mtime_nsec.to_le_bytes(),
        stat.st_ctime.to_le_bytes(),
        stat.st_ctime_nsec.to_le_bytes(),
        u64::from(stat.st_mode).to_le_bytes(),
    ];
    let hash = parts.iter().flatten().fold(START, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
    hash.max(1)
}
