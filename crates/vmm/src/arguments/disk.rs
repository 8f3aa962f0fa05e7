//! The arguments of one disk: a protocol node over a descriptor set, a format node over that, a device.

use std::os::fd::RawFd;

use serde::Serialize;

use super::Arguments;
use super::wiring::{DiskFds, WiredDisk};
use crate::machine::Flush;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct FileNode<'a> {
    driver: &'a str,
    node_name: String,
    filename: String,
    read_only: bool,
    aio: &'a str,
    discard: &'a str,
    cache: Cache,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct FormatNode<'a> {
    driver: &'a str,
    node_name: String,
    file: String,
    read_only: bool,
    discard: &'a str,
    cache: Cache,
    #[serde(skip_serializing_if = "Option::is_none")]
    backing: Option<String>,
}

#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
struct Cache {
    direct: bool,
    no_flush: bool,
}

/// Whether a node is written.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    ReadOnly,
    ReadWrite,
}

impl Arguments {
    pub(super) fn disk(&mut self, index: usize, disk: &WiredDisk) {
        let node = format!("disk{index}");
        match disk.fds {
            DiskFds::ReadOnly(fd) => {
                self.raw(&node, fd, Mode::ReadOnly, Flush::Honored);
            }
            DiskFds::Writable(fd) => {
                self.raw(&node, fd, Mode::ReadWrite, disk.flush);
            }
            DiskFds::Overlay { overlay, backing } => {
                let base = format!("{node}-backing");
                self.raw(&base, backing, Mode::ReadOnly, Flush::Honored);
                let file = self.file(&node, overlay, Mode::ReadWrite, disk.flush);
                self.format("qcow2", &node, file, Mode::ReadWrite, disk.flush, Some(base));
            }
        }
        let serial = disk.serial.as_str();
        // A disk that is full is an error in the guest; QEMU's default is to stop the guest without a word.
        let device = format!("virtio-blk-device,drive={node},serial={serial},werror=report,rerror=report");
        self.add("-device", device);
    }

    fn raw(&mut self, node: &str, fd: RawFd, mode: Mode, flush: Flush) {
        let file = self.file(node, fd, mode, flush);
        self.format("raw", node, file, mode, flush, None);
    }

    /// A protocol node over a descriptor set that holds the one descriptor; its name is returned.
    fn file(&mut self, node: &str, fd: RawFd, mode: Mode, flush: Flush) -> String {
        let node_name = format!("{node}-file");
        self.add("-add-fd", format!("fd={fd},set={fd}"));
        self.blockdev(&FileNode {
            driver: "file",
            node_name: node_name.clone(),
            filename: format!("/dev/fdset/{fd}"),
            read_only: mode == Mode::ReadOnly,
            aio: "threads",
            discard: discard(mode),
            cache: cache(flush),
        });
        node_name
    }

    fn format(
        &mut self,
        driver: &str,
        node: &str,
        file: String,
        mode: Mode,
        flush: Flush,
        backing: Option<String>,
    ) {
        self.blockdev(&FormatNode {
            driver,
            node_name: node.to_owned(),
            file,
            read_only: mode == Mode::ReadOnly,
            discard: discard(mode),
            cache: cache(flush),
            backing,
        });
    }

    fn blockdev(&mut self, node: &impl Serialize) {
        // A struct of text and flags always serializes.
        self.add("-blockdev", serde_json::to_string(node).unwrap_or_default());
    }
}

fn discard(mode: Mode) -> &'static str {
    match mode {
        Mode::ReadOnly => "ignore",
        Mode::ReadWrite => "unmap",
    }
}

fn cache(flush: Flush) -> Cache {
    Cache { direct: false, no_flush: flush == Flush::Ignored }
}
