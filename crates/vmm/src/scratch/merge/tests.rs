//! Two layers and what becomes of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::super::by_hand::{CLUSTER, Cluster, Clusters, DISK_BYTES, TABLE, assert_sound, make, show};
use super::super::{check_layer, create_overlay};
use super::*;

/// Merges two layers of these clusters and looks at every cluster that either names, and at their neighbors.
fn merge_and_compare(lower: &Clusters, upper: &Clusters) {
    let directory = tempfile::tempdir().unwrap();
    let [low, up, merged] = ["lower", "upper", "merged"].map(|name| directory.path().join(name));
    make(&low, lower);
    make(&up, upper);
    let before = [fs::read(&low).unwrap(), fs::read(&up).unwrap()];
    let bytes = merge_layers(&low, &up, &merged).unwrap();
    check_layer(&merged, DISK_BYTES).unwrap();
    assert_sound(&merged);
    let meta = fs::metadata(&merged).unwrap();
    assert_eq!((bytes, meta.permissions().mode() & 0o777), (meta.blocks() * 512, 0o600));
    let named = lower.keys().chain(upper.keys()).flat_map(|&cluster| [cluster, cluster ^ 1]);
    for cluster in named {
        let wanted = show(&up, cluster).or_else(|| show(&low, cluster));
        assert!(show(&merged, cluster) == wanted, "cluster {cluster}");
    }
    assert!([fs::read(&low).unwrap(), fs::read(&up).unwrap()] == before, "the two are as they were");
}

#[test]
fn the_upper_layer_shows_over_the_lower() {
    // Promise: of two layers made one, the guest sees the same disk, in every combination there is.
    use Cluster::{Data, Zero, ZeroKept};
    let kinds = [None, Some(Data(7)), Some(Zero), Some(ZeroKept)];
    let (mut lower, mut upper) = (Clusters::new(), Clusters::new());
    for (place, (below, above)) in
        kinds.into_iter().flat_map(|below| kinds.map(|above| (below, above))).enumerate()
    {
        let cluster = place as u64 * 3;
        lower.extend(below.map(|kind| (cluster, kind)));
        upper.extend(above.map(|kind| (cluster, if kind == Data(7) { Data(9) } else { kind })));
    }
    lower.insert(TABLE, Data(1));
    upper.insert(3 * TABLE - 1, Data(2));
    merge_and_compare(&lower, &upper);
}

#[test]
fn empty_layers_merge() {
    // Promise: nothing over nothing is nothing.
    merge_and_compare(&Clusters::new(), &Clusters::new());
    merge_and_compare(&Clusters::from([(5, Cluster::Data(1))]), &Clusters::new());
}

#[test]
fn more_clusters_than_one_refcount_block_counts_merge() {
    // Promise: the refcounts of a large layer are right: 2 GiB are 32,768 of 16 bits.
    let directory = tempfile::tempdir().unwrap();
    let [low, up, merged] = ["lower", "upper", "merged"].map(|name| directory.path().join(name));
    create_overlay(&up, 4 << 30).unwrap();
    full_layer(&low, 4 << 30, BLOCK_REFCOUNTS + 10);
    merge_layers(&low, &up, &merged).unwrap();
    assert_sound(&merged);
    check_layer(&merged, 4 << 30).unwrap();
    for cluster in [0, 1, BLOCK_REFCOUNTS + 9] {
        assert_eq!(show(&merged, cluster).unwrap(), [0; CLUSTER as usize]);
    }
    assert_eq!(show(&merged, BLOCK_REFCOUNTS + 10), None);
}

/// A layer with data in the first clusters of the disk, which are holes of the file.
fn full_layer(path: &Path, bytes: u64, clusters: u64) {
    create_overlay(path, bytes).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    let (tables_at, tables) = (4 * CLUSTER, clusters.div_ceil(TABLE));
    let data_at = tables_at + tables * CLUSTER;
    for table in 0..tables {
        let at = tables_at + table * CLUSTER;
        file.write_all_at(&(at | COPIED).to_be_bytes(), 3 * CLUSTER + table * 8).unwrap();
    }
    let entries = (0..clusters).flat_map(|cluster| ((data_at + cluster * CLUSTER) | COPIED).to_be_bytes());
    file.write_all_at(&entries.collect::<Vec<_>>(), tables_at).unwrap();
    file.set_len(data_at + clusters * CLUSTER).unwrap();
}

#[test]
fn what_cannot_be_merged_leaves_nothing() {
    // Promise: a damaged layer is named, and no half of a merged one stays.
    let directory = tempfile::tempdir().unwrap();
    let [good, other, cut, merged] =
        ["good", "other", "cut", "merged"].map(|name| directory.path().join(name));
    create_overlay(&good, DISK_BYTES).unwrap();
    create_overlay(&other, 2 * DISK_BYTES).unwrap();
    make(&cut, &Clusters::from([(9, Cluster::Data(1))]));
    File::options().write(true).open(&cut).unwrap().set_len(5 * CLUSTER).unwrap();
    for (lower, upper, named) in [(&good, &other, &other), (&cut, &good, &cut), (&good, &cut, &cut)] {
        let error = merge_layers(lower, upper, &merged).unwrap_err();
        assert!(matches!(&error, ScratchError::Layer { path, .. } if path == named), "{error}");
        assert!(!merged.exists());
    }
    fs::write(&merged, b"work").unwrap();
    assert!(merge_layers(&good, &good, &merged).is_err(), "an existing file is not written over");
    assert_eq!(fs::read(&merged).unwrap(), b"work");
}

fn clusters() -> impl Strategy<Value = Clusters> {
    let place = prop_oneof![0..24u64, TABLE - 4..TABLE + 4, 4 * TABLE - 8..4 * TABLE];
    let kind = prop_oneof![
        4 => (1..=255u8).prop_map(Cluster::Data),
        1 => Just(Cluster::Zero),
        1 => Just(Cluster::ZeroKept),
    ];
    proptest::collection::btree_map(place, kind, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_two_layers_merge_cluster_by_cluster(lower in clusters(), upper in clusters()) {
        // Promise: whatever the two hold, the one shows the same.
        merge_and_compare(&lower, &upper);
    }
}
