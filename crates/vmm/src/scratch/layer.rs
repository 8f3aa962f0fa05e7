//! Layers read back with suspicion: a file that a VMM has written is nobody's word.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::ScratchError;
use super::layout::{
    CLUSTER_BITS, CLUSTER_BYTES, COMPRESSED, HEADER_BYTES, MAGIC, OFFSET, REFCOUNT_ORDER, TABLE_ENTRIES,
    VERSION, ZERO, is_size, l1_entries,
};

/// Header extensions (docs/interop/qcow2.txt): the end of them, and names of features, which QEMU adds when it
/// writes a header anew. Every other one changes what the file is.
const EXTENSIONS_END: u32 = 0;
const FEATURE_NAMES: u32 = 0x6803_f857;

/// Bits of an L1 entry, and of an L2 entry of a cluster that is not compressed, that must be zero.
const L1_RESERVED: u64 = 0x7f00_0000_0000_01ff;
const L2_RESERVED: u64 = 0x3f00_0000_0000_01fe;

/// Refuses a file that is not one of our layers, for a disk of `bytes`, or was cut short. What it names must be in
/// it: all tables and all clusters are looked up, though not read. Takes a millisecond for a disk that is all
/// written.
///
/// # Errors
/// [`ScratchError::Layer`] says what does not fit.
pub fn check_layer(path: &Path, bytes: u64) -> Result<(), ScratchError> {
    let layer = Layer::open(path)?;
    if layer.bytes != bytes {
        return Err(layer.refused("it is of a disk of another size"));
    }
    for l1_index in 0..layer.l1.len() {
        layer.table(l1_index)?;
    }
    Ok(())
}

/// Where a layer has a cluster of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mapping {
    /// Not here: what is below shows.
    Below,
    /// All zeros.
    Zero,
    /// At this offset of the file, whole.
    Data(u64),
}

/// A layer whose header fits.
#[derive(Debug)]
pub(super) struct Layer<'a> {
    pub(super) path: &'a Path,
    pub(super) file: File,
    /// Size of the disk.
    pub(super) bytes: u64,
    file_bytes: u64,
    l1: Vec<u64>,
}

impl<'a> Layer<'a> {
    /// Opens a layer and checks its header, its L1 table, and that its refcount table is in it.
    pub(super) fn open(path: &'a Path) -> Result<Self, ScratchError> {
        let read = |source| ScratchError::Read { path: path.to_owned(), source };
        let refused = |reason| ScratchError::Layer { path: path.to_owned(), reason };
        let file = File::open(path).map_err(read)?;
        let file_bytes = file.metadata().map_err(read)?.len();
        if file_bytes < CLUSTER_BYTES {
            return Err(refused("it is too short"));
        }
        let mut header = vec![0; CLUSTER_BYTES as usize];
        file.read_exact_at(&mut header, 0).map_err(read)?;
        let header = Header::parse(&header).map_err(refused)?;
        let mut layer = Self { path, file, bytes: header.bytes, file_bytes, l1: Vec::new() };
        let l1_bytes = (l1_entries(header.bytes) * 8).next_multiple_of(CLUSTER_BYTES);
        if !layer.holds(header.l1_table_at, l1_bytes) {
            return Err(refused("its L1 table is not in it"));
        }
        if !layer.holds(header.refcount_table_at, header.refcount_table_bytes) {
            return Err(refused("its refcount table is not in it"));
        }
        layer.l1 = layer.entries(header.l1_table_at, l1_entries(header.bytes)).map_err(read)?;
        Ok(layer)
    }

    /// Mappings of the clusters that one L1 entry covers; `None` where the layer has none of them.
    pub(super) fn table(&self, l1_index: usize) -> Result<Option<Vec<Mapping>>, ScratchError> {
        let entry = self.l1.get(l1_index).copied().unwrap_or_default();
        let at = entry & OFFSET;
        if entry & L1_RESERVED != 0 || (at != 0 && !self.holds(at, CLUSTER_BYTES)) {
            return Err(self.refused("an L2 table is not in it"));
        }
        if at == 0 {
            return Ok(None);
        }
        let read = |source| ScratchError::Read { path: self.path.to_owned(), source };
        let entries = self.entries(at, TABLE_ENTRIES).map_err(read)?;
        entries.into_iter().map(|entry| self.mapping(entry)).collect::<Result<_, _>>().map(Some)
    }

    pub(super) fn l1_entries(&self) -> usize {
        self.l1.len()
    }

    fn mapping(&self, entry: u64) -> Result<Mapping, ScratchError> {
        if entry & COMPRESSED != 0 {
            return Err(self.refused("a cluster is compressed"));
        }
        if entry & L2_RESERVED != 0 {
            return Err(self.refused("a cluster is of an unknown kind"));
        }
        match (entry & OFFSET, entry & ZERO) {
            (_, ZERO) => Ok(Mapping::Zero),
            (0, _) => Ok(Mapping::Below),
            (at, _) if self.holds(at, CLUSTER_BYTES) => Ok(Mapping::Data(at)),
            _ => Err(self.refused("a cluster is not in it")),
        }
    }

    /// Whether whole clusters from `at` on are in the file, behind the header.
    fn holds(&self, at: u64, bytes: u64) -> bool {
        at >= CLUSTER_BYTES
            && at.is_multiple_of(CLUSTER_BYTES)
            && at.checked_add(bytes).is_some_and(|end| end <= self.file_bytes)
    }

    fn entries(&self, at: u64, count: u64) -> io::Result<Vec<u64>> {
        let mut bytes = vec![0; usize::try_from(count * 8).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes.as_chunks().0.iter().map(|entry| u64::from_be_bytes(*entry)).collect())
    }

    pub(super) fn refused(&self, reason: &'static str) -> ScratchError {
        ScratchError::Layer { path: self.path.to_owned(), reason }
    }
}

/// What differs from one of our headers to another.
struct Header {
    bytes: u64,
    l1_table_at: u64,
    refcount_table_at: u64,
    refcount_table_bytes: u64,
}

impl Header {
    fn parse(cluster: &[u8]) -> Result<Self, &'static str> {
        let field = |at| Field(cluster, at);
        if field(0).word() != MAGIC || field(4).word() != VERSION {
            return Err("it is no qcow2 file of version 3");
        }
        if field(8).long() != 0 || field(16).word() != 0 {
            return Err("it names a backing file");
        }
        let header_bytes = field(100).word();
        // Crypt method, internal snapshots, and the three kinds of features.
        let extras = [field(32).word(), field(60).word()];
        let features = [field(72).long(), field(80).long(), field(88).long()];
        if extras != [0; 2] || features != [0; 3] || header_bytes < HEADER_BYTES {
            return Err("it has features that ours have not");
        }
        if field(20).word() != CLUSTER_BITS || field(96).word() != REFCOUNT_ORDER {
            return Err("its clusters or refcounts are of another size");
        }
        known_extensions(cluster, u64::from(header_bytes))?;
        let bytes = field(24).long();
        if !is_size(bytes) || u64::from(field(36).word()) != l1_entries(bytes) {
            return Err("it is of an impossible size");
        }
        Ok(Self {
            bytes,
            l1_table_at: field(40).long(),
            refcount_table_at: field(48).long(),
            refcount_table_bytes: u64::from(field(56).word()) * CLUSTER_BYTES,
        })
    }
}

/// Goes over the extensions, each a type, a length and content padded to eight bytes.
fn known_extensions(cluster: &[u8], from: u64) -> Result<(), &'static str> {
    let mut at = from;
    while at + 8 <= CLUSTER_BYTES {
        match Field(cluster, at as usize).word() {
            EXTENSIONS_END => return Ok(()),
            FEATURE_NAMES => at += 8 + u64::from(Field(cluster, at as usize + 4).word()).next_multiple_of(8),
            _ => return Err("it has features that ours have not"),
        }
    }
    Err("its header has no end")
}

/// A big-endian number at an offset of the header's cluster; zero past its end.
struct Field<'a>(&'a [u8], usize);

impl Field<'_> {
    fn word(&self) -> u32 {
        self.read().map(u32::from_be_bytes).unwrap_or_default()
    }

    fn long(&self) -> u64 {
        self.read().map(u64::from_be_bytes).unwrap_or_default()
    }

    fn read<const N: usize>(&self) -> Option<[u8; N]> {
        let Self(bytes, at) = self;
        bytes.get(*at..)?.first_chunk().copied()
    }
}

#[cfg(test)]
mod tests;
