//! Pushes that are put in place, and those that are not.

use std::os::unix::fs::{MetadataExt, symlink as link};

use pyro_proto::agent::Tally;
use pyro_proto::tree::{Expect, Item, NodeKind};

use super::super::error::WorkspaceError;
use super::super::node::version;
use super::bench::TIME;
use super::{Bench, Streamed, directory, entry, file, path, remove_item, snapshot, symlink};

fn expect(at: &str, version: Option<u64>) -> Streamed {
    Streamed::Item(Item::Expect(Expect { path: path(at), version }))
}

/// A push merges directories, replaces files and symlinks, and leaves everything else alone.
#[test]
fn a_push_merges() {
    let mut bench = Bench::new();
    bench.write("d/kept", "kept");
    bench.write("d/old", "old");
    bench.write("target", "untouched");
    link("target", bench.tree("link")).unwrap();
    let items = [
        vec![entry("d", NodeKind::Directory, 0o700)],
        file("d/old", "new"),
        file("d/added", "added"),
        file("link", "a file now"),
        vec![directory("whole"), directory("whole/below")],
        file("whole/below/f", "f"),
        file("implied/f", "f"),
    ]
    .concat();
    assert_eq!(bench.push("", &items).unwrap(), Tally { entries: 8, bytes: 20 });
    let read = |name: &str| std::fs::read_to_string(bench.tree(name)).unwrap();
    assert_eq!([read("d/kept"), read("d/old"), read("d/added")], ["kept", "new", "added"]);
    assert_eq!([read("link"), read("target"), read("whole/below/f")], ["a file now", "untouched", "f"]);
    assert!(std::fs::symlink_metadata(bench.tree("link")).unwrap().is_file());
    for (name, mode) in [("d", 0o700), ("whole", 0o755), ("whole/below/f", 0o644)] {
        let metadata = std::fs::metadata(bench.tree(name)).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (mode, TIME.seconds), "{name}");
    }
    assert_eq!(std::fs::metadata(bench.tree("implied")).unwrap().mode() & 0o7777, 0o755);
}

/// The directory of a push is made with what is missing above it, and symlinks to it are followed inside.
#[test]
fn a_push_finds_its_directory() {
    let mut bench = Bench::new();
    bench.write("real/there", "");
    link("real", bench.tree("inside")).unwrap();
    link("/etc", bench.tree("absolute")).unwrap();
    link("../..", bench.tree("above")).unwrap();
    link("circle", bench.tree("circle")).unwrap();
    bench
        .push("inside/x/y", &[vec![entry("", NodeKind::Directory, 0o711)], file("f", "1")].concat())
        .unwrap();
    assert_eq!(std::fs::metadata(bench.tree("real/x/y")).unwrap().mode() & 0o7777, 0o711);
    assert_eq!(std::fs::read(bench.tree("real/x/y/f")).unwrap(), b"1");
    bench.push("./real//x/", &file("g", "2")).unwrap();
    assert_eq!(std::fs::read(bench.tree("real/x/g")).unwrap(), b"2");
    let before = snapshot(&bench.tree(""));
    for outside in ["absolute", "above", "..", "/etc", "real/../../x", "above/x"] {
        let pushed = bench.push(outside, &file("f", "1"));
        assert!(matches!(pushed, Err(WorkspaceError::Outside(_))), "{outside}: {pushed:?}");
    }
    for conflict in ["real/there", "real/there/x"] {
        let pushed = bench.push(conflict, &file("f", "1"));
        assert!(matches!(pushed, Err(WorkspaceError::Conflict(_))), "{conflict}: {pushed:?}");
    }
    assert!(matches!(bench.push("circle", &file("f", "1")), Err(WorkspaceError::System { .. })));
    assert!(matches!(bench.push("a\0b", &file("f", "1")), Err(WorkspaceError::Invalid(_))));
    assert!(matches!(bench.push("x/../..", &file("f", "1")), Err(WorkspaceError::Missing(_))));
    assert_eq!(snapshot(&bench.tree("")), before);
}

/// A directory never gives way to a file, nor a file to a directory, unless the push says that it must go.
#[test]
fn kinds_change_only_when_asked() {
    let mut bench = Bench::new();
    bench.write("d/f", "1");
    bench.write("f", "1");
    link("d", bench.tree("link")).unwrap();
    let before = snapshot(&bench.tree(""));
    for items in [file("d", "x"), vec![directory("f")], file("f/below", "x"), vec![directory("link")]] {
        let items = [file("first", "1"), items].concat();
        assert!(matches!(bench.push("", &items), Err(WorkspaceError::Conflict(_))), "{items:?}");
        assert_eq!(snapshot(&bench.tree("")), before);
    }
    let items = [
        vec![remove_item("d"), remove_item("f"), remove_item("nothing"), remove_item("link/f")],
        file("d", "a file"),
        vec![directory("f")],
        file("f/below", "x"),
    ]
    .concat();
    bench.push("", &items).unwrap();
    assert_eq!(std::fs::read(bench.tree("d")).unwrap(), b"a file");
    assert_eq!(std::fs::read(bench.tree("f/below")).unwrap(), b"x");
    bench.push("", &[remove_item("f"), remove_item("f/below"), remove_item("d")]).unwrap();
    assert_eq!(snapshot(&bench.tree("")).len(), 2);
}

/// A push happens only while everything is as the host has seen it.
#[test]
fn expectations_hold_or_nothing_happens() {
    let mut bench = Bench::new();
    bench.write("seen", "1");
    let seen = version(&rustix::fs::lstat(bench.tree("seen")).unwrap());
    bench
        .push("", &[vec![expect("seen", Some(seen)), expect("new", None)], file("new", "1")].concat())
        .unwrap();
    let before = snapshot(&bench.tree(""));
    for wrong in [expect("seen", Some(seen ^ 1)), expect("seen", None), expect("gone", Some(seen))] {
        let pushed = bench.push("", &[vec![wrong], file("new", "2")].concat());
        assert!(matches!(pushed, Err(WorkspaceError::Changed(_))), "{pushed:?}");
        assert_eq!(snapshot(&bench.tree("")), before);
    }
    std::fs::write(bench.tree("seen"), "longer").unwrap();
    assert!(bench.push("", &[expect("seen", Some(seen))]).is_err());
}

/// Names that shells and terminals stumble over arrive as they are.
#[test]
fn names_are_bytes() {
    let mut bench = Bench::new();
    let odd = pyro_proto::tree::TreePath::parse(b"a\n\xff \"'$(x)\\".to_vec()).unwrap();
    let node = pyro_proto::tree::Node { kind: NodeKind::Directory, mode: 0o755, mtime: TIME };
    let odd_entry = pyro_proto::tree::Entry { path: odd, node, version: 0 };
    let long = "n".repeat(255);
    let items = [
        vec![Streamed::Item(Item::Entry(odd_entry))],
        file(&long, "1"),
        vec![symlink("s", "../../../etc/passwd")],
    ];
    bench.push("", &items.concat()).unwrap();
    assert!(bench.tree(&long).exists());
    assert_eq!(std::fs::read_dir(bench.tree("")).unwrap().count(), 3);
}
