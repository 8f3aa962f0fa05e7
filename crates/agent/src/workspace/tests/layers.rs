//! Real layers: an overlay of the kernel's on an ext4 of its own, in a mount namespace of this test's own.
//!
//! Where a machine does not let that be mounted, these tests say so and check nothing.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use pyro_proto::agent::{Changes, Export};
use pyro_proto::tree::{Contents, NodeKind};

use super::super::attach::{JOINT, join, show};
use super::super::changes::{Views, Wanted, changes as send_changes};
use super::super::disk::Disk;
use super::super::error::WorkspaceError;
use super::super::export::export;
use super::super::push::tests::{die_after, recovered};
use super::super::seed::seed;
use super::super::{Unattached, Undone};
use super::bench::TIME;
use super::{
    Bench, Streamed, changes, directory, entry, file, inlet, open, path, read, remove_item, snapshot, stream,
    symlink,
};
use crate::console::warn;
use crate::tests::namespace::{self, mount_ext4, run};

fn in_namespace(test: &str) -> bool {
    namespace::in_namespace(&format!("workspace::tests::layers::{test}"))
}

fn shell(directory: &Path, script: &str) {
    let output = Command::new("sh").args(["-ec", script]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A workspace on layers.
struct Layers {
    bench: Bench,
    place: PathBuf,
}

impl Layers {
    fn new(baseline: &[Streamed]) -> Layers {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["scratch", "joints", "joints/workspace", "shown"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        let scratch = at("scratch");
        if !mount_ext4(&at("image"), &scratch) {
            warn("no ext4 can be mounted on this machine: a tmpfs stands in");
            assert!(run("mount", &["-t", "tmpfs", "none", scratch.to_str().unwrap()]));
        }
        let disk = Disk::open(open(&scratch)).unwrap();
        seed(&disk, &mut inlet(&stream(baseline))).unwrap();
        let place = at("joints");
        Layers::join(directory, disk, place)
    }

    fn join(directory: tempfile::TempDir, disk: Disk, place: PathBuf) -> Layers {
        let joint = join(&disk, open(&place).as_fd()).unwrap();
        show(&joint, directory.path().join("shown").to_str().unwrap()).unwrap();
        let top = place.join(JOINT);
        Layers { bench: Bench::over(directory, disk, top.join("tree"), top.join("stage")), place }
    }

    /// The end of one VM and the start of the next, as far as mounts go.
    fn restart(self) -> Layers {
        assert!(run("umount", &[self.shown().to_str().unwrap()]));
        assert!(run("umount", &[self.place.join(JOINT).to_str().unwrap()]));
        let Bench { directory, disk, .. } = self.bench;
        drop(disk);
        let disk = Disk::open(open(&directory.path().join("scratch"))).unwrap();
        assert!(disk.is_sealed());
        Layers::join(directory, disk, self.place)
    }

    /// The tree as the guest sees it.
    fn shown(&self) -> PathBuf {
        self.bench.directory.path().join("shown")
    }

    fn base(&self) -> PathBuf {
        self.bench.directory.path().join("scratch/workspace/base/tree")
    }

    fn views(&self) -> Views {
        Views {
            base: self.bench.disk.baseline().unwrap(),
            merged: open(&self.bench.tree("")),
            upper: self.bench.disk.upper().unwrap(),
            has_aliases: self.bench.disk.has_aliases().unwrap(),
        }
    }

    fn changes(&self, paths: &[&str]) -> Vec<(pyro_proto::tree::Change, Vec<u8>)> {
        let paths = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
        let wanted = Wanted::parse(Changes { paths, contents: true, file_bytes_max: 1 << 20 }).unwrap();
        let views = self.views();
        changes(&read(|outlet| send_changes(views, &wanted, outlet)).unwrap().1)
    }

    /// Paths that differ, found by looking at everything.
    fn differing(&self) -> BTreeSet<Vec<u8>> {
        let (before, after) = (snapshot(&self.base()), snapshot(&self.shown()));
        let all = before.keys().chain(after.keys()).filter(|path| !path.as_os_str().is_empty());
        let differ = all.filter(|path| {
            let timeless =
                |side: Option<&(u32, (i64, i64), Vec<u8>)>| side.map(|side| (side.0, side.2.clone()));
            timeless(before.get(*path)) != timeless(after.get(*path))
        });
        differ.map(|path| std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec()).collect()
    }

    fn check_changes(&self, after_what: &str) {
        let told = self.changes(&[]);
        let paths: BTreeSet<Vec<u8>> =
            told.iter().map(|(change, _)| change.path.as_bytes().to_vec()).collect();
        let text = |paths: &BTreeSet<Vec<u8>>| {
            paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(text(&paths), text(&self.differing()), "{after_what}");
        assert_eq!(paths.len(), told.len(), "{after_what}: a path is told twice");
        for (change, bytes) in &told {
            let name = Path::new(std::str::from_utf8(change.path.as_bytes()).unwrap());
            let side = |root: PathBuf, node: &Option<pyro_proto::tree::Node>| match node {
                Some(node) if matches!(node.kind, NodeKind::File { .. }) => {
                    std::fs::read(root.join(name)).unwrap()
                }
                _ => Vec::new(),
            };
            let expected = [side(self.base(), &change.before), side(self.shown(), &change.after)].concat();
            match change.contents {
                Contents::Follow => assert_eq!(bytes, &expected, "{after_what}: {name:?}"),
                _ => assert!(bytes.is_empty(), "{after_what}: {name:?}"),
            }
        }
    }
}

fn baseline() -> Vec<Streamed> {
    let mut all = vec![entry("", NodeKind::Directory, 0o755)];
    for name in ["a", "b", "c", "d", "e", "src", "src/deep", "src/deep/er", "same"] {
        all.push(directory(name));
        all.extend(file(&format!("{name}/one"), &format!("{name} one\n")));
        all.extend(file(&format!("{name}/two"), &format!("{name} two\n")));
    }
    all.extend([file("top", "top\n"), file("empty", ""), file("hard1", "hard\n")].concat());
    all.push(entry("hard2", NodeKind::HardLink { target: path("hard1") }, 0o644));
    all.push(entry("src/deep/er/hard3", NodeKind::HardLink { target: path("hard1") }, 0o644));
    all.extend([symlink("link", "top"), symlink("link2", "a")]);
    all
}

/// Whatever commands do to a workspace, exactly what differs is told, with its contents; after a restart too.
#[test]
fn changes_are_exactly_what_differs() {
    if !in_namespace("changes_are_exactly_what_differs") {
        return;
    }
    let mut layers = Layers::new(&baseline());
    layers.check_changes("nothing");
    assert!(layers.bench.disk.upper().unwrap().is_none() && !layers.bench.disk.has_aliases().unwrap());
    for script in [
        "echo more >> top; : > empty; touch a/one; chmod 755 b/one; cat same/one > x; cp x same/one; rm x",
        "rm c/one; rm -r d; mkdir -p new/er; echo n > new/er/n; ln -s nowhere new/s; mkfifo new/pipe",
        "mv src/deep moved; mv moved/er/one moved/er/uno",
        "mv e e2; mv e2 e",
        "rm -r a; mkdir a; echo 'a one' > a/one",
        "rm -r b; echo file > b",
        "rm top; mkdir top; echo x > top/x; rm link; ln -s b link; ln -sfn b link2",
        "echo harder > hard1; ln same/two linked; chmod 700 same",
        "mv moved src/deep; chmod 711 src",
        "mv src/deep/er/uno src/deep/er/one",
        "rm -r b; mkdir b; printf 'b one\\n' > b/one; printf 'b two\\n' > b/two; chmod 755 b/one",
        "rm -r same; mv src same; mkdir src; echo x > src/one",
    ] {
        shell(&layers.shown(), script);
        layers.check_changes(script);
        layers = layers.restart();
        layers.check_changes(script);
    }
    assert_eq!(std::fs::read(layers.shown().join("hard2")).unwrap(), b"harder\n", "hard links come apart");
    let told = layers.changes(&["same/deep", "d"]);
    assert!(!told.is_empty());
    assert!(told.iter().all(|(change, _)| change.path.is_within(&path("same/deep")) || change.path.is_within(&path("d"))));
    assert!(told.iter().any(|(change, _)| change.path == path("d/one") && change.after.is_none()));
}

/// A large file that differs in one byte or in nothing costs what it holds, not its length.
#[test]
fn large_files_are_compared_by_what_they_hold() {
    if !in_namespace("large_files_are_compared_by_what_they_hold") {
        return;
    }
    let sparse = |at: &str| entry(at, NodeKind::File { bytes: 10 << 30 }, 0o644);
    let baseline = [
        sparse("sparse"),
        Streamed::Bytes(7 << 30, b"x".to_vec()),
        sparse("same"),
        Streamed::Bytes(1, b"y".to_vec()),
    ];
    let layers = Layers::new(&baseline);
    shell(
        &layers.shown(),
        "touch same; chmod 600 same; printf z | dd of=sparse bs=1 seek=7516192768 conv=notrunc status=none",
    );
    let told = layers.changes(&[]);
    assert_eq!(told[0].0.contents, Contents::Same);
    assert_eq!(told[1].0.contents, Contents::TooLarge);
    assert_eq!(told.len(), 2);
}

/// On layers too, a push that dies at any step is undone at the next start, and one that ends is whole.
#[test]
fn a_death_on_layers_is_undone() {
    if !in_namespace("a_death_on_layers_is_undone") {
        return;
    }
    let items = [
        vec![remove_item("src"), remove_item("a"), remove_item("b/two"), directory("b")],
        file("b/one", "new"),
        file("hard1", "new"),
        file("a", "a file now"),
        vec![directory("src"), directory("src/deep")],
        file("src/deep/f", "new"),
        file("c/added", "new"),
        symlink_over_link(),
    ]
    .concat();
    let mut layers = Layers::new(&baseline());
    shell(&layers.shown(), "echo changed > c/one; rm d/two; mv e e2");
    let before = snapshot(&layers.shown());
    let mut done = 0;
    loop {
        let count = die_after(&layers.bench, &items, done);
        layers = layers.restart();
        recovered(&layers.bench);
        assert_eq!(snapshot(&layers.shown()), before, "after {done} of {count} steps");
        layers.check_changes("undone");
        done += 1;
        if done > count {
            break;
        }
    }
    layers.bench.push("", &items).unwrap();
    let read = |name: &str| std::fs::read_to_string(layers.shown().join(name)).unwrap();
    assert_eq!(
        [read("a"), read("b/one"), read("src/deep/f"), read("hard2")],
        ["a file now", "new", "new", "hard\n"]
    );
    assert!(!layers.shown().join("b/two").exists() && !layers.shown().join("src/one").exists());
    assert_eq!(
        std::fs::metadata(layers.shown().join("b")).unwrap().modified().unwrap(),
        std::time::UNIX_EPOCH + std::time::Duration::new(TIME.seconds.unsigned_abs(), TIME.nanoseconds)
    );
    layers.check_changes("pushed");
    let layers = layers.restart();
    layers.check_changes("pushed, and restarted");
    let tree: OwnedFd = open(&layers.shown());
    let wanted = Export { path: Vec::new(), depth_max: u32::MAX, contents: None };
    let exported = read_export(&tree, &wanted);
    assert_eq!(exported, snapshot(&layers.shown()).len() as u64);
}

fn symlink_over_link() -> Vec<Streamed> {
    vec![symlink("link", "elsewhere")]
}

fn read_export(tree: &OwnedFd, wanted: &Export) -> u64 {
    read(|outlet| export(tree.as_fd(), wanted, outlet)).unwrap().0.entries
}

/// A disk that is full fails a push, which then has changed nothing.
#[test]
fn a_full_disk_fails_a_push_whole() {
    if !in_namespace("a_full_disk_fails_a_push_whole") {
        return;
    }
    let mut layers = Layers::new(&baseline());
    let before = snapshot(&layers.shown());
    let large = "x".repeat(300 << 20);
    let items = [file("a/one", "new"), file("large", &large)].concat();
    let pushed = layers.bench.push("", &items);
    let failure = pyro_proto::agent::Failure::from(pushed.unwrap_err());
    assert_eq!(failure.kind, pyro_proto::agent::FailureKind::NoSpace, "{failure}");
    assert_eq!(snapshot(&layers.shown()), before);
    layers.bench.push("", &file("a/one", "new")).unwrap();
}

/// A workspace that nothing was put into is taken apart and given a baseline after all, once or more; one that
/// holds anything, or that somebody is in, stays as it is.
#[test]
fn an_empty_workspace_is_seeded_after_all() {
    if !in_namespace("an_empty_workspace_is_seeded_after_all") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["scratch", "joints", "joints/workspace", "shown"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    if !mount_ext4(&at("image"), &at("scratch")) {
        assert!(run("mount", &["-t", "tmpfs", "none", at("scratch").to_str().unwrap()]));
    }
    let shown = at("shown");
    let target = shown.to_str().unwrap();
    let mut unattached = Unattached::open(open(&at("scratch")), open(&at("joints"))).unwrap();
    for _ in 0..2 {
        unattached.disk.clear_baseline().unwrap();
        unattached.disk.mark_sealed().unwrap();
        let workspace = Arc::new(unattached.attach_at(target, false).unwrap());
        let user = Arc::clone(&workspace);
        let Undone { workspace, .. } = workspace.undo_at(target).unwrap_err();
        drop(user);
        let inside = open(&shown);
        let Undone { workspace, error } = workspace.unwrap().undo_at(target).unwrap_err();
        assert!(matches!(error, WorkspaceError::Refused(_)), "{error}");
        drop(inside);
        unattached = workspace.unwrap().undo_at(target).unwrap();
        assert!(!unattached.disk.is_sealed() && std::fs::read_dir(&shown).unwrap().count() == 0);
    }
    seed(&unattached.disk, &mut inlet(&stream(&baseline()))).unwrap();
    let workspace = Arc::new(unattached.attach_at(target, true).unwrap());
    shell(&shown, "echo more >> a/one; mv src moved; rm hard2");
    assert_eq!(std::fs::read_to_string(shown.join("a/one")).unwrap(), "a one\nmore\n");
    let Undone { workspace, error } = workspace.undo_at(target).unwrap_err();
    assert!(matches!(error, WorkspaceError::Refused(_)), "{error}");
    assert!(shown.join("moved/deep/er/hard3").exists() && workspace.is_some());
    drop(workspace);
    assert!(run("umount", &[target]));
}

/// What was written and removed again is no longer an empty workspace's: the layers hold marks of it.
#[test]
fn a_touched_workspace_is_not_empty() {
    if !in_namespace("a_touched_workspace_is_not_empty") {
        return;
    }
    let layers = Layers::new(&[]);
    assert!(layers.bench.disk.is_empty().unwrap());
    shell(&layers.shown(), "chmod 700 .");
    assert!(!layers.bench.disk.is_empty().unwrap());
}
