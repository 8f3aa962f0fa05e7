//! Archives that become trees, and archives that must not. As root the tree's owners and devices are checked
//! too; as another user every entry belongs to that user.

use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::archive::Archive;
use super::tree::Tree;
use super::{UnpackError, Written};

/// An archive under construction.
struct Draft(Builder<Vec<u8>>);

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Draft {
    fn new() -> Draft {
        Draft(Builder::new(Vec::new()))
    }

    fn header(kind: EntryType, mode: u32) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(rustix::process::geteuid().as_raw().into());
        header.set_gid(rustix::process::getegid().as_raw().into());
        header.set_mtime(1_000_000_000);
        header.set_size(0);
        header
    }

    fn file(mut self, path: &str, mode: u32, contents: &[u8]) -> Draft {
        let mut header = Draft::header(EntryType::Regular, mode);
        header.set_size(contents.len() as u64);
        self.append(&mut header, path, contents);
        self
    }

    fn entry(mut self, kind: EntryType, path: &str, mode: u32) -> Draft {
        self.append(&mut Draft::header(kind, mode), path, b"");
        self
    }

    fn link(mut self, kind: EntryType, path: &str, target: &str) -> Draft {
        let mut header = Draft::header(kind, 0o777);
        header.set_link_name_literal(target).unwrap();
        self.append(&mut header, path, b"");
        self
    }

    fn pax(mut self, records: &[(&str, &[u8])]) -> Draft {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    /// Writes the path as it is: the builder would refuse a hostile one.
    fn append(&mut self, header: &mut Header, path: &str, contents: &[u8]) {
        let name = &mut header.as_old_mut().name;
        assert!(path.len() <= name.len());
        name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        self.0.append(header, contents).unwrap();
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    fn unpack(self) -> (TempDir, Result<Written, UnpackError>) {
        unpack(&self.bytes())
    }
}

fn unpack(archive: &[u8]) -> (TempDir, Result<Written, UnpackError>) {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("root");
    std::fs::create_dir(&target).unwrap();
    let root: OwnedFd = rustix::fs::open(&target, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let written = Tree::new(root).unpack(&mut Archive::new(archive));
    (directory, written)
}

fn at(directory: &TempDir, path: &str) -> PathBuf {
    directory.path().join("root").join(path)
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// Modes with their set-id bits, times of files and of directories, and contents come out as they went in.
#[test]
fn a_tree_is_made() {
    let (directory, written) = Draft::new()
        .entry(EntryType::Directory, "./", 0o755)
        .entry(EntryType::Directory, "usr/", 0o750)
        .file("usr/sudo", 0o4755, &vec![7; 3_000_000])
        .file("usr/later", 0o600, b"x")
        .entry(EntryType::Fifo, "usr/pipe", 0o640)
        .link(EntryType::Symlink, "bin", "usr")
        .link(EntryType::Link, "usr/again", "./usr/sudo")
        .unpack();
    let written = written.unwrap();
    assert_eq!((written.entries, written.bytes), (7, 3_000_001));
    let sudo = at(&directory, "usr/sudo");
    assert_eq!((mode(&sudo), std::fs::read(&sudo).unwrap()), (0o4755, vec![7; 3_000_000]));
    assert_eq!((mode(&at(&directory, "usr")), mode(&at(&directory, "usr/pipe"))), (0o750, 0o640));
    assert!(std::fs::symlink_metadata(at(&directory, "usr/pipe")).unwrap().file_type().is_fifo());
    for path in ["usr", "usr/sudo", "bin", ""] {
        assert_eq!(std::fs::symlink_metadata(at(&directory, path)).unwrap().mtime(), 1_000_000_000, "{path}");
    }
    let again = std::fs::metadata(at(&directory, "usr/again")).unwrap();
    assert_eq!((again.ino(), again.nlink()), (std::fs::metadata(&sudo).unwrap().ino(), 2));
}

/// A merged `/usr` and absolute symlinks work inside the root, and nothing lands outside it.
#[test]
fn symlinks_stay_inside() {
    let outside = tempfile::tempdir().unwrap();
    let outside_path = outside.path().to_str().unwrap();
    let (directory, written) = Draft::new()
        .entry(EntryType::Directory, "usr/bin", 0o755)
        .link(EntryType::Symlink, "bin", "usr/bin")
        .file("bin/sh", 0o755, b"sh")
        .link(EntryType::Symlink, "up", "../../../../..")
        .file("up/escaped", 0o644, b"no")
        .link(EntryType::Symlink, "absolute", "/usr/bin")
        .file("absolute/ls", 0o755, b"ls")
        .link(EntryType::Symlink, "out", outside_path)
        .unpack();
    written.unwrap();
    assert_eq!(std::fs::read(at(&directory, "usr/bin/sh")).unwrap(), b"sh");
    assert_eq!(std::fs::read(at(&directory, "usr/bin/ls")).unwrap(), b"ls");
    assert_eq!(std::fs::read(at(&directory, "escaped")).unwrap(), b"no");
    let (_, escaping) =
        Draft::new().link(EntryType::Symlink, "out", outside_path).file("out/file", 0o644, b"x").unpack();
    // The target is looked for inside, where it is not.
    assert!(escaping.is_err());
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

/// A step upwards, a link to nothing, an unknown kind: damage, and nothing is followed.
#[test]
fn hostile_entries_are_damage() {
    for draft in [
        Draft::new().file("../escaped", 0o644, b"x"),
        Draft::new().file("a/../../escaped", 0o644, b"x"),
        Draft::new().link(EntryType::Link, "passwd", "../../etc/passwd"),
        Draft::new().link(EntryType::Link, "passwd", "etc/passwd"),
        Draft::new().entry(EntryType::new(b'z'), "z", 0o644),
        Draft::new().file("./", 0o644, b"x"),
    ] {
        let (_, written) = draft.unpack();
        assert!(matches!(written, Err(UnpackError::Damaged(_))), "{written:?}");
    }
}

/// An archive that was cut off anywhere is not taken for a whole one.
#[test]
fn a_cut_archive_is_damage() {
    let whole = Draft::new().file("a", 0o644, &[1; 700]).entry(EntryType::Directory, "d", 0o755).bytes();
    // The second block of the end mark is a formality.
    for length in (0..whole.len() - 1024).step_by(64) {
        let (_, written) = unpack(&whole[..length]);
        assert!(matches!(written, Err(UnpackError::Damaged(_))), "{length}: {written:?}");
    }
    assert_eq!(unpack(&whole).1.unwrap().entries, 2);
}

/// Later entries replace earlier ones, whatever either of them is.
#[test]
fn later_entries_win() {
    let (directory, written) = Draft::new()
        .file("a", 0o644, b"old and long")
        .file("a", 0o600, b"new")
        .link(EntryType::Symlink, "b", "a")
        .file("b", 0o644, b"own")
        .entry(EntryType::Directory, "c", 0o755)
        .link(EntryType::Symlink, "c", "a")
        .link(EntryType::Symlink, "d", "c")
        .entry(EntryType::Directory, "d", 0o700)
        .file("d/x", 0o644, b"x")
        .link(EntryType::Link, "a", "a")
        .unpack();
    written.unwrap();
    assert_eq!(
        (std::fs::read(at(&directory, "a")).unwrap(), mode(&at(&directory, "a"))),
        (b"new".to_vec(), 0o600)
    );
    assert_eq!(std::fs::read(at(&directory, "b")).unwrap(), b"own");
    assert_eq!(std::fs::read_link(at(&directory, "c")).unwrap(), Path::new("a"));
    assert!(at(&directory, "d/x").is_file());
}

/// Extended headers: long names, fractions of seconds, and attributes whose values hold any byte.
#[test]
fn extended_headers_are_obeyed() {
    let long = format!("{}/file", "long".repeat(40));
    let value: &[u8] = b"\x00\n=\xff\n";
    let (directory, written) = Draft::new()
        .pax(&[("path", long.as_bytes()), ("mtime", b"1234567890.5"), ("SCHILY.xattr.user.pyro", value)])
        .file("short", 0o644, b"x")
        .unpack();
    match written {
        // The filesystem of this machine's temporary files may know no user attributes.
        Err(UnpackError::Write { errno: rustix::io::Errno::OPNOTSUPP, .. }) => {}
        written => {
            written.unwrap();
            let file = std::fs::metadata(at(&directory, &long)).unwrap();
            assert_eq!((file.mtime(), file.mtime_nsec()), (1_234_567_890, 500_000_000));
            let mut read = [0; 16];
            let count = rustix::fs::getxattr(at(&directory, &long), "user.pyro", &mut read).unwrap();
            assert_eq!(&read[..count], value);
        }
    }
}

/// A sparse file has its contents in their places and its size.
#[test]
fn sparse_files_are_spread() {
    let mut header = Draft::header(EntryType::GNUSparse, 0o644);
    header.set_size(1024);
    let gnu = header.as_gnu_mut().unwrap();
    for (slot, (offset, bytes)) in gnu.sparse.iter_mut().zip([(1_000_000u64, 512u64), (2_000_000, 512)]) {
        slot.offset.copy_from_slice(format!("{offset:011o}\0").as_bytes());
        slot.numbytes.copy_from_slice(format!("{bytes:011o}\0").as_bytes());
    }
    gnu.realsize.copy_from_slice(format!("{:011o}\0", 5_000_000).as_bytes());
    let mut draft = Draft::new();
    draft.append(&mut header, "sparse", &[[1; 512], [2; 512]].concat());
    let (directory, written) = draft.file("next", 0o644, b"next").unpack();
    assert_eq!(written.unwrap().bytes, 1028);
    let contents = std::fs::read(at(&directory, "sparse")).unwrap();
    assert_eq!(contents.len(), 5_000_000);
    assert_eq!(
        (contents[999_999], contents[1_000_511], contents[2_000_000], contents[2_000_512]),
        (0, 1, 2, 0)
    );
    assert_eq!(std::fs::read(at(&directory, "next")).unwrap(), b"next");
}

/// Owners and devices, where this user may make them.
#[test]
fn owners_and_devices_are_made() {
    if !is_root() {
        return;
    }
    let mut owned = Draft::header(EntryType::Regular, 0o2755);
    owned.set_uid(70_000);
    owned.set_gid(3_000_000);
    let mut null = Draft::header(EntryType::Char, 0o666);
    null.set_device_major(1).unwrap();
    null.set_device_minor(3).unwrap();
    let mut draft = Draft::new();
    draft.append(&mut owned, "owned", b"");
    draft.append(&mut null, "null", b"");
    let (directory, written) = draft.unpack();
    written.unwrap();
    let owned = std::fs::metadata(at(&directory, "owned")).unwrap();
    assert_eq!((owned.uid(), owned.gid(), owned.permissions().mode() & 0o7777), (70_000, 3_000_000, 0o2755));
    let null = std::fs::metadata(at(&directory, "null")).unwrap();
    assert!(null.file_type().is_char_device());
    assert_eq!((null.rdev(), null.permissions().mode() & 0o777), (rustix::fs::makedev(1, 3), 0o666));
}

mod any_bytes {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// An archive with flipped bytes is refused or unpacked, and never more than that.
        #[test]
        fn damage_is_survived(flips in proptest::collection::vec((0usize..4096, any::<u8>()), 1..8)) {
            let mut bytes = Draft::new()
                .pax(&[("path", b"dir/long"), ("SCHILY.xattr.user.x", b"1")])
                .file("f", 0o644, b"contents")
                .link(EntryType::Link, "hard", "dir/long")
                .bytes();
            for (place, value) in flips {
                let place = place % bytes.len();
                bytes[place] = value;
            }
            let _ = unpack(&bytes);
        }
    }
}
