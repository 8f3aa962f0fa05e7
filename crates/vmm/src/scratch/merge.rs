//! Two layers made one: the upper one's view, with the lower one's where it has nothing.
//!
//! The new file is written front to back, each cluster once: header, refcount table and blocks, L1 table, L2 tables,
//! data in the disk's order. Everything in it is used once, so that every refcount is one.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::layer::{Layer, Mapping};
use super::layout::{BLOCK_REFCOUNTS, CLUSTER_BYTES, COPIED, TABLE_ENTRIES, ZERO, header, l1_entries};
use super::qcow2::create_file;
use super::{ScratchError, failed, sync_directory};
use crate::sparse::copy_data;

/// Where the refcount table is: behind the header, one cluster.
const REFCOUNT_TABLE_AT: u64 = CLUSTER_BYTES;
const REFCOUNT_BLOCKS_AT: u64 = 2 * CLUSTER_BYTES;

/// Writes `upper` over `lower` as one new layer at `to`, which must not exist, and stores it. Gives what the file
/// takes of its file system, in bytes. Blocks for as long as the data takes to copy.
///
/// # Errors
/// When one of the two is no whole layer, they are of different disks, or a file cannot be read or written; then no
/// file is left.
pub fn merge_layers(lower: &Path, upper: &Path, to: &Path) -> Result<u64, ScratchError> {
    let (lower, upper) = (Layer::open(lower)?, Layer::open(upper)?);
    if lower.bytes != upper.bytes {
        return Err(upper.refused("it is of a disk of another size"));
    }
    let pair = Pair { lower, upper };
    let plan = pair.plan()?;
    create_file(to, |file| {
        let mut writer =
            Writer { pair: &pair, file, path: to, next_table: plan.tables_at, next_data: plan.data_at };
        writer.metadata(&plan)?;
        writer.tables_and_data(&plan)?;
        file.sync_all().and_then(|()| sync_directory(to)).map_err(failed(to))?;
        Ok(file.metadata().map_err(failed(to))?.blocks() * 512)
    })
}

/// Where a cluster of the result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Below,
    Zero,
    Data(Side, u64),
}

/// One of the two layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Lower,
    Upper,
}

/// Where everything of the result is.
struct Plan {
    blocks: u64,
    l1_at: u64,
    tables_at: u64,
    data_at: u64,
    clusters: u64,
}

struct Pair<'a> {
    lower: Layer<'a>,
    upper: Layer<'a>,
}

impl Pair<'_> {
    /// The clusters that one L1 entry covers, `None` where neither has any.
    fn table(&self, l1_index: usize) -> Result<Option<Vec<Source>>, ScratchError> {
        let (lower, upper) = (self.lower.table(l1_index)?, self.upper.table(l1_index)?);
        if lower.is_none() && upper.is_none() {
            return Ok(None);
        }
        let nothing = || vec![Mapping::Below; TABLE_ENTRIES as usize];
        let (lower, upper) = (lower.unwrap_or_else(nothing), upper.unwrap_or_else(nothing));
        let merged = lower.into_iter().zip(upper).map(|pair| match pair {
            (Mapping::Below, Mapping::Below) => Source::Below,
            (_, Mapping::Zero) | (Mapping::Zero, Mapping::Below) => Source::Zero,
            (_, Mapping::Data(at)) => Source::Data(Side::Upper, at),
            (Mapping::Data(at), Mapping::Below) => Source::Data(Side::Lower, at),
        });
        Ok(Some(merged.collect()))
    }

    fn l1_indexes(&self) -> std::ops::Range<usize> {
        0..self.upper.l1_entries()
    }

    fn plan(&self) -> Result<Plan, ScratchError> {
        let (mut tables, mut data) = (0, 0);
        for l1_index in self.l1_indexes() {
            if let Some(table) = self.table(l1_index)? {
                tables += 1;
                data += table.iter().filter(|source| matches!(source, Source::Data(..))).count() as u64;
            }
        }
        let l1 = (l1_entries(self.upper.bytes) * 8).div_ceil(CLUSTER_BYTES);
        let others = 2 + l1 + tables + data;
        let mut blocks = 1;
        // The blocks count themselves, so that one more may take another; it grows by one a round.
        while (others + blocks).div_ceil(BLOCK_REFCOUNTS) > blocks {
            blocks += 1;
        }
        let l1_at = REFCOUNT_BLOCKS_AT + blocks * CLUSTER_BYTES;
        let tables_at = l1_at + l1 * CLUSTER_BYTES;
        let data_at = tables_at + tables * CLUSTER_BYTES;
        Ok(Plan { blocks, l1_at, tables_at, data_at, clusters: others + blocks })
    }
}

struct Writer<'a> {
    pair: &'a Pair<'a>,
    file: &'a File,
    path: &'a Path,
    next_table: u64,
    next_data: u64,
}

impl Writer<'_> {
    fn metadata(&self, plan: &Plan) -> Result<(), ScratchError> {
        self.write_metadata(plan).map_err(failed(self.path))
    }

    fn write_metadata(&self, plan: &Plan) -> io::Result<()> {
        self.file.set_len(plan.clusters * CLUSTER_BYTES)?;
        self.file.write_all_at(&header(self.pair.upper.bytes, plan.l1_at, REFCOUNT_TABLE_AT), 0)?;
        let blocks = (0..plan.blocks).map(|number| REFCOUNT_BLOCKS_AT + number * CLUSTER_BYTES);
        let table: Vec<u8> = blocks.flat_map(u64::to_be_bytes).collect();
        self.file.write_all_at(&table, REFCOUNT_TABLE_AT)?;
        // The blocks stand side by side, so that the refcounts of all clusters are one sequence.
        let used = usize::try_from(plan.clusters).map_err(io::Error::other)?;
        self.file.write_all_at(&1u16.to_be_bytes().repeat(used), REFCOUNT_BLOCKS_AT)
    }

    fn tables_and_data(&mut self, plan: &Plan) -> Result<(), ScratchError> {
        let pair = self.pair;
        let mut l1 = Vec::new();
        for l1_index in pair.l1_indexes() {
            let Some(table) = pair.table(l1_index)? else {
                l1.push(0);
                continue;
            };
            let entries = self.data(&table)?;
            let bytes: Vec<u8> = entries.into_iter().flat_map(u64::to_be_bytes).collect();
            self.file.write_all_at(&bytes, self.next_table).map_err(failed(self.path))?;
            l1.push(self.next_table | COPIED);
            self.next_table += CLUSTER_BYTES;
        }
        let l1: Vec<u8> = l1.into_iter().flat_map(u64::to_be_bytes).collect();
        self.file.write_all_at(&l1, plan.l1_at).map_err(failed(self.path))
    }

    /// Copies the data of one table, in runs that stand side by side in one of the two; gives the L2 entries.
    fn data(&mut self, table: &[Source]) -> Result<Vec<u64>, ScratchError> {
        let mut entries = Vec::with_capacity(table.len());
        let mut run: Option<Run> = None;
        for source in table {
            entries.push(match *source {
                Source::Below => 0,
                Source::Zero => ZERO,
                Source::Data(side, at) => {
                    let to = self.next_data;
                    self.next_data += CLUSTER_BYTES;
                    run = match run {
                        Some(run) if run.goes_on(side, at) => Some(run.longer()),
                        other => {
                            self.copy(other)?;
                            Some(Run { side, at, to, bytes: CLUSTER_BYTES })
                        }
                    };
                    to | COPIED
                }
            });
        }
        self.copy(run)?;
        Ok(entries)
    }

    fn copy(&self, run: Option<Run>) -> Result<(), ScratchError> {
        let Some(Run { side, at, to, bytes }) = run else { return Ok(()) };
        let from = match side {
            Side::Lower => &self.pair.lower.file,
            Side::Upper => &self.pair.upper.file,
        };
        copy_data(from, at, self.file, to, bytes).map_err(failed(self.path))
    }
}

/// Clusters that stand side by side both where they are and where they go.
struct Run {
    side: Side,
    at: u64,
    to: u64,
    bytes: u64,
}

impl Run {
    fn goes_on(&self, side: Side, at: u64) -> bool {
        self.side == side && self.at + self.bytes == at
    }

    fn longer(self) -> Self {
        Self { bytes: self.bytes + CLUSTER_BYTES, ..self }
    }
}

#[cfg(test)]
mod tests;
