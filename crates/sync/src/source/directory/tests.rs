//! Directories of all kinds, sent and compared with what is on the disk.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use pyro_proto::tree::Mtime;
use tempfile::TempDir;

use super::super::model::{Model, ModelContent, ModelNode, send, sent};
use super::super::{Options, SinkClosed, Source, SourceError, SourceKind, TroubleKind};
use crate::limits::SOURCE_TROUBLES_NAMED_MAX;

fn temporary() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The tree as the disk has it.
fn on_disk(root: &Path) -> BTreeMap<Vec<u8>, ModelNode> {
    let mut nodes = BTreeMap::new();
    let mut linked: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let content = if metadata.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            ModelContent::Directory
        } else if metadata.is_symlink() {
            ModelContent::Symlink(fs::read_link(&path).unwrap().into_os_string().into_vec())
        } else {
            linked.entry(metadata.ino()).or_default().push(name.clone());
            ModelContent::File { bytes: metadata.len(), contents: fs::read(&path).unwrap() }
        };
        let mtime = Mtime { seconds: metadata.mtime(), nanoseconds: metadata.mtime_nsec() as u32 };
        nodes.insert(name, ModelNode { mode: metadata.mode() & 0o7777, mtime, content });
    }
    for mut names in linked.into_values() {
        // The first in the order of the walk: by names, not by bytes of paths.
        names.sort_by(|left, right| left.split(|byte| *byte == b'/').cmp(right.split(|byte| *byte == b'/')));
        let first = names.remove(0);
        for name in names {
            nodes.get_mut(&name).unwrap().content = ModelContent::HardLink(first.clone());
        }
    }
    nodes
}

#[derive(Clone, Debug)]
enum Made {
    Directory,
    File(Vec<u8>, u64),
    Symlink(Vec<u8>),
    HardLink,
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-c]{1,2}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 1..6).prop_map(|bytes| {
            bytes.into_iter().map(|byte| if matches!(byte, 0 | b'/' | b'.') { b'-' } else { byte }).collect()
        }),
    ]
}

fn made() -> impl Strategy<Value = Made> {
    prop_oneof![
        3 => Just(Made::Directory),
        4 => (proptest::collection::vec(any::<u8>(), 0..200), prop_oneof![Just(0u64), 0..3_000_000u64])
            .prop_map(|(bytes, hole)| Made::File(bytes, hole)),
        1 => names().prop_map(Made::Symlink),
        1 => Just(Made::HardLink),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What is sent of a directory is the directory: names, modes, times, contents, holes and links.
    #[test]
    fn directories_round_trip(
        entries in proptest::collection::vec((names(), any::<prop::sample::Index>(), made(), 0u32..0o10000), 0..40),
    ) {
        let root = temporary();
        let mut directories = vec![root.path().to_owned()];
        let mut files = Vec::new();
        for (name, parent, made, mode) in entries {
            let path = parent.get(&directories).join(OsStr::from_bytes(&name));
            if fs::symlink_metadata(&path).is_ok() {
                continue;
            }
            match made {
                Made::Directory => {
                    fs::create_dir(&path).unwrap();
                    directories.push(path);
                    continue;
                }
                Made::File(bytes, hole) => {
                    let file = File::create(&path).unwrap();
                    file.write_all_at(&bytes, hole).unwrap();
                    file.set_len(2 * hole + bytes.len() as u64).unwrap();
                    files.push(path.clone());
                }
                Made::Symlink(target) => {
                    symlink(OsStr::from_bytes(&target), &path).unwrap();
                    continue;
                }
                Made::HardLink => match files.last() {
                    Some(first) => fs::hard_link(first, &path).unwrap(),
                    None => continue,
                },
            }
            fs::set_permissions(&path, Permissions::from_mode(mode | 0o400)).unwrap();
        }
        let model = sent(root.path(), Options::default());
        prop_assert_eq!(model.nodes, on_disk(root.path()));
        prop_assert_eq!(&model.order[0], b"");
        let names = |path: &Vec<u8>| path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
        prop_assert!(model.order[1..].is_sorted_by_key(names));
    }
}

/// Everything that cannot be taken is found before anything is sent, and named.
#[test]
fn special_files_are_named_before_anything_is_sent() {
    let root = temporary();
    fs::create_dir(root.path().join("d")).unwrap();
    for number in 0..SOURCE_TROUBLES_NAMED_MAX + 3 {
        let path = root.path().join(format!("d/fifo{number:02}"));
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    }
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("a-socket")).unwrap();
    let mut batches = 0;
    let mut source = Source::open(root.path(), Options::default()).unwrap();
    let error = source
        .send(
            &mut |_| {
                batches += 1;
                Ok(())
            },
            &mut |_| {},
        )
        .unwrap_err();
    assert_eq!(batches, 0);
    let text = error.to_string();
    assert!(
        text.contains("a-socket (a socket), d/fifo00 (a fifo)") && text.ends_with(", and 4 more"),
        "{text}"
    );
    assert!(error.hint().is_some());
    assert!(matches!(error, SourceError::Troubles { more: 4, .. }));
}

/// What its reader may not read is found before anything is sent.
#[test]
fn unreadable_entries_are_named_before_anything_is_sent() {
    let root = temporary();
    for (name, mode) in [("closed", 0o000), ("listed", 0o444), ("open", 0o755)] {
        fs::create_dir(root.path().join(name)).unwrap();
        fs::write(root.path().join(name).join("inside"), "x").unwrap();
        fs::set_permissions(root.path().join(name), Permissions::from_mode(mode)).unwrap();
    }
    fs::write(root.path().join("secret"), "x").unwrap();
    fs::set_permissions(root.path().join("secret"), Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
    let path = root.path();
    let error = std::thread::scope(|scope| {
        let scan = scope.spawn(move || {
            // Root may read everything, and so this thread is not root. It ends with this.
            let nobody = rustix::thread::Uid::from_raw(65534);
            if rustix::process::geteuid().is_root() {
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            }
            Source::open(path, Options::default()).unwrap().scan().unwrap_err()
        });
        scan.join().unwrap()
    });
    fs::set_permissions(root.path().join("closed"), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(root.path().join("listed"), Permissions::from_mode(0o755)).unwrap();
    let SourceError::Troubles { troubles, more: 0, .. } = &error else { panic!("{error}") };
    let named: Vec<_> = troubles.iter().map(|trouble| (trouble.name.to_string(), trouble.kind)).collect();
    let unreadable = |name: &str| (name.to_owned(), TroubleKind::Unreadable);
    assert_eq!(named, [unreadable("closed"), unreadable("listed"), unreadable("secret")]);
}

/// A file that is written to while it is read is an error with its name, and the stream has no end.
#[test]
fn changing_files_are_noticed() {
    let changes: [fn(&Path); 4] = [
        |path| File::options().write(true).open(path).unwrap().set_len(100_000).unwrap(),
        |path| File::options().write(true).open(path).unwrap().set_len(2_000_000).unwrap(),
        |path| File::options().write(true).open(path).unwrap().write_all_at(b"new", 900_000).unwrap(),
        |path| fs::write(path, "").unwrap(),
    ];
    for change in changes {
        let root = temporary();
        let path = root.path().join("file");
        fs::write(&path, vec![1; 1_000_000]).unwrap();
        // Clocks of file systems are coarse; this makes any write show.
        File::options().write(true).open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        let mut source = Source::open(root.path(), Options::default()).unwrap();
        let mut batches: Vec<Vec<u8>> = Vec::new();
        let sink = &mut |bytes| {
            if batches.is_empty() {
                change(&path);
            }
            batches.push(bytes);
            Ok(())
        };
        let error = source.send(sink, &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "file changed while it was read");
        assert!(!Model::of(&batches).has_ended);
    }
}

/// What went away, or became something else, between the scan and its turn is an error with its name.
#[test]
fn replaced_entries_are_noticed() {
    let changes: [fn(&Path); 4] = [
        |path| fs::remove_file(path).unwrap(),
        |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        },
        |path| {
            fs::remove_file(path).unwrap();
            symlink("/etc/passwd", path).unwrap();
        },
        |path| {
            fs::remove_file(path).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        },
    ];
    for change in changes {
        let root = temporary();
        fs::write(root.path().join("file"), "x").unwrap();
        let mut source = Source::open(root.path(), Options::default()).unwrap();
        assert_eq!(source.scan().unwrap().unwrap().entries, 1);
        change(&root.path().join("file"));
        let error = source.send(&mut |_| Ok(()), &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "file changed while it was read");
    }
}

/// Nothing outside of the directory is read, whoever swaps directories for symlinks meanwhile.
#[test]
fn nothing_outside_is_read() {
    let outside = temporary();
    fs::create_dir(outside.path().join("deep")).unwrap();
    fs::write(outside.path().join("deep/file"), "CANARY").unwrap();
    fs::write(outside.path().join("file"), "CANARY").unwrap();
    let root = temporary();
    fs::create_dir_all(root.path().join("d/deep")).unwrap();
    fs::write(root.path().join("d/deep/file"), "inside").unwrap();
    fs::write(root.path().join("d/file"), "inside").unwrap();
    symlink(outside.path(), root.path().join("link")).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let [one, other] = [root.path().join("d"), root.path().join("link")];
            while !is_over.load(Ordering::Relaxed) {
                let cwd = rustix::fs::CWD;
                rustix::fs::renameat_with(cwd, &one, cwd, &other, rustix::fs::RenameFlags::EXCHANGE).unwrap();
            }
        });
        let (mut whole, mut cut) = (0, 0);
        for _ in 0..2000 {
            let mut batches: Vec<Vec<u8>> = Vec::new();
            let mut source = Source::open(root.path(), Options::default()).unwrap();
            let sent = source.send(
                &mut |bytes| {
                    batches.push(bytes);
                    Ok(())
                },
                &mut |_| {},
            );
            match sent {
                Ok(_) => whole += 1,
                Err(SourceError::Changed { .. }) => cut += 1,
                Err(error) => panic!("{error}"),
            }
            let bytes = batches.concat();
            assert!(!bytes.windows(6).any(|window| window == b"CANARY"));
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(whole + cut == 2000);
    });
}

/// A symlink may name a directory, one that names nothing is an error, and a file that is no archive too.
#[test]
fn sources_are_told_apart() {
    let root = temporary();
    fs::create_dir(root.path().join("real")).unwrap();
    fs::write(root.path().join("real/file"), "x").unwrap();
    symlink("real", root.path().join("link")).unwrap();
    let source = Source::open(&root.path().join("link"), Options::default()).unwrap();
    assert_eq!(source.kind(), SourceKind::Directory);
    assert_eq!(source.path(), fs::canonicalize(root.path().join("real")).unwrap());
    assert_eq!(sent(&root.path().join("link"), Options::default()).paths(), ["file"]);
    let open = |name: &str| Source::open(&root.path().join(name), Options::default()).unwrap_err();
    assert!(matches!(open("missing"), SourceError::Open { .. }));
    let error = open("real/file");
    assert!(matches!(error, SourceError::NotASource { .. }), "{error}");
    assert!(error.to_string().contains(".tar.zst") && error.hint().is_some());
    let fifo = root.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(matches!(open("fifo"), SourceError::NotASource { .. }));
}

/// A receiver that is gone ends it at once.
#[test]
fn a_closed_sink_ends_it() {
    let root = temporary();
    fs::write(root.path().join("file"), vec![1; 1_000_000]).unwrap();
    let mut source = Source::open(root.path(), Options::default()).unwrap();
    let mut calls = 0;
    let sent = source.send(
        &mut |_| {
            calls += 1;
            Err(SinkClosed)
        },
        &mut |_| {},
    );
    assert!(matches!(sent, Err(SourceError::SinkClosed(SinkClosed))) && calls == 1);
}

/// A path that no Linux would take in the guest is found by the scan.
#[test]
fn deep_paths_are_named() {
    let root = temporary();
    let mut directory = rustix::fs::open(root.path(), rustix::fs::OFlags::PATH, 0.into()).unwrap();
    for _ in 0..300 {
        rustix::fs::mkdirat(&directory, "d", 0o755.into()).unwrap();
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW;
        directory = rustix::fs::openat(&directory, "d", flags, 0.into()).unwrap();
    }
    let (sent, _) = send(root.path(), Options::default());
    let error = sent.unwrap_err();
    assert!(error.to_string().contains("too long a path"), "{error}");
    assert!(matches!(&error, SourceError::Troubles { troubles, more: 0, .. } if troubles.len() == 1));
}

/// A sparse file costs what is in it, not what it is long.
#[test]
fn holes_are_not_read() {
    let root = temporary();
    let file = File::create(root.path().join("sparse")).unwrap();
    file.write_all_at(b"end", 10 << 30).unwrap();
    let model = sent(root.path(), Options::default());
    assert!(model.piece_bytes < 1 << 20, "{}", model.piece_bytes);
}

/// A hundred thousand files are no burden.
#[test]
fn many_files_are_scanned() {
    // In memory where there is such a place: making so many files takes a disk far longer than reading them.
    let root = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| temporary());
    for directory in 0..100 {
        let path = root.path().join(format!("directory-{directory}"));
        fs::create_dir(&path).unwrap();
        for file in 0..1000 {
            File::create(path.join(format!("file-{file}"))).unwrap();
        }
    }
    let mut source = Source::open(root.path(), Options::default()).unwrap();
    let start = std::time::Instant::now();
    let totals = source.scan().unwrap().unwrap();
    let scanned = start.elapsed();
    let tally = source.send(&mut |_| Ok(()), &mut |_| {}).unwrap();
    let sent = start.elapsed() - scanned;
    // Measured, not asserted; shown with --nocapture.
    writeln!(std::io::stderr(), "100,100 entries: scanned in {scanned:?}, sent in {sent:?}").unwrap();
    assert_eq!((totals.entries, tally.entries), (100_100, 100_100));
}
