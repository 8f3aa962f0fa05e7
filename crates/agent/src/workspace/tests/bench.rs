//! A disk, a tree and a stage in a temporary directory, and streams to and from them.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pyro_proto::agent::Tally;
use pyro_proto::tree::Side;
use pyro_proto::tree::{
    Change, Entry, Item, Mtime, Node, NodeKind, Record, TreeDecoder, TreePath, write_item, write_piece,
};
use rustix::fs::{Mode, OFlags};

use super::super::disk::Disk;
use super::super::error::WorkspaceError;
use super::super::inlet::{Fed, Inlet};
use super::super::outlet::Outlet;
use super::super::push::{self, Sides, Unpushed};
use std::os::fd::AsFd;

/// Times that no file gets by itself.
pub(crate) const TIME: Mtime = Mtime { seconds: 1_000_000_007, nanoseconds: 123_456_789 };

/// A workspace without its layers: tree and stage are plain directories of one filesystem.
pub(crate) struct Bench {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) disk: Disk,
    tree: PathBuf,
    stage: PathBuf,
    number: u64,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        for name in ["tree", "stage"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let disk = Disk::open(open(directory.path())).unwrap();
        let (tree, stage) = (directory.path().join("tree"), directory.path().join("stage"));
        Bench::over(directory, disk, tree, stage)
    }

    /// A bench whose tree and stage are somewhere else.
    pub(crate) fn over(directory: tempfile::TempDir, disk: Disk, tree: PathBuf, stage: PathBuf) -> Bench {
        Bench { directory, disk, tree, stage, number: 0 }
    }

    pub(crate) fn tree(&self, path: &str) -> PathBuf {
        self.tree.join(path)
    }

    pub(crate) fn stage(&self, path: &str) -> PathBuf {
        self.stage.join(path)
    }

    /// Does something with both sides.
    pub(crate) fn with_sides<T>(&self, act: impl FnOnce(Sides<'_>) -> T) -> T {
        let (tree, stage) = (open(&self.tree), open(&self.stage));
        act(Sides { tree: tree.as_fd(), stage: stage.as_fd() })
    }

    /// Writes a file of the tree, with its directories.
    pub(crate) fn write(&self, path: &str, contents: &str) {
        let path = self.tree(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    }

    /// Pushes a stream, and sweeps the stage behind it.
    pub(crate) fn push(&mut self, directory: &str, items: &[Streamed]) -> Result<Tally, WorkspaceError> {
        self.push_bytes(directory, &stream(items))
    }

    pub(crate) fn push_bytes(&mut self, directory: &str, bytes: &[u8]) -> Result<Tally, WorkspaceError> {
        self.number += 1;
        let number = self.number;
        let pushed = self.with_sides(|sides| {
            let pushed = push::push(&self.disk, sides, number, directory.as_bytes(), &mut inlet(bytes));
            push::sweep(sides.stage, number).unwrap();
            pushed
        });
        assert_eq!(std::fs::read_dir(&self.stage).unwrap().count(), 0);
        assert!(self.disk.plan(1).unwrap().is_none());
        pushed.map_err(|unpushed| match unpushed {
            Unpushed::Undone(error) => error,
            Unpushed::Stuck(error) => panic!("stuck: {error}"),
        })
    }
}

/// What a stream is made of: a record, or bytes of the file before it.
#[derive(Clone, Debug)]
pub(crate) enum Streamed {
    Item(Item),
    Bytes(u64, Vec<u8>),
}

pub(crate) fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

pub(crate) fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

pub(crate) fn entry(at: &str, kind: NodeKind, mode: u32) -> Streamed {
    let node = Node { kind, mode, mtime: TIME };
    Streamed::Item(Item::Entry(Entry { path: path(at), node, version: 0 }))
}

pub(crate) fn directory(at: &str) -> Streamed {
    entry(at, NodeKind::Directory, 0o755)
}

pub(crate) fn symlink(at: &str, target: &str) -> Streamed {
    entry(at, NodeKind::Symlink { target: target.as_bytes().to_vec() }, 0o777)
}

pub(crate) fn remove_item(at: &str) -> Streamed {
    Streamed::Item(Item::Remove(path(at)))
}

/// A file with its bytes.
pub(crate) fn file(at: &str, contents: &str) -> Vec<Streamed> {
    let bytes = contents.len() as u64;
    vec![entry(at, NodeKind::File { bytes }, 0o644), Streamed::Bytes(0, contents.as_bytes().to_vec())]
}

/// A whole stream.
pub(crate) fn stream(items: &[Streamed]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for item in items {
        match item {
            Streamed::Item(item) => write_item(item, &mut bytes).unwrap(),
            Streamed::Bytes(offset, piece) => write_piece(Side::After, *offset, piece, &mut bytes).unwrap(),
        }
    }
    write_item(&Item::End, &mut bytes).unwrap();
    bytes
}

/// A stream as it reaches the thread that writes it.
pub(crate) fn inlet(bytes: &[u8]) -> Inlet {
    let (sender, inlet) = super::super::inlet::inlet(&Arc::new(AtomicBool::new(false)));
    sender.try_send(Fed::Bytes(bytes.to_vec())).unwrap();
    sender.try_send(Fed::End).unwrap();
    inlet
}

/// What `work` sends, as records, once it has ended.
pub(crate) fn read<T: Send>(
    work: impl FnOnce(Outlet) -> Result<T, WorkspaceError> + Send,
) -> Result<(T, Vec<Record>), WorkspaceError> {
    let (outlet, mut receiver) = super::super::outlet::outlet(&Arc::new(AtomicBool::new(false)));
    std::thread::scope(|scope| {
        let work = scope.spawn(move || work(outlet));
        let mut decoder = TreeDecoder::default();
        let mut records = Vec::new();
        while let Some(bytes) = receiver.blocking_recv() {
            decoder.push(&bytes);
            while let Some(record) = decoder.next_record().unwrap() {
                records.push(record);
            }
        }
        let done = work.join().unwrap()?;
        assert!(decoder.has_ended());
        assert_eq!(records.pop().unwrap().item, Item::End);
        Ok((done, records))
    })
}

/// Mode, time, and contents or target.
pub(crate) type Seen = (u32, (i64, i64), Vec<u8>);

/// Everything that a guest can see of a tree but inodes: by path, kind and mode, time, contents or target.
pub(crate) fn snapshot(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut all = BTreeMap::new();
    let mut ahead = vec![PathBuf::new()];
    while let Some(path) = ahead.pop() {
        let full = root.join(&path);
        let metadata = std::fs::symlink_metadata(&full).unwrap();
        let contents = if metadata.is_dir() {
            let names = std::fs::read_dir(&full).unwrap().map(|entry| entry.unwrap().file_name());
            ahead.extend(names.map(|name| path.join(name)));
            Vec::new()
        } else if metadata.is_symlink() {
            std::fs::read_link(&full).unwrap().as_os_str().as_bytes().to_vec()
        } else if metadata.is_file() {
            std::fs::read(&full).unwrap()
        } else {
            Vec::new()
        };
        all.insert(path, (metadata.mode(), (metadata.mtime(), metadata.mtime_nsec()), contents));
    }
    all
}

/// The changes among records, with what followed them.
pub(crate) fn changes(records: &[Record]) -> Vec<(Change, Vec<u8>)> {
    let mut all: Vec<(Change, Vec<u8>)> = Vec::new();
    for record in records {
        match &record.item {
            Item::Change(change) => all.push((change.clone(), Vec::new())),
            Item::Piece(_) => all.last_mut().unwrap().1.extend_from_slice(&record.bytes),
            other => panic!("{other:?}"),
        }
    }
    all
}
