//! A tar archive as a source: read entry by entry, in order, sent as it is read, never unpacked here. It trusts
//! no name, size or map in it.

mod attributes;
mod blocks;
mod error;
mod holes;
mod member;
mod number;
mod packing;
mod placing;
mod sparse;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::rc::Rc;

use pyro_proto::agent::Tally;
use pyro_proto::limits::TREE_PATH_BYTES_MAX;
use pyro_proto::tree::NodeKind;

pub use error::{ArchiveError, Refusal};

use super::outlet::Outlet;
use super::{Progress, SourceError, TreeSink};
use crate::limits::ARCHIVE_RECORD_BYTES_MAX;
use blocks::{BLOCK_BYTES, Blocks};
use member::{Content, Member};
use packing::{Form, Packing};
use placing::{Linked, MISSING_DIRECTORY_MODE, Node, Placing};

/// An archive, open.
#[derive(Debug)]
pub(super) struct ArchiveSource {
    file: File,
    packing: Packing,
    bytes_max: u64,
}

impl ArchiveSource {
    /// Tells by its first block whether a file is an archive.
    pub(super) fn open(path: &Path, file: File, bytes_max: u64) -> Result<ArchiveSource, SourceError> {
        let unopened = |source| SourceError::Open { path: path.to_owned(), source };
        let packing = match Form::of(&file, path).map_err(unopened)? {
            Form::Archive(packing) => packing,
            Form::Unknown(form) => return Err(SourceError::UnknownArchive { path: path.to_owned(), form }),
            Form::Other => return Err(SourceError::NotASource { path: path.to_owned() }),
        };
        let source = ArchiveSource { file, packing, bytes_max };
        let mut block = Vec::new();
        let read = source.unpacked(&Rc::default())?.take(BLOCK_BYTES as u64).read_to_end(&mut block);
        read.map_err(error::unpacking)?;
        match blocks::may_begin(&block) {
            true => Ok(source),
            false if block.len() < BLOCK_BYTES && packing == Packing::Plain => {
                Err(ArchiveError::Cut("its first block is not all there").into())
            }
            // Its name says that it should be one.
            false if matches!(Form::of_name(path), Form::Archive(_)) => {
                Err(ArchiveError::Damaged("it does not begin with a header").into())
            }
            false => Err(SourceError::NotASource { path: path.to_owned() }),
        }
    }

    pub(super) fn send(
        &mut self,
        sink: &mut dyn TreeSink,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Tally, SourceError> {
        let read = Rc::new(Cell::new(0));
        let bytes_total = self.file.metadata().map_err(error::unpacking)?.len();
        let mut blocks = Blocks::new(self.unpacked(&read)?);
        let mut outlet = Outlet::new(sink);
        let mut placing = Placing::default();
        let mut left = self.bytes_max;
        let mut report = |outlet: &Outlet<'_>| {
            let bytes = read.get().min(bytes_total);
            progress(Progress { entries: outlet.tally().entries, bytes, bytes_total });
        };
        while let Some(member) = Member::read(&mut blocks)? {
            let refuse = |refusal| ArchiveError::Entry { name: member.name.clone(), refusal };
            let path = placing::parse(member.name.as_bytes()).map_err(refuse)?;
            let (kind, node) = match &member.content {
                Content::Directory => (NodeKind::Directory, Node::Directory { mode: member.mode }),
                Content::File { layout, stored } => {
                    left = left
                        .checked_sub(*stored)
                        .ok_or(ArchiveError::TooLarge { bytes_max: self.bytes_max })?;
                    (NodeKind::File { bytes: layout.bytes }, Node::File)
                }
                Content::Symlink { target } => symlink(target).map_err(refuse)?,
                Content::HardLink { target } => match placing.linked(target).map_err(refuse)? {
                    Linked::File(target) => (NodeKind::HardLink { target }, Node::File),
                    Linked::Symlink(target) => symlink(&target).map_err(refuse)?,
                },
            };
            if path.is_root() && !matches!(kind, NodeKind::Directory) {
                return Err(refuse(Refusal::TypeConflict).into());
            }
            let target = if let NodeKind::HardLink { target } = &kind { Some(target.clone()) } else { None };
            let placed = placing.place(&path, node)?.map_err(refuse)?;
            if let Some(missing) = placed {
                for directory in missing {
                    outlet.entry(directory, NodeKind::Directory, MISSING_DIRECTORY_MODE, member.mtime)?;
                }
                outlet.entry(path.clone(), kind, member.mode, member.mtime)?;
            }
            if let Some(target) = target {
                placing.link(&path, &target);
            }
            if let Content::File { layout, stored } = &member.content {
                for (offset, length) in &layout.runs {
                    let mut offset = *offset;
                    blocks.contents(*length, |bytes| {
                        holes::send(&mut outlet, offset, bytes)?;
                        offset += bytes.len() as u64;
                        report(&outlet);
                        Ok::<_, SourceError>(())
                    })?;
                }
                blocks.padding(*stored)?;
            }
            report(&outlet);
        }
        // What fills up a tape's record is not contents.
        blocks.end(left.saturating_add(ARCHIVE_RECORD_BYTES_MAX))?;
        report(&outlet);
        outlet.end()
    }

    fn unpacked(&self, read: &Rc<Cell<u64>>) -> Result<Box<dyn Read + '_>, ArchiveError> {
        packing::unpacked(&self.file, self.packing, read).map_err(error::unpacking)
    }
}

/// A symlink leads anywhere: it is data, and nothing here goes where it leads.
fn symlink(target: &[u8]) -> Result<(NodeKind, Node), Refusal> {
    if target.is_empty() || target.len() > TREE_PATH_BYTES_MAX || target.contains(&0) {
        return Err(Refusal::LinkTarget);
    }
    Ok((NodeKind::Symlink { target: target.to_vec() }, Node::Symlink { target: target.to_vec() }))
}
