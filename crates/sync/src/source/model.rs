//! A stream taken in as a tree in memory, for tests. It refuses whatever breaks the order of streams.

use std::collections::BTreeMap;
use std::path::Path;

use pyro_proto::limits::TREE_PIECE_BYTES_MAX;
use pyro_proto::tree::{Item, Mtime, NodeKind, TreeDecoder, TreePath};

use super::{Options, Source, SourceError, Tally};

/// What a tree holds, by path.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) nodes: BTreeMap<Vec<u8>, ModelNode>,
    /// Paths in the order they came.
    pub(super) order: Vec<Vec<u8>>,
    /// Removals and expectations, in words.
    pub(super) orders: Vec<String>,
    pub(super) has_ended: bool,
    pub(super) piece_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModelNode {
    pub(super) mode: u32,
    pub(super) mtime: Mtime,
    pub(super) content: ModelContent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ModelContent {
    Directory,
    /// With zeros in the holes; only its length where it is too long to hold.
    File {
        bytes: u64,
        contents: Vec<u8>,
    },
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
}

/// Files longer than this are not held.
const HELD_BYTES_MAX: u64 = 64 * 1024 * 1024;

impl Model {
    /// Takes in whatever was sent.
    pub(super) fn of(batches: &[Vec<u8>]) -> Model {
        let mut decoder = TreeDecoder::default();
        let mut model = Model::default();
        let mut next_offset = 0;
        for batch in batches {
            assert!(batch.len() <= TREE_PIECE_BYTES_MAX, "a batch of {} bytes", batch.len());
            decoder.push(batch);
            while let Some(record) = decoder.next_record().unwrap() {
                match record.item {
                    Item::Entry(entry) => {
                        next_offset = 0;
                        model.entry(entry);
                    }
                    Item::Piece(piece) => {
                        assert!(piece.offset >= next_offset, "pieces go back");
                        next_offset = piece.offset + u64::from(piece.bytes);
                        model.piece(piece.offset, &record.bytes);
                    }
                    Item::Remove(path) => model.orders.push(format!("remove {path:?}")),
                    Item::Expect(expect) => {
                        model.orders.push(format!("expect {:?} {:?}", expect.path, expect.version))
                    }
                    Item::Change(_) => panic!("a change in a tree"),
                    Item::End => {}
                }
            }
        }
        model.has_ended = decoder.has_ended();
        model
    }

    fn entry(&mut self, entry: pyro_proto::tree::Entry) {
        let content = match entry.node.kind {
            NodeKind::Directory => ModelContent::Directory,
            NodeKind::File { bytes } => {
                let held = if bytes > HELD_BYTES_MAX { 0 } else { bytes };
                ModelContent::File { bytes, contents: vec![0; held as usize] }
            }
            NodeKind::Symlink { target } => ModelContent::Symlink(target),
            NodeKind::HardLink { target } => {
                let first = &self.nodes[target.as_bytes()];
                assert!(matches!(first.content, ModelContent::File { .. }), "a link to no file");
                ModelContent::HardLink(target.as_bytes().to_vec())
            }
            NodeKind::Special => panic!("a special file"),
        };
        assert!(entry.node.mode <= 0o7777 && entry.version == 0);
        if let Some((parent, _)) = entry.path.split().filter(|(parent, _)| !parent.is_root()) {
            assert_eq!(self.nodes[parent.as_bytes()].content, ModelContent::Directory);
        }
        let path = entry.path.as_bytes().to_vec();
        let node = ModelNode { mode: entry.node.mode, mtime: entry.node.mtime, content };
        assert!(self.nodes.insert(path.clone(), node).is_none(), "{:?} twice", entry.path);
        self.order.push(path);
    }

    fn piece(&mut self, offset: u64, piece: &[u8]) {
        self.piece_bytes += piece.len() as u64;
        let node = self.nodes.get_mut(self.order.last().unwrap()).unwrap();
        let ModelContent::File { bytes, contents } = &mut node.content else { panic!("a piece of no file") };
        assert!(offset + piece.len() as u64 <= *bytes, "a piece beyond the file");
        if *bytes <= HELD_BYTES_MAX {
            contents[offset as usize..offset as usize + piece.len()].copy_from_slice(piece);
        }
    }

    /// Paths as text, without the root.
    pub(super) fn paths(&self) -> Vec<String> {
        let shown = self.nodes.keys().filter(|path| !path.is_empty());
        shown.map(|path| String::from_utf8_lossy(path).into_owned()).collect()
    }

    pub(super) fn get(&self, path: &str) -> &ModelNode {
        &self.nodes[path.as_bytes()]
    }

    pub(super) fn contents(&self, path: &str) -> &[u8] {
        let ModelContent::File { contents, .. } = &self.get(path).content else {
            panic!("{path} is no file")
        };
        contents
    }
}

/// Opens and sends a source; what came of it goes with what was sent.
pub(super) fn send(path: &Path, options: Options) -> (Result<Tally, SourceError>, Model) {
    let mut batches = Vec::new();
    let sent = Source::open(path, options).and_then(|mut source| {
        let sink = &mut |bytes| {
            batches.push(bytes);
            Ok(())
        };
        let mut last = super::Progress::default();
        source.send(sink, &mut |progress| {
            assert!(progress.bytes >= last.bytes && progress.entries >= last.entries, "progress goes back");
            assert!(progress.bytes <= progress.bytes_total);
            last = progress;
        })
    });
    let model = Model::of(&batches);
    assert_eq!(model.has_ended, sent.is_ok());
    if let Ok(tally) = &sent {
        let entries = model.nodes.keys().filter(|path| !path.is_empty()).count();
        assert_eq!((tally.entries, tally.bytes), (entries as u64, model.piece_bytes));
    }
    (sent, model)
}

/// Sends a source that has nothing wrong with it.
pub(super) fn sent(path: &Path, options: Options) -> Model {
    let (sent, model) = send(path, options);
    sent.unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
    model
}

/// A path that is one.
pub(super) fn tree_path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}
