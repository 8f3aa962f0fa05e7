//! Files and directories that leave a workspace.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink as link};

use pyro_proto::agent::{Export, Tally};
use pyro_proto::tree::{Entry, Item, NodeKind, Record};

use super::super::error::WorkspaceError;
use super::super::export::export;
use super::{Bench, open, read, snapshot};

fn wanted(path: &str) -> Export {
    Export { path: path.as_bytes().to_vec(), depth_max: u32::MAX, contents: Some(u64::MAX) }
}

fn exported(bench: &Bench, wanted: &Export) -> Result<(Tally, Vec<Record>), WorkspaceError> {
    let tree = open(&bench.tree(""));
    read(|outlet| export(tree.as_fd(), wanted, outlet))
}

fn entries(records: &[Record]) -> BTreeMap<String, Entry> {
    let entries = records.iter().filter_map(|record| match &record.item {
        Item::Entry(entry) => Some(entry.clone()),
        _ => None,
    });
    entries.map(|entry| (String::from_utf8_lossy(entry.path.as_bytes()).into_owned(), entry)).collect()
}

fn furnished() -> Bench {
    let bench = Bench::new();
    bench.write("d/a", "contents");
    bench.write("d/sub/b", "");
    std::fs::hard_link(bench.tree("d/a"), bench.tree("d/z")).unwrap();
    std::fs::set_permissions(bench.tree("d/sub"), std::fs::Permissions::from_mode(0o1751)).unwrap();
    link("../../../etc/passwd", bench.tree("d/link")).unwrap();
    bench
}

/// What is exported and pushed again is the same tree, hard links and times included.
#[test]
fn an_export_can_be_pushed() {
    let bench = furnished();
    let file = std::fs::File::create(bench.tree("d/sparse")).unwrap();
    file.set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"middle", 1 << 29).unwrap();
    let (tally, records) = exported(&bench, &wanted("d")).unwrap();
    assert_eq!(tally.entries, 7);
    assert!(tally.bytes < 100_000, "{tally:?}");
    let all = entries(&records);
    let links = ["a", "z"].map(|name| matches!(all[name].node.kind, NodeKind::HardLink { .. }));
    assert!(links[0] != links[1], "one name of the file is a link to the other");
    assert!(all.values().all(|entry| entry.version != 0));
    std::fs::remove_file(bench.tree("d/sparse")).unwrap();
    let mut bytes = Vec::new();
    for record in records {
        match &record.item {
            Item::Entry(entry) if entry.path.as_bytes() == b"sparse" => {}
            Item::Piece(piece) if piece.offset >= 1 << 20 => {}
            Item::Piece(piece) => {
                pyro_proto::tree::write_piece(piece.side, piece.offset, &record.bytes, &mut bytes).unwrap()
            }
            item => pyro_proto::tree::write_item(item, &mut bytes).unwrap(),
        }
    }
    pyro_proto::tree::write_item(&Item::End, &mut bytes).unwrap();
    let mut copy = Bench::new();
    copy.push_bytes("", &bytes).unwrap();
    let (_, _) = (exported(&bench, &wanted("d")).unwrap(), exported(&copy, &wanted("")).unwrap());
    let times_aside = |bench: &Bench, at: &str| {
        snapshot(&bench.tree(at))
            .into_iter()
            .filter(|(path, _)| !path.as_os_str().is_empty())
            .collect::<Vec<_>>()
    };
    assert_eq!(times_aside(&bench, "d"), times_aside(&copy, ""));
}

/// A path is found through symlinks inside the workspace, and never outside; its last name is what is meant.
#[test]
fn an_export_stays_inside() {
    let bench = furnished();
    link("/etc", bench.tree("etc")).unwrap();
    link("d", bench.tree("inside")).unwrap();
    let is_link = entries(&exported(&bench, &wanted("d/link")).unwrap().1);
    assert!(matches!(&is_link[""].node.kind, NodeKind::Symlink { target } if target.ends_with(b"passwd")));
    assert_eq!(entries(&exported(&bench, &wanted("inside/a")).unwrap().1).len(), 1);
    assert!(matches!(
        entries(&exported(&bench, &wanted("inside")).unwrap().1)[""].node.kind,
        NodeKind::Symlink { .. }
    ));
    for outside in ["etc/passwd", "d/link/x", "..", "/etc/passwd", "d/../../x"] {
        let done = exported(&bench, &wanted(outside));
        assert!(matches!(done, Err(WorkspaceError::Outside(_))), "{outside}: {done:?}");
    }
    for missing in ["nothing", "d/a/x", "d/nothing/x"] {
        let done = exported(&bench, &wanted(missing));
        assert!(matches!(done, Err(WorkspaceError::Missing(_))), "{missing}: {done:?}");
    }
}

/// Depth and length are bounded as asked, and a cut file still says its true length.
#[test]
fn an_export_is_bounded() {
    let bench = furnished();
    let names = |depth_max| {
        let wanted = Export { depth_max, ..wanted("") };
        entries(&exported(&bench, &wanted).unwrap().1).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(names(0), [""]);
    assert_eq!(names(1), ["", "d"]);
    assert_eq!(names(2).len(), 6);
    let (tally, records) = exported(&bench, &Export { contents: Some(3), ..wanted("d/a") }).unwrap();
    assert_eq!(entries(&records)[""].node.kind, NodeKind::File { bytes: 8 });
    assert_eq!((tally.bytes, &records.last().unwrap().bytes[..]), (3, &b"con"[..]));
    let (tally, _) = exported(&bench, &Export { contents: None, ..wanted("") }).unwrap();
    assert_eq!(tally.bytes, 0);
}

/// A hostile tree holds nobody up: pipes and sockets are named, never opened.
#[test]
fn special_files_are_named() {
    let bench = Bench::new();
    let status = std::process::Command::new("mkfifo").arg(bench.tree("pipe")).status().unwrap();
    assert!(status.success());
    let _socket = std::os::unix::net::UnixListener::bind(bench.tree("socket")).unwrap();
    let all = entries(&exported(&bench, &wanted("")).unwrap().1);
    assert_eq!(all["pipe"].node.kind, NodeKind::Special);
    assert_eq!(all["socket"].node.kind, NodeKind::Special);
}

/// A directory of many names streams; one nested deeper than a path may be is refused, and can be removed.
#[test]
fn large_and_deep_directories_are_no_danger() {
    let bench = Bench::new();
    for name in 0..20_000 {
        rustix::fs::symlink("x", bench.tree(&format!("n{name}"))).unwrap();
    }
    assert_eq!(exported(&bench, &wanted("")).unwrap().0.entries, 20_001);
    let mut deep = open(&bench.tree(""));
    for _ in 0..3_000 {
        rustix::fs::mkdirat(&deep, "d", rustix::fs::Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        deep = rustix::fs::openat(&deep, "d", flags, rustix::fs::Mode::empty()).unwrap();
    }
    assert!(matches!(exported(&bench, &wanted("d")), Err(WorkspaceError::Invalid(_))));
    super::super::remove::clear(open(&bench.tree("")).as_fd()).unwrap();
    assert_eq!(std::fs::read_dir(bench.tree("")).unwrap().count(), 0);
}
