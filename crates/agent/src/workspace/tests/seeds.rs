//! Baselines.

use std::os::unix::fs::MetadataExt;

use pyro_proto::agent::Tally;
use pyro_proto::tree::NodeKind;

use super::super::error::WorkspaceError;
use super::super::seed::seed;
use super::bench::TIME;
use super::{Bench, Streamed, directory, entry, file, inlet, path, stream, symlink};

/// A baseline is what the stream said: modes, times of everything, links and holes.
#[test]
fn a_baseline_is_exact() {
    let bench = Bench::new();
    let mut items = vec![entry("", NodeKind::Directory, 0o750), entry("d", NodeKind::Directory, 0o2575)];
    items.extend([directory("d/e"), entry("d/e/set", NodeKind::File { bytes: 3 }, 0o6751)]);
    items.push(Streamed::Bytes(0, b"abc".to_vec()));
    items.extend([entry("open", NodeKind::File { bytes: 0 }, 0o666), symlink("d/link", "no\nwhere")]);
    items.push(entry("sparse", NodeKind::File { bytes: 10 << 30 }, 0o400));
    items.push(Streamed::Bytes(5 << 30, b"middle".to_vec()));
    items.push(entry("d/hard", NodeKind::HardLink { target: path("d/e/set") }, 0));
    assert_eq!(seed(&bench.disk, &mut inlet(&stream(&items))).unwrap(), Tally { entries: 7, bytes: 9 });
    let root = bench.directory.path().join("workspace/base/tree");
    for (name, mode) in [
        ("", 0o40_750),
        ("d", 0o42_575),
        ("d/e", 0o40_755),
        ("d/e/set", 0o106_751),
        ("open", 0o100_666),
        ("d/link", 0o120_777),
        ("sparse", 0o100_400),
    ] {
        let metadata = std::fs::symlink_metadata(root.join(name)).unwrap();
        assert_eq!(metadata.mode(), mode, "{name}: {:o}", metadata.mode());
        assert_eq!(metadata.mtime(), TIME.seconds, "{name}");
        assert_eq!(metadata.mtime_nsec(), i64::from(TIME.nanoseconds), "{name}");
        assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "{name}");
    }
    let metadata = |name: &str| std::fs::metadata(root.join(name)).unwrap();
    assert_eq!(metadata("d/hard").ino(), metadata("d/e/set").ino());
    assert_eq!(metadata("sparse").len(), 10 << 30);
    assert!(metadata("sparse").blocks() < 1000);
    assert!(bench.disk.is_sealed());
}

/// A seed that fails leaves nothing, and another can follow; a baseline that is whole is never written again.
#[test]
fn a_baseline_is_whole_or_empty() {
    let bench = Bench::new();
    let whole = stream(&[vec![directory("d")], file("d/f", "1")].concat());
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        assert!(seed(&bench.disk, &mut inlet(&whole[..cut])).is_err());
        assert!(!bench.disk.is_sealed());
        assert_eq!(super::snapshot(&bench.directory.path().join("workspace/base/tree")).len(), 1);
    }
    // In a baseline, nothing is made that the stream has not named.
    let parentless = stream(&file("d/f", "1"));
    assert!(matches!(seed(&bench.disk, &mut inlet(&parentless)), Err(WorkspaceError::Damaged(_))));
    seed(&bench.disk, &mut inlet(&whole)).unwrap();
    assert!(matches!(seed(&bench.disk, &mut inlet(&whole)), Err(WorkspaceError::Refused(_))));
    assert!(bench.directory.path().join("workspace/base/tree/d/f").exists());
}
