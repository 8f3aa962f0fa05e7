//! A machine with every file and channel replaced by the number of an open descriptor.

use std::os::fd::RawFd;

use crate::machine::{Flush, Serial, Shape};

/// Where guest memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ram {
    /// Nowhere but in the process.
    Anonymous,
    /// In a file that becomes a template.
    Shared(RawFd),
    /// In a template's file, copied on write, by a QEMU that opens it read-only itself.
    Private(RawFd),
    /// In a template's file, copied on write, by a QEMU that opens it for writing; what it gets is read-only,
    /// or a copy.
    PrivateWritable(RawFd),
}

/// The descriptors of one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DiskFds {
    ReadOnly(RawFd),
    Writable(RawFd),
    Overlay { overlay: RawFd, layers: Vec<RawFd>, backing: RawFd },
}

/// One disk, opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WiredDisk {
    pub(crate) serial: Serial,
    pub(crate) fds: DiskFds,
    pub(crate) flush: Flush,
}

/// How execution begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// At the kernel's entry.
    Boot { initrd: RawFd, kernel_line: String },
    /// From a template's device state, once QMP says so.
    Incoming,
}

/// The way to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WiredChannels {
    /// Through the vhost device of this number, on which the id is claimed.
    Vsock { device: RawFd, cid: u32 },
    /// Through a socket for each port.
    Serial { control: RawFd, bulk: RawFd },
}

/// A machine with every file and channel replaced by an open descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wiring {
    pub(crate) shape: Shape,
    pub(crate) ram: Ram,
    pub(crate) kernel: RawFd,
    pub(crate) start: Start,
    pub(crate) disks: Vec<WiredDisk>,
    pub(crate) qmp: RawFd,
    pub(crate) console: RawFd,
    pub(crate) channels: WiredChannels,
}
