//! Changes against hosts that have moved on, and hostile ones.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use pyro_proto::tree::{Change, Contents, Item, Mtime, Node, NodeKind, Piece, Record, Side, TreePath};

use super::{ActionKind, ApplyError, ApplyOptions, ConflictKind, HostTree, LeftOutReason, Plan};

fn tree_path(path: &str) -> TreePath {
    TreePath::parse(path).unwrap()
}

/// A node with its contents.
#[derive(Clone, Debug)]
struct Made {
    node: Node,
    contents: Vec<u8>,
}

fn made(kind: NodeKind, mode: u32, contents: &[u8]) -> Option<Made> {
    Some(Made { node: Node { kind, mode, mtime: Mtime::default() }, contents: contents.to_vec() })
}

fn file_of(contents: &str, mode: u32) -> Option<Made> {
    made(NodeKind::File { bytes: contents.len() as u64 }, mode, contents.as_bytes())
}

fn file(contents: &str) -> Option<Made> {
    file_of(contents, 0o644)
}

fn link(target: &str) -> Option<Made> {
    made(NodeKind::Symlink { target: target.into() }, 0o777, b"")
}

fn directory() -> Option<Made> {
    made(NodeKind::Directory, 0o755, b"")
}

fn change(path: &str, before: Option<Made>, after: Option<Made>) -> Vec<Record> {
    let is_file = |side: &Option<Made>| {
        side.as_ref().is_some_and(|made| matches!(made.node.kind, NodeKind::File { .. }))
    };
    let is_same = match (&before, &after) {
        (Some(one), Some(other)) => is_file(&before) && is_file(&after) && one.contents == other.contents,
        _ => false,
    };
    let contents =
        if is_same || !(is_file(&before) || is_file(&after)) { Contents::Same } else { Contents::Follow };
    let node = |side: &Option<Made>| side.as_ref().map(|made| made.node.clone());
    let item = Change { path: tree_path(path), before: node(&before), after: node(&after), contents };
    let mut records = vec![Record { item: Item::Change(item), bytes: Vec::new() }];
    for (side, made) in [(Side::Before, before), (Side::After, after)] {
        let bytes = made.map(|made| made.contents).unwrap_or_default();
        if contents == Contents::Follow && !bytes.is_empty() {
            let piece = Piece { side, offset: 0, bytes: bytes.len() as u32 };
            records.push(Record { item: Item::Piece(piece), bytes });
        }
    }
    records
}

fn options(paths: &[&str]) -> ApplyOptions {
    ApplyOptions {
        paths: paths.iter().map(|path| tree_path(path)).collect(),
        file_bytes_max: 1 << 20,
        bytes_max: 1 << 24,
        changes_max: 1000,
        prefix: TreePath::root(),
        spool_directory: std::env::temp_dir(),
    }
}

fn plan_of(root: &Path, paths: &[&str], changes: &[Vec<Record>]) -> Result<Plan, ApplyError> {
    let mut planner = HostTree::open(root)?.planner(options(paths))?;
    for record in changes.iter().flatten() {
        planner.take(record)?;
    }
    planner.take(&Record { item: Item::End, bytes: Vec::new() })?;
    planner.finish()
}

fn plan(root: &Path, changes: &[Vec<Record>]) -> Plan {
    plan_of(root, &[], changes).unwrap()
}

/// Everything below a directory: kind, mode and contents by path.
fn snapshot(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(at) = pending.pop() {
        let metadata = fs::symlink_metadata(&at).unwrap();
        let contents = if metadata.is_symlink() {
            fs::read_link(&at).unwrap().into_os_string().into_encoded_bytes()
        } else if metadata.is_dir() {
            pending.extend(fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else {
            fs::read(&at).unwrap()
        };
        found.insert(at.strip_prefix(root).unwrap().into(), (metadata.permissions().mode(), contents));
    }
    found
}

fn host() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    root
}

/// Puts a file, link (`-> target`), directory (`/`) or nothing (`-`) on the host.
fn place(root: &Path, path: &str, what: &str) {
    let at = root.join(path);
    match what.strip_prefix("-> ") {
        Some(target) => symlink(target, at).unwrap(),
        None if what == "/" => fs::create_dir(at).unwrap(),
        None if what == "-" => {}
        None => {
            fs::write(&at, what).unwrap();
            fs::set_permissions(&at, fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
}

/// What becomes of one path, in a word.
fn outcome(plan: &Plan) -> String {
    if let Some(conflict) = plan.conflicts.first() {
        return format!("conflict {:?}", conflict.kind);
    }
    if let Some(left) = plan.left_out.first() {
        return format!("left {:?}", left.reason);
    }
    match plan.actions.first() {
        Some(action) => format!("{:?}", action.kind),
        None => format!("already {}", plan.already),
    }
}

/// For every pair of a change and a host, the outcome is the right one, and a dry run changes nothing.
#[test]
fn changes_meet_hosts() {
    let text = "1\n2\n3\n4\n5\n";
    let theirs = "1\n2\n3\n4\nguest\n";
    let ours = "host\n2\n3\n4\n5\n";
    let special = || made(NodeKind::Special, 0o644, b"");
    type Case = (Option<Made>, Option<Made>, &'static str, &'static str);
    let cases: Vec<Case> = vec![
        (None, file("new"), "-", "Add"),
        (None, file("new"), "new", "already 1"),
        (None, file("new"), "other", "conflict Exists"),
        (None, file("new"), "/", "conflict Exists"),
        (None, file("new"), "-> new", "conflict Exists"),
        (None, file_of("new", 0o755), "new", "Mode"),
        (None, link("t"), "-", "Add"),
        (None, link("t"), "-> t", "already 1"),
        (None, link("t"), "-> u", "conflict Exists"),
        (None, directory(), "-", "Add"),
        (None, directory(), "/", "already 1"),
        (None, directory(), "file", "conflict Exists"),
        (None, special(), "-", "left Special"),
        (special(), None, "-", "already 1"),
        (special(), file("new"), "-", "Add"),
        (file(text), None, text, "Delete"),
        (file(text), None, ours, "conflict Content"),
        (file(text), None, "-", "already 1"),
        (file(text), None, "-> x", "conflict Type"),
        (link("t"), None, "-> t", "Delete"),
        (link("t"), None, "-> u", "conflict Content"),
        (directory(), None, "/", "Delete"),
        (directory(), None, "-", "already 1"),
        (directory(), None, "file", "conflict Type"),
        (file(text), file(theirs), text, "Modify"),
        (file(text), file(theirs), theirs, "already 1"),
        (file(text), file(theirs), ours, "Merge"),
        (file(text), file(theirs), "1\n2\n3\n4\nhost\n", "conflict Content"),
        (file(text), file(theirs), "-", "conflict Missing"),
        (file(text), file(theirs), "-> x", "conflict Type"),
        (file(text), file(theirs), "/", "conflict Type"),
        (file("a\0b\n"), file("a\0c\n"), "z\0b\n", "conflict Content"),
        (file(text), file_of(text, 0o755), text, "Mode"),
        (file(text), file_of(text, 0o755), ours, "Mode"),
        (file(text), file_of(text, 0o755), "-", "conflict Missing"),
        (file(text), link("t"), text, "Modify"),
        (file(text), link("t"), ours, "conflict Content"),
        (file(text), link("t"), "-> t", "already 1"),
        (file(text), link("t"), "-> u", "conflict Type"),
        (link("t"), link("u"), "-> t", "Modify"),
        (link("t"), link("u"), "-> v", "conflict Content"),
        (link("t"), file(text), "-> t", "Modify"),
        (file(text), directory(), text, "Modify"),
        (file(text), directory(), "/", "already 1"),
        (directory(), file(text), "/", "Modify"),
        (directory(), file(text), text, "already 1"),
        (directory(), made(NodeKind::Directory, 0o700, b""), "/", "Mode"),
        (directory(), made(NodeKind::Directory, 0o700, b""), "-", "conflict Missing"),
    ];
    for (index, (before, after, on_host, expected)) in cases.into_iter().enumerate() {
        let root = host();
        place(root.path(), "x", on_host);
        let earlier = snapshot(root.path());
        let plan = plan(root.path(), &[change("x", before, after.clone())]);
        assert_eq!(outcome(&plan), expected, "case {index}");
        assert_eq!(snapshot(root.path()), earlier, "case {index}: a dry run changes nothing");
        if !plan.conflicts.is_empty() {
            assert!(matches!(plan.write(true), Err(ApplyError::Conflicts { .. })), "case {index}");
            assert_eq!(snapshot(root.path()), earlier, "case {index}");
            continue;
        }
        plan.write(true).unwrap();
        let later = snapshot(root.path());
        let at_path = later.get(Path::new("x"));
        if expected != "Merge" && expected != "Mode" && !expected.starts_with("left") {
            match &after {
                None => assert_eq!(at_path, None, "case {index}"),
                Some(made) => {
                    let wanted = match &made.node.kind {
                        NodeKind::Symlink { target } => target.clone(),
                        _ => made.contents.clone(),
                    };
                    assert_eq!(at_path.map(|found| &found.1), Some(&wanted), "case {index}");
                }
            }
        }
        assert_eq!(later.len(), 1 + usize::from(at_path.is_some()), "case {index}: nothing is left over");
    }
}

/// A merge has the changes of both sides, and keeps the host's own mode.
#[test]
fn merges_keep_both() {
    let root = host();
    place(root.path(), "x", "host\n2\n3\n4\n5\n");
    fs::set_permissions(root.path().join("x"), fs::Permissions::from_mode(0o600)).unwrap();
    let changes = [change("x", file("1\n2\n3\n4\n5\n"), file_of("1\n2\n3\n4\nguest\n", 0o755))];
    let plan = plan(root.path(), &changes);
    assert_eq!(plan.actions[0].kind, ActionKind::Merge);
    assert_eq!(plan.write(true).unwrap(), 1);
    assert_eq!(fs::read_to_string(root.path().join("x")).unwrap(), "host\n2\n3\n4\nguest\n");
    let mode = fs::metadata(root.path().join("x")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & 0o711, 0o700 | mode & 0o011);
    assert_eq!(mode & 0o066, 0);
}

/// Whole trees come and go, and become each other.
#[test]
fn trees_come_and_go() {
    let root = host();
    place(root.path(), "old", "/");
    place(root.path(), "old/in", "/");
    place(root.path(), "old/in/f", "gone");
    place(root.path(), "kept", "/");
    place(root.path(), "kept/f", "gone");
    place(root.path(), "kept/mine", "mine");
    place(root.path(), "d", "/");
    place(root.path(), "d/f", "gone");
    place(root.path(), "f", "was a file");
    let changes = [
        change("old", directory(), None),
        change("old/in", directory(), None),
        change("old/in/f", file("gone"), None),
        change("kept", directory(), None),
        change("kept/f", file("gone"), None),
        change("d", directory(), file("now a file")),
        change("d/f", file("gone"), None),
        change("f", file("was a file"), directory()),
        change("f/in", None, directory()),
        change("f/in/g", None, file("deep")),
        change("new", None, directory()),
        change("new/l", None, link("../f")),
    ];
    let plan = plan(root.path(), &changes);
    assert_eq!(plan.conflicts, []);
    assert_eq!(plan.left_out.len(), 1);
    assert_eq!(plan.left_out[0].path, tree_path("kept"));
    assert_eq!(plan.left_out[0].reason, LeftOutReason::NotEmpty);
    assert!(plan.links_outside.is_empty());
    plan.write(false).unwrap();
    let found = snapshot(root.path());
    let names: Vec<&str> = found.keys().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(names, ["", "d", "f", "f/in", "f/in/g", "kept", "kept/mine", "new", "new/l"]);
    assert_eq!(found[Path::new("d")].1, b"now a file");
    assert_eq!(found[Path::new("f/in/g")].1, b"deep");
}

/// What the host runs is named and refused unless allowed; `.git` is never touched at all.
#[test]
fn what_the_host_runs_is_asked_for() {
    let root = host();
    place(root.path(), "tool", "old");
    fs::set_permissions(root.path().join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    place(root.path(), "plain", "x");
    place(root.path(), ".git", "/");
    let changes = || {
        [
            change("Makefile", None, file("all:\n")),
            change("plain", file("x"), file_of("x", 0o755)),
            change("tool", file_of("old", 0o755), file_of("new", 0o755)),
            change("suid", None, file_of("x", 0o4644)),
            change("out", None, link("../../etc")),
            change(".git/hooks/post-checkout", None, file_of("evil", 0o755)),
            change("sub/.GIT/config", None, file("evil")),
            change("README", None, file("fine")),
        ]
    };
    let earlier = snapshot(root.path());
    let refused = plan(root.path(), &changes());
    let named: Vec<(String, &str)> = refused
        .executables
        .iter()
        .map(|found| (String::from_utf8(found.path.as_bytes().to_vec()).unwrap(), found.reason.word()))
        .collect();
    let expected =
        [("Makefile", "build"), ("plain", "executable"), ("tool", "executable"), ("suid", "setuid")];
    assert_eq!(named, expected.map(|(path, word)| (path.to_owned(), word)));
    assert_eq!(refused.links_outside, [tree_path("out")]);
    assert_eq!(refused.git_left_out, 2);
    assert!(matches!(refused.write(false), Err(ApplyError::Executables { count: 4, .. })));
    assert_eq!(snapshot(root.path()), earlier);
    plan(root.path(), &changes()).write(true).unwrap();
    let later = snapshot(root.path());
    assert_eq!(later[Path::new("suid")].0 & 0o7000, 0, "setuid is taken off");
    assert!(later.keys().all(|path| !path.starts_with(".git/hooks") && !path.starts_with("sub")));
}

/// Only the asked-for paths are changed, with the directories they need.
#[test]
fn paths_are_selected() {
    let root = host();
    let changes = [
        change("a", None, directory()),
        change("a/b", None, file("wanted")),
        change("a/c", None, file("unwanted")),
        change("ab", None, file("unwanted")),
    ];
    let plan = plan_of(root.path(), &["a/b"], &changes).unwrap();
    assert_eq!(plan.unselected, 2);
    plan.write(false).unwrap();
    assert_eq!(snapshot(root.path()).len(), 3);
    assert_eq!(fs::read(root.path().join("a/b")).unwrap(), b"wanted");
}

/// When one path fails, all others are as they were: contents, modes, and what was deleted.
#[test]
fn failures_take_everything_back() {
    let build = || {
        let root = host();
        place(root.path(), "a", "old");
        place(root.path(), "d", "/");
        place(root.path(), "d/gone", "gone");
        place(root.path(), "link", "-> a");
        place(root.path(), "mode", "m");
        place(root.path(), "f", "file");
        place(root.path(), "z", "last");
        let changes = [
            change("a", file("old"), file("new")),
            change("b", None, directory()),
            change("b/c", None, file("new")),
            change("d", directory(), None),
            change("d/gone", file("gone"), None),
            change("f", file("file"), directory()),
            change("f/x", None, file("x")),
            change("link", link("a"), file("now a file")),
            change("mode", file("m"), file_of("m", 0o755)),
            change("z", file("last"), file("changed")),
        ];
        let plan = plan(root.path(), &changes);
        assert_eq!(plan.conflicts, []);
        (root, plan)
    };
    // The host changes between plan and write, at the path that is written last; or at one that goes first.
    let meddlers: [fn(&Path); 4] = [
        |root| fs::write(root.join("z"), "meanwhile, longer").unwrap(),
        |root| fs::remove_file(root.join("z")).unwrap(),
        |root| fs::write(root.join("d/mine"), "mine").unwrap(),
        |root| fs::create_dir(root.join("b")).unwrap(),
    ];
    for (index, meddle) in meddlers.iter().enumerate() {
        let (root, plan) = build();
        meddle(root.path());
        let earlier = snapshot(root.path());
        let result = plan.write(true);
        assert!(matches!(result, Err(ApplyError::HostChanged(_))), "meddler {index}: {result:?}");
        assert_eq!(snapshot(root.path()), earlier, "meddler {index}");
    }
    let (root, plan) = build();
    assert_eq!(plan.write(true).unwrap(), 10);
    assert_eq!(fs::read(root.path().join("f/x")).unwrap(), b"x");
    assert!(!root.path().join("d").exists());
}

/// Links planted on the host or by the guest lead nowhere: what is outside stays as it is.
#[test]
fn planted_links_lead_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    place(outside.path(), "canary", "alive");
    place(outside.path(), "sub", "/");
    let canary = snapshot(outside.path());
    let target = outside.path().to_str().unwrap();
    let root = host();
    place(root.path(), "on-host", &format!("-> {target}"));
    let changes = [
        change("on-host/canary", file("alive"), None),
        change("on-host/new", None, file("evil")),
        change("on-host/sub", directory(), None),
        change("by-guest", None, link(target)),
        change("by-guest/new", None, file("evil")),
        change("by-guest/canary", file("alive"), file("dead")),
    ];
    let plan = plan(root.path(), &changes);
    let kinds: Vec<(String, ConflictKind)> = plan
        .conflicts
        .iter()
        .map(|found| (String::from_utf8(found.path.as_bytes().to_vec()).unwrap(), found.kind))
        .collect();
    let expected = [
        ("by-guest/canary", ConflictKind::Missing),
        ("by-guest/new", ConflictKind::Missing),
        ("on-host/canary", ConflictKind::Type),
        ("on-host/new", ConflictKind::Type),
        ("on-host/sub", ConflictKind::Type),
    ];
    assert_eq!(kinds, expected.map(|(path, kind)| (path.to_owned(), kind)));
    assert_eq!(plan.links_outside, [tree_path("by-guest")]);
    assert!(plan.write(true).is_err());
    assert_eq!(snapshot(outside.path()), canary);
}

/// A directory that turns into a link and back while changes are applied never lets a write out.
#[test]
fn racing_links_let_nothing_out() {
    let outside = tempfile::tempdir().unwrap();
    place(outside.path(), "canary", "alive");
    place(outside.path(), "old", "old");
    let canary = snapshot(outside.path());
    let root = host();
    place(root.path(), "d", "/");
    place(root.path(), "d/old", "old");
    let (real, aside, planted) =
        (root.path().join("d"), root.path().join("aside"), root.path().join("planted"));
    symlink(outside.path(), &planted).unwrap();
    let is_done = AtomicBool::new(false);
    let mut written = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                fs::rename(&real, &aside).unwrap();
                fs::rename(&planted, &real).unwrap();
                fs::rename(&real, &planted).unwrap();
                fs::rename(&aside, &real).unwrap();
            }
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut round = 0;
        // Until a write has come through as well: else the race would not have been run.
        while (round < 400 || written == 0) && Instant::now() < deadline {
            round += 1;
            let changes = [
                change(&format!("d/new{round}"), None, file("evil")),
                change("d/old", file("old"), file("old!")),
            ];
            if let Ok(plan) = plan_of(root.path(), &[], &changes)
                && plan.write(true).is_ok()
            {
                written += 1;
            }
        }
        is_done.store(true, Ordering::Relaxed);
    });
    assert_eq!(snapshot(outside.path()), canary);
    assert!(written > 0, "no write came through");
}

/// A guest's stream that breaks the contract is refused.
#[test]
fn malformed_changes_are_refused() {
    let root = host();
    let node =
        |kind| Some(Made { node: Node { kind, mode: 0o644, mtime: Mtime::default() }, contents: vec![] });
    let mut unasked = change("x", None, file("x"));
    unasked.truncate(1);
    if let Item::Change(change) = &mut unasked[0].item {
        change.contents = Contents::Unasked;
    }
    let cases = [
        vec![change("x", None, file("x")), change("x", None, file("y"))],
        vec![change("x", None, node(NodeKind::HardLink { target: tree_path("y") }))],
        vec![change("x", None, link(""))],
        vec![unasked],
    ];
    for (index, changes) in cases.iter().enumerate() {
        assert!(matches!(plan_of(root.path(), &[], changes), Err(ApplyError::Changes(_))), "case {index}");
    }
    let planner = HostTree::open(root.path()).unwrap().planner(options(&[])).unwrap();
    assert!(planner.finish().is_err(), "a stream that was cut is not whole");
}

const PATHS: [&str; 9] = ["a", "a/b", "a/b/c", "a/d", "l", "l/canary", "l/sub", "l/sub/x", "z"];

fn any_side(target: String) -> impl Strategy<Value = Option<Made>> {
    prop_oneof![
        2 => Just(None),
        3 => prop::sample::select(vec!["", "alive", "1\n2\n3\n", "1\n2\nthree\n"]).prop_map(file),
        1 => Just(file_of("run", 0o4755)),
        2 => Just(directory()),
        1 => Just(link(&target)),
        1 => Just(link("a")),
        1 => Just(made(NodeKind::Special, 0o644, b"")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever a guest says of whatever host, nothing outside changes, and on the host all or nothing.
    #[test]
    fn applying_is_all_or_nothing_and_inside(
        host_nodes in prop::collection::vec((0..PATHS.len(), 0..5usize), 0..8),
        sides in prop::collection::vec(
            (0..PATHS.len(), any_side("OUTSIDE".into()), any_side("OUTSIDE".into())), 1..8),
    ) {
        let outside = tempfile::tempdir().unwrap();
        place(outside.path(), "canary", "alive");
        place(outside.path(), "sub", "/");
        place(outside.path(), "sub/x", "alive");
        let canary = snapshot(outside.path());
        let target = outside.path().to_str().unwrap().to_owned();
        let root = host();
        for (path, what) in host_nodes {
            let at = root.path().join(PATHS[path]);
            let is_inside = at.parent().unwrap().canonicalize().is_ok_and(|parent| parent.is_dir() && parent.starts_with(root.path()));
            if !is_inside || at.symlink_metadata().is_ok() {
                continue;
            }
            match what {
                0 => symlink(&target, at).unwrap(),
                1 | 2 => fs::create_dir(at).unwrap(),
                3 => fs::write(at, "alive").unwrap(),
                _ => fs::write(at, "one\n2\n3\n").unwrap(),
            }
        }
        let changes: Vec<Vec<Record>> = sides
            .into_iter()
            .filter(|(_, before, after)| before.is_some() || after.is_some())
            .map(|(path, mut before, mut after)| {
                for side in [&mut before, &mut after] {
                    if let Some(Made { node: Node { kind: NodeKind::Symlink { target: old }, .. }, .. }) = side
                        && old == b"OUTSIDE"
                    {
                        *old = target.clone().into_bytes();
                    }
                }
                change(PATHS[path], before, after)
            })
            .collect();
        let earlier = snapshot(root.path());
        let planned = plan_of(root.path(), &[], &changes);
        prop_assert_eq!(&snapshot(root.path()), &earlier, "a dry run changes nothing");
        if let Ok(plan) = planned
            && plan.write(true).is_err()
        {
            prop_assert_eq!(&snapshot(root.path()), &earlier);
        }
        prop_assert_eq!(snapshot(outside.path()), canary);
        let is_left = snapshot(root.path()).keys().any(|path| path.to_str().unwrap().contains(".pyro"));
        prop_assert!(!is_left);
    }
}
