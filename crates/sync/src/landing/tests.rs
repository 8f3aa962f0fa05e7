//! Trees that land, and hostile ones that leave nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use proptest::prelude::*;
use pyro_proto::tree::{Entry, Item, Mtime, Node, NodeKind, Piece, Record, Side, TreePath};

use super::{ArtifactType, Landed, Landing, LandingError, LandingOptions};

const OPTIONS: LandingOptions = LandingOptions { bytes_max: 1 << 20, entries_max: 100 };

fn path(path: &str) -> TreePath {
    TreePath::parse(path).unwrap()
}

fn entry(at: &str, kind: NodeKind, mode: u32) -> Record {
    let node = Node { kind, mode, mtime: Mtime { seconds: 1_000_000_000, nanoseconds: 5 } };
    Record { item: Item::Entry(Entry { path: path(at), node, version: 0 }), bytes: Vec::new() }
}

fn directory(at: &str, mode: u32) -> Record {
    entry(at, NodeKind::Directory, mode)
}

fn file(at: &str, bytes: u64, mode: u32) -> Record {
    entry(at, NodeKind::File { bytes }, mode)
}

fn link(at: &str, target: &str) -> Record {
    entry(at, NodeKind::Symlink { target: target.into() }, 0o777)
}

fn hard_link(at: &str, target: &str) -> Record {
    entry(at, NodeKind::HardLink { target: path(target) }, 0o644)
}

fn piece(offset: u64, bytes: &[u8]) -> Record {
    let piece = Piece { side: Side::After, offset, bytes: bytes.len() as u32 };
    Record { item: Item::Piece(piece), bytes: bytes.to_vec() }
}

fn end() -> Record {
    Record { item: Item::End, bytes: Vec::new() }
}

fn land(output: &Path, records: &[Record]) -> Result<Landed, LandingError> {
    let mut landing = Landing::new(output, OPTIONS)?;
    for record in records {
        landing.take(record)?;
    }
    landing.finish()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A tree lands whole: contents, links, holes, modes and times, and nothing beside it.
#[test]
fn trees_land_whole() {
    let place = tempfile::tempdir().unwrap();
    let output = place.path().join("out");
    let records = [
        directory("", 0o555),
        directory("d", 0o500),
        file("d/f", 10, 0o6755),
        piece(0, b"01234"),
        piece(5, b"56789"),
        hard_link("d/g", "d/f"),
        link("d/l", "/etc/passwd"),
        file("sparse", 1 << 19, 0o640),
        piece((1 << 19) - 1, b"x"),
        entry("d/pipe", NodeKind::Special, 0o644),
        file("empty", 0, 0o600),
        end(),
    ];
    let landed = land(&output, &records).unwrap();
    assert_eq!(landed.artifact_type, ArtifactType::Directory);
    assert_eq!((landed.entries, landed.bytes, landed.specials), (7, 10 + (1 << 19), 1));
    assert_eq!(landed.specials_named, [path("d/pipe")]);
    assert_eq!(names(place.path()), ["out"]);
    assert_eq!(names(&output), ["d", "empty", "sparse"]);
    assert_eq!(fs::read(output.join("d/f")).unwrap(), b"0123456789");
    let metadata = |name: &str| fs::symlink_metadata(output.join(name)).unwrap();
    assert_eq!(metadata("d/f").permissions().mode() & 0o7777, 0o755);
    assert_eq!(metadata("d").permissions().mode() & 0o7777, 0o500);
    assert_eq!(metadata("").permissions().mode() & 0o7777, 0o555);
    assert_eq!(metadata("d/f").ino(), metadata("d/g").ino());
    assert_eq!((metadata("d/f").mtime(), metadata("d").mtime_nsec()), (1_000_000_000, 5));
    assert_eq!(fs::read_link(output.join("d/l")).unwrap(), Path::new("/etc/passwd"));
    assert!(metadata("sparse").blocks() * 512 < 1 << 19, "the hole was filled");
    assert_eq!(fs::read(output.join("sparse")).unwrap().last(), Some(&b'x'));
    for directory in ["", "d"] {
        // Else the test's own directory could not be removed.
        fs::set_permissions(output.join(directory), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// A single file or link lands as itself.
#[test]
fn single_nodes_land() {
    let place = tempfile::tempdir().unwrap();
    let output = place.path().join("file");
    assert_eq!(
        land(&output, &[file("", 2, 0o644), piece(0, b"hi"), end()]).unwrap().artifact_type,
        ArtifactType::File
    );
    assert_eq!(fs::read(&output).unwrap(), b"hi");
    let output = place.path().join("link");
    assert_eq!(land(&output, &[link("", "nowhere"), end()]).unwrap().artifact_type, ArtifactType::Symlink);
    assert_eq!(fs::read_link(&output).unwrap(), Path::new("nowhere"));
    assert_eq!(names(place.path()), ["file", "link"]);
}

/// Nothing is ever written over, not even a link to nowhere, and not even when it comes up meanwhile.
#[test]
fn nothing_is_written_over() {
    let place = tempfile::tempdir().unwrap();
    let output = place.path().join("out");
    symlink("nowhere", &output).unwrap();
    assert!(matches!(land(&output, &[directory("", 0o755), end()]), Err(LandingError::Exists(_))));
    fs::remove_file(&output).unwrap();
    let mut landing = Landing::new(&output, OPTIONS).unwrap();
    landing.take(&directory("", 0o755)).unwrap();
    landing.take(&directory("d", 0)).unwrap();
    landing.take(&end()).unwrap();
    fs::create_dir(&output).unwrap();
    assert!(matches!(landing.finish(), Err(LandingError::Exists(_))));
    assert_eq!(names(place.path()), ["out"]);
    assert!(names(&output).is_empty());
    assert!(matches!(Landing::new(&place.path().join("no/out"), OPTIONS), Err(LandingError::NoParent(_))));
    assert!(matches!(Landing::new(Path::new("/"), OPTIONS), Err(LandingError::NoName(_))));
}

/// A malformed tree is refused wherever it goes wrong, and leaves nothing: neither inside nor outside.
#[test]
fn malformed_trees_leave_nothing() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("canary"), "alive").unwrap();
    let target = outside.path().to_str().unwrap();
    let root = || directory("", 0o755);
    let cases: Vec<Vec<Record>> = vec![
        vec![],
        vec![end()],
        vec![root()],
        vec![directory("d", 0o755), end()],
        vec![root(), root(), end()],
        vec![root(), file("d/f", 1, 0o644), end()],
        vec![root(), file("f", 1, 0o644), file("f", 1, 0o644), end()],
        vec![root(), directory("d", 0o755), directory("d", 0o755), end()],
        vec![root(), piece(0, b"x"), end()],
        vec![root(), file("f", 1, 0o644), piece(0, b"xy"), end()],
        vec![root(), file("f", 9, 0o644), piece(u64::MAX, b"xy"), end()],
        vec![root(), file("f", 9, 0o644), piece(4, b"xy"), piece(5, b"z"), end()],
        vec![root(), link("l", target), file("l/canary", 1, 0o644), piece(0, b"x"), end()],
        vec![root(), link("l", target), directory("l/d", 0o755), end()],
        vec![root(), link("l", target), hard_link("h", "l/canary"), end()],
        vec![root(), link("l", target), hard_link("h", "l"), end()],
        vec![root(), link("l", target), file("l", 1, 0o644), piece(0, b"x"), end()],
        vec![root(), hard_link("h", "nothing"), end()],
        vec![root(), directory("d", 0o755), hard_link("h", "d"), end()],
        vec![root(), link("l", ""), end()],
        vec![root(), link("l", "a\0b"), end()],
        vec![file("", 1, 0o644), file("x", 1, 0o644), end()],
        vec![link("", target), file("canary", 1, 0o644), end()],
        vec![hard_link("", "x"), end()],
        vec![root(), end(), end()],
        vec![root(), Record { item: Item::Remove(path("x")), bytes: Vec::new() }, end()],
    ];
    for (index, records) in cases.iter().enumerate() {
        let place = tempfile::tempdir().unwrap();
        let result = land(&place.path().join("out"), records);
        assert!(matches!(result, Err(LandingError::Malformed(_))), "case {index}: {result:?}");
        assert!(names(place.path()).is_empty(), "case {index}");
    }
    assert_eq!(names(outside.path()), ["canary"]);
    assert_eq!(fs::read(outside.path().join("canary")).unwrap(), b"alive");
}

/// A tree takes no more of the host than it was given.
#[test]
fn limits_are_kept() {
    let place = tempfile::tempdir().unwrap();
    let output = place.path().join("out");
    let large = [directory("", 0o755), file("f", 1 << 20, 0o644), file("g", 1, 0o644), end()];
    assert!(matches!(land(&output, &large), Err(LandingError::TooManyBytes { .. })));
    let mut many = vec![directory("", 0o755)];
    many.extend((0..100).map(|n| directory(&n.to_string(), 0o755)));
    assert!(matches!(land(&output, &many), Err(LandingError::TooManyEntries { .. })));
    assert!(matches!(land(&output, &[entry("", NodeKind::Special, 0), end()]), Err(LandingError::Special)));
    assert!(names(place.path()).is_empty());
}

fn any_record() -> impl Strategy<Value = Record> {
    let paths = ["", "a", "a/b", "a/b/c", "l", "l/canary", "l/sub", "h"];
    let at = || prop::sample::select(paths.to_vec());
    prop_oneof![
        4 => (at(), 0u32..0o10000).prop_map(|(at, mode)| directory(at, mode | 0o700)),
        4 => (at(), 0u64..9).prop_map(|(at, bytes)| file(at, bytes, 0o7777)),
        2 => at().prop_map(|at| link(at, "OUTSIDE")),
        2 => at().prop_map(|at| link(at, "a")),
        2 => (at(), at()).prop_map(|(at, target)| hard_link(at, target)),
        1 => at().prop_map(|at| entry(at, NodeKind::Special, 0)),
        3 => (0u64..9, 1usize..9).prop_map(|(offset, bytes)| piece(offset, &vec![b'x'; bytes])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever a guest sends, nothing outside changes, and a failure leaves nothing.
    #[test]
    fn landing_stays_inside(records in prop::collection::vec(any_record(), 0..10), is_whole in any::<bool>()) {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("canary"), "alive").unwrap();
        fs::create_dir(outside.path().join("sub")).unwrap();
        let before = fs::metadata(outside.path().join("canary")).unwrap();
        let target = outside.path().to_str().unwrap();
        let mut all = vec![directory("", 0o755)];
        all.extend(records);
        for record in &mut all {
            if let Item::Entry(Entry { node: Node { kind: NodeKind::Symlink { target: old }, .. }, .. }) = &mut record.item
                && old == b"OUTSIDE"
            {
                *old = target.into();
            }
        }
        all.extend(is_whole.then(end));
        let place = tempfile::tempdir().unwrap();
        let output = place.path().join("out");
        match land(&output, &all) {
            Ok(_) => prop_assert_eq!(names(place.path()), ["out"]),
            Err(_) => prop_assert!(names(place.path()).is_empty()),
        }
        prop_assert_eq!(names(outside.path()), ["canary", "sub"]);
        let after = fs::metadata(outside.path().join("canary")).unwrap();
        prop_assert_eq!((after.nlink(), after.mode(), after.len()), (before.nlink(), before.mode(), before.len()));
        prop_assert!(names(&outside.path().join("sub")).is_empty());
    }
}
