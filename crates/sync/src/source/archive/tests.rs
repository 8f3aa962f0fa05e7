//! Archives of every kind, good and bad: made by GNU tar, by hand, and cut and bent everywhere.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use pyro_proto::tree::Mtime;
use tempfile::TempDir;

use super::super::model::{Model, ModelContent, send, sent};
use super::super::{ArchiveError, Options, Refusal, Source, SourceError, SourceKind};
use super::blocks::BLOCK_BYTES;

fn temporary() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A header with a right checksum.
fn header(name: &[u8], kind: u8, size: u64, link: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    let old = header.as_old_mut();
    old.name[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    old.linkname[..link.len()].copy_from_slice(link);
    old.linkflag = [kind];
    header.set_mode(if kind == b'5' { 0o755 } else { 0o644 });
    header.set_mtime(1000);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    bytes
}

/// An entry with contents.
fn entry(name: &str, kind: u8, contents: &[u8]) -> Vec<u8> {
    [header(name.as_bytes(), kind, contents.len() as u64, b""), padded(contents.to_vec())].concat()
}

fn link(name: &str, kind: u8, target: &str) -> Vec<u8> {
    header(name.as_bytes(), kind, 0, target.as_bytes())
}

fn file(name: &str) -> Vec<u8> {
    entry(name, b'0', b"contents")
}

/// Attributes of the entry behind them.
fn pax(kind: u8, records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut text = Vec::new();
    for (key, value) in records {
        let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
        let mut length = rest.len() + 1;
        while length.to_string().len() + rest.len() != length {
            length += 1;
        }
        text.extend_from_slice(length.to_string().as_bytes());
        text.extend_from_slice(&rest);
    }
    entry("pax", kind, &text)
}

/// Writes an archive, with its end.
fn archive(directory: &TempDir, parts: &[Vec<u8>]) -> PathBuf {
    raw(directory, &[parts.concat(), vec![0; 2 * BLOCK_BYTES]].concat())
}

fn raw(directory: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join("a.tar");
    fs::write(&path, bytes).unwrap();
    path
}

fn model(parts: &[Vec<u8>]) -> Model {
    let directory = temporary();
    sent(&archive(&directory, parts), Options::default())
}

/// Sends what has something wrong with it: it fails, and the stream has no end.
fn error(parts: &[Vec<u8>]) -> SourceError {
    let directory = temporary();
    let (sent, model) = send(&archive(&directory, parts), Options::default());
    assert!(!model.has_ended);
    sent.unwrap_err()
}

fn refusal(parts: &[Vec<u8>], name: &str) -> Refusal {
    match error(parts) {
        SourceError::Archive(ArchiveError::Entry { name: own, refusal }) => {
            assert_eq!(own.as_bytes(), name.as_bytes());
            refusal
        }
        other => panic!("{other}"),
    }
}

fn gnu_tar(directory: &Path, arguments: &[&str]) {
    let output = Command::new("tar").args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A tree with something of everything.
fn sample(root: &Path) {
    use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
    let long = "n".repeat(200);
    fs::create_dir_all(root.join("d/empty")).unwrap();
    fs::create_dir_all(root.join(format!("d/{long}/{long}"))).unwrap();
    fs::write(root.join("a"), "a").unwrap();
    fs::write(root.join("d/big"), vec![7; 300_000]).unwrap();
    fs::write(root.join(format!("d/{long}/{long}/é\n")), "deep").unwrap();
    fs::hard_link(root.join("a"), root.join("d/linked")).unwrap();
    symlink(format!("/{long}/{long}"), root.join("d/symlink")).unwrap();
    fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o6755)).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    for run in 0..40 {
        sparse.write_all_at(b"data", run * 300_000 + 5).unwrap();
    }
    sparse.set_len(20_000_000).unwrap();
    sparse.set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(12, 345_000_000)).unwrap();
}

/// What GNU tar packs in any of its ways comes out as the directory itself would.
#[test]
fn archives_of_gnu_tar_are_directories() {
    let root = temporary();
    let tree = root.path().join("tree");
    fs::create_dir(&tree).unwrap();
    sample(&tree);
    let whole = sent(&tree, Options::default());
    for (format, is_exact) in [
        (["--format=gnu", "--sort=name"].as_slice(), false),
        (&["--format=gnu", "--sort=name", "--sparse"], false),
        (&["--format=posix", "--sort=name"], true),
        (&["--format=posix", "--sort=name", "--sparse", "--sparse-version=0.0"], true),
        (&["--format=posix", "--sort=name", "--sparse", "--sparse-version=0.1"], true),
        (&["--format=posix", "--sort=name", "--sparse", "--sparse-version=1.0"], true),
    ] {
        let path = root.path().join("a.tar");
        gnu_tar(root.path(), &[&["-cf", "a.tar", "-C", "tree"], format, &["."]].concat());
        let model = sent(&path, Options::default());
        assert_eq!(model.order, whole.order, "{format:?}");
        for (name, node) in &model.nodes {
            let mut expected = whole.nodes[name].clone();
            if !is_exact {
                expected.mtime.nanoseconds = 0;
            }
            assert!(*node == expected, "{format:?} {:?}", String::from_utf8_lossy(name));
        }
        // Blocks of zeros are not sent, whether the archive has them or not.
        assert!(model.piece_bytes < 1_000_000, "{}", model.piece_bytes);
    }
}

fn compressed(bytes: &[u8]) -> [(&'static str, Vec<u8>); 4] {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(bytes).unwrap();
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    zstd.include_checksum(true).unwrap();
    zstd.write_all(bytes).unwrap();
    [
        ("plain", bytes.to_vec()),
        ("gzip", gzip.finish().unwrap()),
        ("xz", xz.finish().unwrap()),
        ("zstd", zstd.finish().unwrap()),
    ]
}

/// Bytes that no compression makes much smaller.
fn noise(count: usize) -> Vec<u8> {
    let mut state: u32 = 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(count)
    .collect()
}

/// A packed archive is told by its contents, whatever it is called, and packed in parts it is still one.
#[test]
fn packings_are_told_by_contents() {
    let whole = [file("a"), entry("b", b'0', &noise(200_000)), vec![0; 10_240]].concat();
    let directory = temporary();
    for (packing, bytes) in compressed(&whole) {
        let path = directory.path().join("download");
        fs::write(&path, &bytes).unwrap();
        assert_eq!(Source::open(&path, Options::default()).unwrap().kind(), SourceKind::Archive);
        assert_eq!(sent(&path, Options::default()).paths(), ["a", "b"], "{packing}");
    }
    let (one, other) = whole.split_at(100_000);
    for ((packing, one), (_, other)) in compressed(one).into_iter().zip(compressed(other)) {
        let path = raw(&directory, &[one, other].concat());
        assert_eq!(sent(&path, Options::default()).paths(), ["a", "b"], "{packing}");
    }
}

/// Wherever an archive is cut, in whatever it is packed, that is an error: it never looks whole.
#[test]
fn cut_archives_are_noticed() {
    let end = 2 * BLOCK_BYTES;
    let whole =
        [file("a"), entry("d/", b'5', b""), entry("d/b", b'0', &noise(20_000)), vec![0; end]].concat();
    for (packing, bytes) in compressed(&whole) {
        // The second block of zeros says nothing that the first has not said.
        let needed = if packing == "plain" { bytes.len() - BLOCK_BYTES } else { bytes.len() };
        let cuts = (0..needed).step_by(BLOCK_BYTES).chain([1, 100, 511, 513, needed - 1]);
        let directory = temporary();
        for length in cuts.filter(|length| *length < needed) {
            let (sent, model) = send(&raw(&directory, &bytes[..length]), Options::default());
            let error = sent.unwrap_err();
            assert!(matches!(error, SourceError::Archive(_)), "{packing} cut to {length}: {error}");
            assert!(error.hint().is_some() && !model.has_ended);
        }
    }
}

/// Damage inside a packing is noticed by its checksum, and what is behind an end is not passed over.
#[test]
fn damaged_archives_are_noticed() {
    let whole = [entry("a", b'0', &noise(50_000)), vec![0; 2 * BLOCK_BYTES]].concat();
    let directory = temporary();
    for (packing, bytes) in compressed(&whole) {
        for at in (0..bytes.len()).step_by(997).filter(|_| packing != "plain") {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            let (sent, model) = send(&raw(&directory, &damaged), Options::default());
            if sent.is_ok() {
                // A bit of no meaning, such as the time in gzip's header.
                assert_eq!(model.contents("a"), noise(50_000), "{packing} at {at}");
            }
        }
        for garbage in [b"garbage behind".as_slice(), &[1; 600]] {
            let (sent, _) = send(&raw(&directory, &[bytes.as_slice(), garbage].concat()), Options::default());
            assert!(matches!(sent, Err(SourceError::Archive(_))), "{packing}");
        }
    }
    for at in 0..BLOCK_BYTES {
        let mut damaged = [file("a"), file("b"), vec![0; 2 * BLOCK_BYTES]].concat();
        damaged[2 * BLOCK_BYTES + at] ^= 0x41;
        assert!(send(&raw(&directory, &damaged), Options::default()).0.is_err(), "{at}");
    }
}

/// Nothing is named outside of the tree.
#[test]
fn names_stay_inside() {
    for name in ["/etc/passwd", "../a", "a/../../b", "..", "a/..", "./../a"] {
        assert!(matches!(refusal(&[file(name)], name), Refusal::Path(_)), "{name}");
    }
    for name in ["/etc/passwd", "../a", "a/../b"] {
        let parts = [pax(b'x', &[("path", name.as_bytes())]), file("fine")];
        assert!(matches!(refusal(&parts, name), Refusal::Path(_)), "{name}");
        let parts = [entry("././@LongLink", b'L', name.as_bytes()), file("fine")];
        assert!(matches!(refusal(&parts, name), Refusal::Path(_)), "{name}");
    }
    assert!(matches!(refusal(&[pax(b'x', &[("path", b"a\0b")]), file("x")], "a\0b"), Refusal::Path(_)));
    assert_eq!(refusal(&[header(b"", b'0', 0, b"")], ""), Refusal::NoName);
    assert_eq!(refusal(&[file(".")], "."), Refusal::TypeConflict);
}

/// A path longer than any system takes is refused, one as long as that is not.
#[test]
fn long_paths() {
    let name = |length: usize| {
        let mut name = format!("{}/", "n".repeat(99)).repeat(length / 100 + 1);
        name.truncate(length);
        name
    };
    for (length, is_fine) in [(4001, true), (4095, true), (4096, false), (100_000, false)] {
        let name = name(length);
        let parts = [pax(b'x', &[("path", name.as_bytes())]), entry("x", b'0', b"")];
        match is_fine {
            true => assert_eq!(model(&parts).paths().last().map(String::len), Some(length)),
            false => assert!(matches!(refusal(&parts, &name), Refusal::Path(_))),
        }
    }
    let name = "n".repeat(256);
    let parts = [pax(b'x', &[("path", name.as_bytes())]), file("x")];
    assert!(matches!(refusal(&parts, &name), Refusal::Path(_)));
    let deep = "d/".repeat(256) + "d";
    assert!(matches!(refusal(&[entry("l", b'L', deep.as_bytes()), file("x")], &deep), Refusal::Path(_)));
}

/// Hard links name files of the archive that came before, and nothing else.
#[test]
fn hard_links_stay_inside() {
    for target in ["/etc/passwd", "../a", "d/../../a"] {
        assert!(matches!(refusal(&[link("l", b'1', target)], "l"), Refusal::LinkOutside(_)), "{target}");
    }
    for target in ["a", "d", "l", "", "."] {
        let parts = [entry("d/", b'5', b""), link("l", b'1', target), file("a")];
        assert!(matches!(refusal(&parts, "l"), Refusal::LinkMissing(_)), "{target}");
    }
    let model = model(&[file("a"), link("b", b'1', "./a"), link("c", b'1', "b")]);
    let is_a = |path: &str| model.get(path).content == ModelContent::HardLink(b"a".to_vec());
    assert!(is_a("b") && is_a("c"));
}

/// A symlink is data wherever it leads; nothing goes through one.
#[test]
fn symlinks_are_not_gone_through() {
    let model = model(&[link("l", b'2', "/etc"), link("m", b'2', "../../x"), link("n", b'1', "l")]);
    assert_eq!(model.get("l").content, ModelContent::Symlink(b"/etc".to_vec()));
    assert_eq!(model.get("m").content, ModelContent::Symlink(b"../../x".to_vec()));
    assert_eq!(model.get("n").content, ModelContent::Symlink(b"/etc".to_vec()));
    for parts in [
        [link("l", b'2', "/etc"), file("l/passwd")],
        [link("l", b'2', "."), entry("l/passwd", b'5', b"")],
        [link("l", b'2', "d"), link("l/passwd", b'2', "x")],
    ] {
        assert!(matches!(refusal(&parts, "l/passwd"), Refusal::BelowSymlink(_)));
    }
    assert_eq!(refusal(&[link("l", b'2', "/etc"), entry("l/", b'5', b"")], "l/"), Refusal::TypeConflict);
    assert_eq!(refusal(&[link("l", b'2', "")], "l"), Refusal::LinkTarget);
    let long = vec![b'a'; 5000];
    assert_eq!(refusal(&[pax(b'x', &[("linkpath", &long)]), link("l", b'2', "x")], "l"), Refusal::LinkTarget);
}

/// Devices, fifos and what is not known are refused by name.
#[test]
fn special_entries_are_refused() {
    assert_eq!(refusal(&[entry("x", b'3', b"")], "x"), Refusal::Device);
    assert_eq!(refusal(&[entry("x", b'4', b"")], "x"), Refusal::Device);
    assert_eq!(refusal(&[entry("x", b'6', b"")], "x"), Refusal::Fifo);
    assert_eq!(refusal(&[entry("x", b'M', b"")], "x"), Refusal::Volume);
    assert_eq!(refusal(&[entry("x", b'Q', b"")], "x"), Refusal::Type(b'Q'));
}

/// A path is there once; only the same directory again is nothing new.
#[test]
fn duplicates_are_refused() {
    assert_eq!(refusal(&[file("a"), file("./a")], "./a"), Refusal::Twice);
    assert_eq!(refusal(&[file("a"), link("a", b'2', "b")], "a"), Refusal::Twice);
    assert_eq!(refusal(&[file("a"), link("a", b'1', "a")], "a"), Refusal::Twice);
    assert_eq!(refusal(&[file("a"), entry("a/", b'5', b"")], "a/"), Refusal::TypeConflict);
    assert_eq!(refusal(&[entry("a", b'5', b""), file("a")], "a"), Refusal::TypeConflict);
    assert_eq!(refusal(&[file("a/b"), file("a")], "a"), Refusal::TypeConflict);
    assert!(matches!(refusal(&[file("a"), file("a/b")], "a/b"), Refusal::BelowFile(_)));
    assert!(matches!(
        refusal(&[file("a"), link("b", b'1', "a"), file("b/c/d")], "b/c/d"),
        Refusal::BelowFile(_)
    ));
    let same = model(&[entry("d/", b'5', b""), file("d/a"), entry("./d", b'5', b""), file("d/b")]);
    assert_eq!(same.paths(), ["d", "d/a", "d/b"]);
    let mut other = header(b"d", b'5', 0, b"");
    other[100..108].copy_from_slice(b"0000700\0");
    let mut changed = tar::Header::new_ustar();
    changed.as_mut_bytes().copy_from_slice(&other);
    changed.set_cksum();
    let changed = changed.as_bytes().to_vec();
    assert_eq!(refusal(&[entry("d", b'5', b""), changed.clone()], "d"), Refusal::LateDirectory);
    assert_eq!(refusal(&[file("d/a"), changed], "d"), Refusal::LateDirectory);
}

/// Names that differ in case alone are different names.
#[test]
fn case_matters() {
    assert_eq!(
        model(&[file("a"), file("A"), file("d/x"), file("D/x")]).paths(),
        ["A", "D", "D/x", "a", "d", "d/x"]
    );
}

/// Ways of writing a path mean the same path, the root is the archive's own, and missing directories are made.
#[test]
fn paths_are_normal() {
    let mut root = tar::Header::new_ustar();
    root.as_mut_bytes().copy_from_slice(&header(b"./", b'5', 0, b""));
    root.set_mode(0o1700);
    root.set_cksum();
    let model = model(&[root.as_bytes().to_vec(), file("./a"), file("x//y/./z"), entry("old/", b'0', b"")]);
    assert_eq!(model.paths(), ["a", "old", "x", "x/y", "x/y/z"]);
    assert_eq!(model.get("").mode, 0o1700);
    assert_eq!(model.get("old").content, ModelContent::Directory);
    let missing = model.get("x/y");
    assert_eq!((missing.mode, missing.mtime), (0o755, Mtime { seconds: 1000, nanoseconds: 0 }));
    assert_eq!(model.order.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 1, 3, 5, 3]);
}

/// Setuid bits are modes like any other: what they mean is up to the guest.
#[test]
fn modes_are_kept() {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[0] = b's';
    header.set_mode(0o106755);
    header.set_size(0);
    header.set_mtime(0);
    header.set_cksum();
    assert_eq!(model(&[header.as_bytes().to_vec()]).get("s").mode, 0o6755);
}

/// Attributes count before the header: names of any bytes, lengths, times before 1970.
#[test]
fn attributes_count() {
    let contents = b"more than the header says";
    let mut own = header(b"short", b'0', 0, b"");
    own.extend(padded(contents.to_vec()));
    let size = contents.len().to_string();
    let records: [(&str, &[u8]); 4] = [
        ("path", b"new\nline"),
        ("size", size.as_bytes()),
        ("mtime", b"-1.5"),
        ("SCHILY.xattr.user.x", b"=\n\0"),
    ];
    let model = model(&[pax(b'g', &[("comment", b"c")]), pax(b'x', &records), own, file("z")]);
    assert_eq!(model.paths(), ["new\nline", "z"]);
    assert_eq!(model.contents("new\nline"), contents);
    assert_eq!(model.get("new\nline").mtime, Mtime { seconds: -2, nanoseconds: 500_000_000 });
    assert_eq!(refusal(&[pax(b'x', &[("mtime", b"soon")]), file("a")], "a"), Refusal::Attributes);
    assert_eq!(refusal(&[pax(b'x', &[("size", b"-1")]), file("a")], "a"), Refusal::Attributes);
    assert_eq!(refusal(&[pax(b'g', &[("path", b"b")]), file("a")], "pax"), Refusal::Attributes);
    assert_eq!(refusal(&[entry("pax", b'x', b"99 a=b\n"), file("a")], "pax"), Refusal::Attributes);
    assert!(matches!(error(&[pax(b'x', &[("path", b"b")])]), SourceError::Archive(ArchiveError::Damaged(_))));
    let twice = [entry("l", b'L', b"b"), entry("l", b'L', b"c"), file("a")];
    assert!(matches!(error(&twice), SourceError::Archive(ArchiveError::Damaged(_))));
}

/// A record that would fill the memory is refused by its length.
#[test]
fn records_are_bounded() {
    for kind in [b'L', b'K', b'x', b'g', b'V'] {
        let parts = [header(b"x", kind, 8 << 30, b"")];
        assert!(matches!(error(&parts), SourceError::Archive(ArchiveError::TooMany { .. })), "{kind}");
    }
}

/// A map of holes that does not fit its file is refused.
#[test]
fn maps_of_holes_fit() {
    let parts = |records: &[(&str, &[u8])], contents: &[u8]| [pax(b'x', records), entry("a", b'0', contents)];
    let fine = model(&parts(&[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"1,3,7,2")], b"abcde"));
    assert_eq!(fine.contents("a"), b"\0abc\0\0\0de");
    let with_map = |map: &[u8]| parts(&[("GNU.sparse.size", b"9"), ("GNU.sparse.map", map)], b"abcde");
    for map in [
        b"7,2,1,3".as_slice(),
        b"1,3,2,2",
        b"1,3,8,2",
        b"1,3",
        b"1,3,7",
        b"1,4,7,2",
        b"a",
        b"1,18446744073709551615",
        b"",
    ] {
        assert_eq!(refusal(&with_map(map), "a"), Refusal::SparseMap, "{map:?}");
    }
    let one: [(&str, &[u8]); 3] =
        [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")];
    let in_front = |map: &str, data: &[u8]| [padded(map.as_bytes().to_vec()), data.to_vec()].concat();
    assert_eq!(model(&parts(&one, &in_front("1\n4\n2\n", b"xy"))).contents("a"), b"\0\0\0\0xy\0\0\0");
    for map in
        ["1\n4\n3\n", "2\n4\n2\n", "x\n", "99999999\n", "123456789012345678901234567890", "1\n9\n2\n", "\n"]
    {
        assert_eq!(refusal(&parts(&one, &in_front(map, b"xy")), "a"), Refusal::SparseMap, "{map:?}");
    }
    let two: [(&str, &[u8]); 3] =
        [("GNU.sparse.major", b"2"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")];
    assert_eq!(refusal(&parts(&two, b"abcde"), "a"), Refusal::SparseMap);
    let mut old = header(b"a", b'S', 2, b"");
    old[257..265].copy_from_slice(b"ustar  \0");
    old[386..398].copy_from_slice(b"00000000004\0");
    old[398..410].copy_from_slice(b"00000000002\0");
    for (size, is_fine) in [(b"00000000011\0", true), (b"00000000005\0", false)] {
        old[483..495].copy_from_slice(size);
        let mut summed = tar::Header::new_gnu();
        summed.as_mut_bytes().copy_from_slice(&old);
        summed.set_cksum();
        let parts = [summed.as_bytes().to_vec(), padded(b"xy".to_vec())];
        match is_fine {
            true => assert_eq!(model(&parts).contents("a"), b"\0\0\0\0xy\0\0\0"),
            false => assert_eq!(refusal(&parts, "a"), Refusal::SparseMap),
        }
    }
}

/// Gigabytes of zeros in a small archive cost neither memory nor room in the guest, and are bounded.
#[test]
fn zeros_are_not_sent() {
    let directory = temporary();
    let path = directory.path().join("zeros.tar.zst");
    let mut encoder = zstd::stream::write::Encoder::new(File::create(&path).unwrap(), 1).unwrap();
    let size: u64 = 1 << 30;
    encoder.write_all(&header(b"zeros", b'0', size, b"")).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..size >> 20 {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.write_all(&[0; 2 * BLOCK_BYTES]).unwrap();
    encoder.finish().unwrap();
    assert!(fs::metadata(&path).unwrap().len() < 1 << 20);
    let model = sent(&path, Options::default());
    assert_eq!(model.piece_bytes, 0);
    assert!(matches!(model.get("zeros").content, ModelContent::File { bytes, .. } if bytes == size));
    let options = Options { archive_bytes_max: size - 1, ..Options::default() };
    let (sent, model) = send(&path, options);
    let error = sent.unwrap_err();
    assert_eq!(error.to_string(), "the archive unpacks to more than 1073741823 bytes");
    assert!(model.order.is_empty());
}

/// What is no archive says so, and which ones are taken.
#[test]
fn other_files_are_refused() {
    let directory = temporary();
    let open = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        Source::open(&path, Options::default()).unwrap_err()
    };
    assert!(matches!(open("a.bz2", b"BZh91AY"), SourceError::UnknownArchive { form: "bzip2", .. }));
    assert!(matches!(open("a.zip", b"PK\x03\x04"), SourceError::UnknownArchive { form: "zip", .. }));
    for (name, bytes) in [("notes", b"text".as_slice()), ("empty", b""), ("long", &[b'x'; 5000])] {
        assert!(matches!(open(name, bytes), SourceError::NotASource { .. }), "{name}");
    }
    for (_, bytes) in compressed(&[b'x'; 5000]) {
        assert!(matches!(open("text.gz", &bytes), SourceError::NotASource { .. }));
    }
    for name in ["a.tar", "a.tgz", "a.tar.xz", "a.TAR.ZST", "a.txz", "a.tar.gz"] {
        for bytes in [b"".as_slice(), b"x", &[b'x'; 5000]] {
            assert!(matches!(open(name, bytes), SourceError::Archive(_)), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// No bytes make the reader panic, break the order of the stream, or name anything outside.
    #[test]
    fn any_bytes_are_survived(
        kinds in proptest::collection::vec((prop::sample::select(b"0125SxLKgV7\0".to_vec()), "[ab./]{1,4}", "[ab./0-9=\n]{0,30}"), 1..8),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        is_summed in any::<bool>(),
    ) {
        let mut bytes = Vec::new();
        for (kind, name, contents) in kinds {
            let contents = if b"125".contains(&kind) { String::new() } else { contents };
            let mut part = header(name.as_bytes(), kind, contents.len() as u64, b"a");
            for (at, value) in &flips {
                *at.get_mut(&mut part) = *value;
            }
            if is_summed {
                let mut summed = tar::Header::new_ustar();
                summed.as_mut_bytes().copy_from_slice(&part);
                summed.set_cksum();
                part = summed.as_bytes().to_vec();
            }
            bytes.extend(part);
            bytes.extend(padded(contents.into_bytes()));
        }
        bytes.extend([0; 2 * BLOCK_BYTES]);
        let directory = temporary();
        let _ = send(&raw(&directory, &bytes), Options::default());
    }
}
