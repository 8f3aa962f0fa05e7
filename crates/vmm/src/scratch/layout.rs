//! How our qcow2 files are laid out, from the format's specification (docs/interop/qcow2.txt).
//!
//! Version 3, clusters of 64 KiB, refcounts of 16 bits, nothing optional. The header names no backing file: the one
//! there is, is given to QEMU as a node, so that a file's content can never choose what is opened.

use crate::limits::SCRATCH_BYTES;

pub(super) const CLUSTER_BITS: u32 = 16;
pub(super) const CLUSTER_BYTES: u64 = 1 << CLUSTER_BITS;

/// Entries of a table that is one cluster: L2 tables, and pieces of the L1 and refcount tables.
pub(super) const TABLE_ENTRIES: u64 = CLUSTER_BYTES / 8;
/// What one L1 entry covers: an L2 table.
pub(super) const L1_ENTRY_COVERS_BYTES: u64 = TABLE_ENTRIES * CLUSTER_BYTES;
/// Refcounts in one block.
pub(super) const BLOCK_REFCOUNTS: u64 = CLUSTER_BYTES / 2;

pub(super) const MAGIC: u32 = 0x5146_49fb;
pub(super) const VERSION: u32 = 3;
/// Refcounts of 16 bits.
pub(super) const REFCOUNT_ORDER: u32 = 4;
pub(super) const HEADER_BYTES: u32 = 104;

/// In a table's entry: the cluster has a refcount of one.
pub(super) const COPIED: u64 = 1 << 63;
/// The cluster is compressed (L2 only).
pub(super) const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros (L2 only).
pub(super) const ZERO: u64 = 1;
/// Where the cluster is.
pub(super) const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// Whether a disk may have this size.
pub(super) fn is_size(bytes: u64) -> bool {
    SCRATCH_BYTES.contains(&bytes) && bytes.is_multiple_of(CLUSTER_BYTES)
}

/// Entries of the L1 table of a disk.
pub(super) fn l1_entries(bytes: u64) -> u64 {
    bytes.div_ceil(L1_ENTRY_COVERS_BYTES)
}

/// A header with one cluster of refcount table, which is enough for 16 TiB.
pub(super) fn header(bytes: u64, l1_table_at: u64, refcount_table_at: u64) -> Vec<u8> {
    let long = |value: u64| [(value >> 32) as u32, value as u32];
    let words: [&[u32]; 9] = [
        &[MAGIC, VERSION],
        &[0, 0, 0], // no backing file name
        &[CLUSTER_BITS],
        &long(bytes),
        &[0, l1_entries(bytes) as u32], // no encryption
        &[long(l1_table_at), long(refcount_table_at)].concat(),
        &[1, 0, 0, 0], // one cluster of refcount table, no snapshots
        &[0; 6],       // no incompatible, compatible or autoclear features
        &[REFCOUNT_ORDER, HEADER_BYTES],
    ];
    words.concat().into_iter().flat_map(u32::to_be_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SCRATCH_BYTES_DEFAULT;

    #[test]
    fn the_header_is_as_the_specification_has_it() {
        // Promise: the layout is qcow2 version 3, with no backing file named.
        let header = header(SCRATCH_BYTES_DEFAULT, 0x30000, 0x10000);
        assert_eq!(header.len(), HEADER_BYTES as usize);
        assert_eq!(&header[..8], b"QFI\xfb\0\0\0\x03");
        assert_eq!(header[8..20], [0; 12]);
        assert_eq!(header[24..32], SCRATCH_BYTES_DEFAULT.to_be_bytes());
        assert_eq!(header[36..40], 64u32.to_be_bytes());
        assert_eq!(header[40..48], 0x30000u64.to_be_bytes());
        assert_eq!(header[96..104], [0, 0, 0, 4, 0, 0, 0, 104]);
    }
}
