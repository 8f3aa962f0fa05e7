//! Layers made by hand, cluster after cluster, for the tests: not by the code they test.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use super::create_overlay;

pub(super) const CLUSTER: u64 = 65536;
pub(super) const DISK_BYTES: u64 = 2 << 30;
/// What one L2 table covers, in clusters.
pub(super) const TABLE: u64 = 8192;

/// A cluster of a layer; one that is not named is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cluster {
    /// Filled with one byte.
    Data(u8),
    /// All zeros, by the flag alone.
    Zero,
    /// All zeros by the flag, with a cluster kept for later.
    ZeroKept,
}

pub(super) type Clusters = BTreeMap<u64, Cluster>;

/// Makes a layer of these clusters, placed from the last to the first, as a guest may have written them.
pub(super) fn make(path: &Path, clusters: &Clusters) {
    create_overlay(path, DISK_BYTES).unwrap();
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut end = 4;
    let mut take = || {
        end += 1;
        (end - 1) * CLUSTER
    };
    let mut tables = BTreeMap::new();
    for (cluster, content) in clusters.iter().rev() {
        let table = *tables.entry(cluster / TABLE).or_insert_with(&mut take);
        let entry = match content {
            Cluster::Zero => 1,
            Cluster::ZeroKept => take() | 1 << 63 | 1,
            Cluster::Data(byte) => {
                let at = take();
                file.write_all_at(&[*byte; CLUSTER as usize], at).unwrap();
                at | 1 << 63
            }
        };
        file.write_all_at(&u64::to_be_bytes(entry), table + cluster % TABLE * 8).unwrap();
    }
    for (index, table) in tables {
        file.write_all_at(&(table | 1 << 63).to_be_bytes(), 3 * CLUSTER + index * 8).unwrap();
    }
    file.set_len(end * CLUSTER).unwrap();
    file.write_all_at(&1u16.to_be_bytes().repeat(end as usize), 2 * CLUSTER).unwrap();
}

/// What a layer shows in one cluster, read by the specification alone: `None` is what is below.
pub(super) fn show(path: &Path, cluster: u64) -> Option<Vec<u8>> {
    let file = File::open(path).unwrap();
    let long = |at| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).unwrap();
        u64::from_be_bytes(bytes)
    };
    let table = long(long(40) + cluster / TABLE * 8) & !(1 << 63);
    if table == 0 {
        return None;
    }
    match long(table + cluster % TABLE * 8) & !(1 << 63) {
        0 => None,
        entry if entry & 1 == 1 => Some(vec![0; CLUSTER as usize]),
        entry => {
            let mut data = vec![0; CLUSTER as usize];
            file.read_exact_at(&mut data, entry).unwrap();
            Some(data)
        }
    }
}

/// Asks `qemu-img`, where there is one, whether the file is sound.
pub(super) fn assert_sound(path: &Path) {
    if let Ok(check) = Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(path).output() {
        assert!(check.status.success(), "{check:?}");
    }
}
