//! Block nodes, as `-blockdev` and QMP both take them: a protocol node over a descriptor set, a format node over
//! that.
//!
//! A disk's nodes are named by its place in the machine and their place in the disk, lowest first, so that what is
//! added to a running machine is named as it would have been at the start. Whether flushes count is told to the
//! protocol node alone: it is the one that makes them, and the one that can be told anew.

use serde::Serialize;
use serde_json::Value;

use crate::machine::Flush;

/// Whether a node is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    ReadOnly,
    ReadWrite,
}

/// What a node stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backing<'a> {
    /// A node that is there.
    Node(&'a str),
    /// Nothing yet: it is put over another node later.
    Later,
}

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
    node_name: &'a str,
    file: String,
    read_only: bool,
    discard: &'a str,
    cache: Cache,
    #[serde(skip_serializing_if = "Option::is_none")]
    backing: Option<Option<&'a str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Cache {
    direct: bool,
    no_flush: bool,
}

/// Name of the one node of a disk that has no layers.
pub(crate) fn plain_name(disk: usize) -> String {
    format!("disk{disk}")
}

/// Name of the raw node under a disk's layers.
pub(crate) fn backing_name(disk: usize) -> String {
    format!("disk{disk}-backing")
}

/// Name of a layer, counted from the lowest; the overlay is the last one.
pub(crate) fn layer_name(disk: usize, layer: usize) -> String {
    format!("disk{disk}-layer{layer}")
}

/// Name of the protocol node under a format node.
pub(crate) fn file_name(node: &str) -> String {
    format!("{node}-file")
}

/// The protocol node of `node`, over the descriptor set of that number.
pub(crate) fn file_node(node: &str, set: u64, mode: Mode, flush: Flush) -> Value {
    value(&FileNode {
        driver: "file",
        node_name: file_name(node),
        filename: set_path(set),
        read_only: mode == Mode::ReadOnly,
        aio: "threads",
        discard: discard(mode),
        cache: cache(flush),
    })
}

/// A raw node over its protocol node.
pub(crate) fn raw_node(node: &str, mode: Mode) -> Value {
    format_node("raw", node, mode, None)
}

/// A qcow2 node over its protocol node. What it stands on is told here, never by its file.
pub(crate) fn qcow2_node(node: &str, mode: Mode, backing: Backing<'_>) -> Value {
    let backing = match backing {
        Backing::Node(name) => Some(name),
        Backing::Later => None,
    };
    format_node("qcow2", node, mode, Some(backing))
}

/// The path under which QEMU opens a descriptor of a set.
pub(crate) fn set_path(set: u64) -> String {
    format!("/dev/fdset/{set}")
}

fn format_node(driver: &str, node: &str, mode: Mode, backing: Option<Option<&str>>) -> Value {
    value(&FormatNode {
        driver,
        node_name: node,
        file: file_name(node),
        read_only: mode == Mode::ReadOnly,
        discard: discard(mode),
        cache: cache(Flush::Honored),
        backing,
    })
}

/// A struct of texts and flags always serializes.
fn value(node: &impl Serialize) -> Value {
    serde_json::to_value(node).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_enough() {
        // Promise: QEMU takes the name of every node there can be (31 characters, block.c).
        let longest = file_name(&layer_name(crate::limits::DISKS_MAX, usize::from(u16::MAX)));
        assert!(longest.len() <= 31, "{longest}");
    }

    #[test]
    fn a_layer_stands_on_what_it_is_told_to() {
        // Promise: no qcow2 file chooses what is opened under it.
        let over = qcow2_node("disk0-layer1", Mode::ReadOnly, Backing::Node("disk0-layer0"));
        assert_eq!(over["backing"], "disk0-layer0");
        let alone = qcow2_node("disk0-layer1", Mode::ReadWrite, Backing::Later);
        assert_eq!(alone.get("backing"), Some(&Value::Null));
        assert_eq!(raw_node("disk0", Mode::ReadOnly).get("backing"), None);
    }

    #[test]
    fn nothing_is_opened_by_a_path() {
        // Promise: what is added to a running machine comes by descriptor too, and only the overlay is written.
        for mode in [Mode::ReadOnly, Mode::ReadWrite] {
            let file = file_node("disk1-layer3", 512, mode, Flush::Ignored);
            assert_eq!(file["filename"], "/dev/fdset/512");
            assert_eq!(file["read-only"], mode == Mode::ReadOnly);
            assert_eq!(file["cache"]["no-flush"], true);
        }
    }
}
