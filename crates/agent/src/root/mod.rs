//! The guest's root: the base image below, the scratch disk above, the kernel's filesystems inside.
//!
//! Owns what happens to mounts after the boot, and what makes a fork itself.

mod assemble;
mod elf;
mod etc;
mod identity;
mod warm;

pub(crate) use assemble::{make_directory, mount_disk, prepare};
pub(crate) use warm::warm;
