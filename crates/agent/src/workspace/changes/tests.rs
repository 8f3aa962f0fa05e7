//! The comparison without an overlay: what the upper layer tells is made up.

use std::collections::BTreeMap;
use std::path::Path;

use pyro_proto::agent::Changes;
use pyro_proto::tree::{Change, Contents, NodeKind, TreePath};

use super::super::tests::{changes as told, open, read};
use super::Wanted;
use super::aliases::Aliases;
use super::upper::{Hint, UpperDirectory};
use super::walk::Walk;

/// An upper layer: names, and which of them are directories that merge.
#[derive(Clone, Default)]
struct Fake(BTreeMap<Vec<u8>, Option<Fake>>);

impl UpperDirectory for Fake {
    fn names(&self) -> rustix::io::Result<Vec<Vec<u8>>> {
        Ok(self.0.keys().cloned().collect())
    }

    fn child(&self, name: &[u8]) -> rustix::io::Result<Hint<Fake>> {
        Ok(match self.0.get(name) {
            None => Hint::Nothing,
            Some(None) => Hint::All,
            Some(Some(child)) => Hint::Names(child.clone()),
        })
    }
}

fn fake<const N: usize>(names: [(&str, Option<Fake>); N]) -> Fake {
    Fake(names.into_iter().map(|(name, child)| (name.as_bytes().to_vec(), child)).collect())
}

struct Sides(tempfile::TempDir);

impl Sides {
    fn new(base: &[(&str, &str)], merged: &[(&str, &str)]) -> Sides {
        let sides = Sides(tempfile::tempdir().unwrap());
        for (root, files) in [("base", base), ("merged", merged)] {
            let root = sides.0.path().join(root);
            std::fs::create_dir(&root).unwrap();
            for (name, contents) in files {
                let path: &Path = &root.join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, contents).unwrap();
            }
        }
        sides
    }

    fn told(&self, upper: Hint<Fake>, request: Changes) -> Vec<(Change, Vec<u8>)> {
        let (base, merged) = (open(&self.0.path().join("base")), open(&self.0.path().join("merged")));
        let wanted = Wanted::parse(request).unwrap();
        let walk = |mut outlet| {
            let mut walk = Walk::new(&wanted, Aliases::default(), &mut outlet);
            walk.directory(&TreePath::root(), Some(base), Some(merged), upper)?;
            outlet.finish()
        };
        told(&read(walk).unwrap().1)
    }
}

fn everything() -> Changes {
    Changes { paths: Vec::new(), contents: true, file_bytes_max: u64::MAX }
}

fn paths(told: &[(Change, Vec<u8>)]) -> Vec<String> {
    told.iter().map(|(change, _)| String::from_utf8(change.path.as_bytes().to_vec()).unwrap()).collect()
}

const BASE: [(&str, &str); 5] = [("a", "1"), ("d/x", "1"), ("d/y", "2"), ("e/z", "3"), ("kind", "4")];

/// Only names that the upper layer holds are looked at, and an opaque directory is compared whole.
#[test]
fn only_what_can_differ_is_looked_at() {
    let sides =
        Sides::new(&BASE, &[("a", "one"), ("d/x", "one"), ("d/y", "two"), ("e/z", "three"), ("kind", "4")]);
    let upper = fake([("d", Some(fake([("x", None)]))), ("kind", None)]);
    assert_eq!(paths(&sides.told(Hint::Names(upper.clone()), everything())), ["d/x"]);
    let opaque = fake([("d", None)]);
    assert_eq!(paths(&sides.told(Hint::Names(opaque), everything())), ["d/x", "d/y"]);
    assert_eq!(paths(&sides.told(Hint::All, everything())), ["a", "d/x", "d/y", "e/z"]);
    assert!(sides.told(Hint::Nothing, everything()).is_empty());
}

/// Every side's bytes follow; what went and what came is told with everything below it.
#[test]
fn both_sides_are_told() {
    let sides = Sides::new(&BASE, &[("a", "one"), ("d/x", "1"), ("d/y", "2"), ("kind/new", "5")]);
    let told = sides.told(Hint::All, everything());
    assert_eq!(paths(&told), ["a", "e", "e/z", "kind", "kind/new"]);
    let contents: Vec<&[u8]> = told.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    assert_eq!(contents, [&b"1one"[..], b"", b"3", b"4", b"5"]);
    let kind =
        |at: usize| (told[at].0.before.clone().map(|n| n.kind), told[at].0.after.clone().map(|n| n.kind));
    assert_eq!(kind(1), (Some(NodeKind::Directory), None));
    assert_eq!(kind(3), (Some(NodeKind::File { bytes: 1 }), Some(NodeKind::Directory)));
    assert_eq!((told[0].0.contents, told[1].0.contents), (Contents::Follow, Contents::Same));
}

/// What was not asked for is not sent, and what is too large is said to be.
#[test]
fn only_what_was_asked_for_is_sent() {
    let sides = Sides::new(&BASE, &[("a", "one"), ("d/x", "11"), ("d/y", "2"), ("e/z", "3"), ("kind", "4")]);
    let told = sides.told(Hint::All, Changes { contents: false, ..everything() });
    assert!(told.iter().all(|(change, bytes)| change.contents == Contents::Unasked && bytes.is_empty()));
    assert_eq!(told.len(), 2);
    let told = sides.told(Hint::All, Changes { file_bytes_max: 2, ..everything() });
    assert_eq!([told[0].0.contents, told[1].0.contents], [Contents::TooLarge, Contents::Follow]);
    assert_eq!(told[1].1, b"111");
    let told =
        sides.told(Hint::All, Changes { paths: vec![b"d/x".to_vec(), b"nothing".to_vec()], ..everything() });
    assert_eq!(paths(&told), ["d/x"]);
    assert!(Wanted::parse(Changes { paths: vec![b"../x".to_vec()], ..everything() }).is_err());
}
