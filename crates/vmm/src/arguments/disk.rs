//! The arguments of one disk: descriptor sets, nodes, a device.

use std::os::fd::RawFd;

use serde_json::Value;

use super::Arguments;
use super::nodes::{Backing, Mode, backing_name, file_node, layer_name, plain_name, qcow2_node, raw_node};
use super::wiring::{DiskFds, WiredDisk};
use crate::machine::Flush;

impl Arguments {
    pub(super) fn disk(&mut self, index: usize, disk: &WiredDisk) {
        let node = match &disk.fds {
            DiskFds::ReadOnly(fd) => self.raw(plain_name(index), *fd, Mode::ReadOnly, Flush::Honored),
            DiskFds::Writable(fd) => self.raw(plain_name(index), *fd, Mode::ReadWrite, disk.flush),
            DiskFds::Overlay { overlay, layers, backing } => {
                let mut below = self.raw(backing_name(index), *backing, Mode::ReadOnly, Flush::Honored);
                for (number, fd) in layers.iter().enumerate() {
                    let name = layer_name(index, number);
                    below = self.layer(name, *fd, Mode::ReadOnly, Flush::Honored, &below);
                }
                let name = layer_name(index, layers.len());
                self.layer(name, *overlay, Mode::ReadWrite, disk.flush, &below)
            }
        };
        let serial = disk.serial.as_str();
        // A disk that is full is an error in the guest; QEMU's default is to stop the guest without a word.
        let device = format!("virtio-blk-device,drive={node},serial={serial},werror=report,rerror=report");
        self.add("-device", device);
    }

    fn raw(&mut self, node: String, fd: RawFd, mode: Mode, flush: Flush) -> String {
        self.file(&node, fd, mode, flush);
        self.blockdev(&raw_node(&node, mode));
        node
    }

    fn layer(&mut self, node: String, fd: RawFd, mode: Mode, flush: Flush, below: &str) -> String {
        self.file(&node, fd, mode, flush);
        self.blockdev(&qcow2_node(&node, mode, Backing::Node(below)));
        node
    }

    /// A protocol node over a descriptor set that holds the one descriptor, and has its number.
    fn file(&mut self, node: &str, fd: RawFd, mode: Mode, flush: Flush) {
        self.add("-add-fd", format!("fd={fd},set={fd}"));
        self.blockdev(&file_node(node, u64::from(fd.unsigned_abs()), mode, flush));
    }

    fn blockdev(&mut self, node: &Value) {
        self.add("-blockdev", node.to_string());
    }
}
