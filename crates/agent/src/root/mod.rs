//! The guest's root: the base image below, the scratch disk above, the kernel's filesystems inside.
//!
//! Owns what happens to mounts after the boot, and what makes a fork itself.

mod assemble;
mod boot_id;
mod clock;
mod disks;
mod elf;
mod furnish;
mod identity;
mod names;
mod standing;
mod warm;

pub(crate) use assemble::{Warm, prepare, warm};
pub(crate) use clock::{adjust_clock, read_clock, set_clock};
pub(crate) use disks::{disk, mount_ext4};
pub(crate) use identity::{Identity, check};
pub(crate) use standing::Standing;
