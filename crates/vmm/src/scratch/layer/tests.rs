//! What is taken for a layer, and what is not.

use std::fs;

use super::super::by_hand::{CLUSTER, Cluster, Clusters, DISK_BYTES, TABLE, assert_sound, make};
use super::super::create_overlay;
use super::*;

fn sample() -> Clusters {
    Clusters::from([
        (0, Cluster::Data(1)),
        (1, Cluster::Zero),
        (2, Cluster::ZeroKept),
        (TABLE - 1, Cluster::Data(2)),
        (2 * TABLE + 5, Cluster::Data(3)),
    ])
}

/// Makes a sample, changes bytes of it, and tells why it is refused.
fn refused(changes: &[(u64, &[u8])]) -> Option<&'static str> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("layer");
    make(&path, &sample());
    let file = File::options().write(true).open(&path).unwrap();
    for (at, bytes) in changes {
        file.write_all_at(bytes, *at).unwrap();
    }
    match check_layer(&path, DISK_BYTES) {
        Ok(()) => None,
        Err(ScratchError::Layer { reason, .. }) => Some(reason),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn whole_layers_are_taken() {
    // Promise: what we and QEMU make is taken, empty or not, of every size.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    make(&path, &sample());
    assert_sound(&path);
    check_layer(&path, DISK_BYTES).unwrap();
    for bytes in [256 << 20, 32 << 30, 1 << 40] {
        fs::remove_file(&path).unwrap();
        create_overlay(&path, bytes).unwrap();
        check_layer(&path, bytes).unwrap();
        assert!(check_layer(&path, bytes + CLUSTER).is_err(), "of another disk");
    }
}

#[test]
fn a_layer_cut_short_is_refused_wherever() {
    // Promise: a layer that lost its end is told before a guest reads zeros in its place.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("layer");
    make(&path, &sample());
    let file = File::options().write(true).open(&path).unwrap();
    let whole = file.metadata().unwrap().len();
    for clusters in 1..=whole / CLUSTER {
        // The last cluster of the sample is the first of the disk.
        file.set_len(whole - clusters * CLUSTER + 512).unwrap();
        assert!(matches!(check_layer(&path, DISK_BYTES), Err(ScratchError::Layer { .. })), "{clusters}");
    }
    file.set_len(0).unwrap();
    assert!(check_layer(&path, DISK_BYTES).is_err());
    assert!(matches!(
        check_layer(&directory.path().join("none"), DISK_BYTES),
        Err(ScratchError::Read { .. })
    ));
}

#[test]
fn what_ours_have_not_is_refused() {
    // Promise: a header can neither name another file nor turn on what QEMU would follow.
    assert_eq!(refused(&[]), None);
    let word = |value: u32| value.to_be_bytes();
    let long = |value: u64| value.to_be_bytes();
    let l2_at = 5 * CLUSTER;
    let cases: [(u64, &[u8]); 18] = [
        (0, b"QFJ"),
        (4, &word(2)),
        (8, &long(512)),
        (16, &word(9)),
        (20, &word(12)),
        (24, &long(DISK_BYTES - 512)),
        (32, &word(1)),
        (36, &word(5)),
        (40, &long(3 * CLUSTER + 512)),
        (40, &long(u64::MAX - CLUSTER + 1)),
        (48, &long(1 << 40)),
        (56, &word(u32::MAX)),
        (60, &word(1)),
        (72, &long(4)),
        (80, &long(1)),
        (88, &long(1)),
        (104, &word(0x4441_5441)),
        (3 * CLUSTER + 8, &long(1 << 40)),
    ];
    for case in cases {
        assert!(refused(&[case]).is_some(), "{case:?}");
    }
    for entry in [1 << 62 | l2_at, 2, 1 << 40, 4 * CLUSTER + 512] {
        let at = 3 * CLUSTER;
        let (first, entry) = (long(l2_at | 1 << 63), long(entry));
        assert!(refused(&[(at, &first), (l2_at, &entry)]).is_some(), "{entry:?}");
    }
}

#[test]
fn names_of_features_are_passed_over() {
    // Promise: a header that QEMU has written anew is still one of ours.
    let word = |value: u32| value.to_be_bytes();
    let names: &[u8] = &[word(FEATURE_NAMES), word(48)].concat();
    assert_eq!(refused(&[(104, names)]), None);
    assert_eq!(
        refused(&[(104, names), (160, &word(0x4441_5441))]),
        Some("it has features that ours have not")
    );
    let endless: &[u8] = &[word(FEATURE_NAMES), word(u32::MAX)].concat();
    assert_eq!(refused(&[(104, endless)]), Some("its header has no end"));
}

#[test]
fn no_content_panics() {
    // Promise: whatever a VMM has written, it is refused or taken, and nothing else.
    use proptest::prelude::*;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("layer");
    make(&path, &sample());
    let whole = fs::read(&path).unwrap();
    let places = prop_oneof![0..112usize, (3 * 65536..3 * 65536 + 40usize), (5 * 65536..5 * 65536 + 40usize)];
    proptest!(ProptestConfig::with_cases(64), |(changes in proptest::collection::vec((places, any::<u8>()), 1..6))| {
        let file = File::options().write(true).open(&path).unwrap();
        for (at, byte) in &changes {
            file.write_all_at(&[*byte], *at as u64).unwrap();
        }
        let _ = check_layer(&path, DISK_BYTES);
        for (at, _) in &changes {
            file.write_all_at(&whole[*at..=*at], *at as u64).unwrap();
        }
    });
}
