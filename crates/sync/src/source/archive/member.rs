//! One entry of a tar, put together from its header and the records in front of it. It reads those, and none
//! of the contents.

use pyro_proto::tree::Mtime;

use super::super::Name;
use super::attributes::Attributes;
use super::blocks::{Block, Blocks};
use super::error::{ArchiveError, Refusal};
use super::number;
use super::sparse::Layout;
use crate::limits::ARCHIVE_RECORD_BYTES_MAX;

/// An entry.
#[derive(Debug)]
pub(super) struct Member {
    /// Its path as the archive has it.
    pub(super) name: Name,
    pub(super) content: Content,
    pub(super) mode: u32,
    pub(super) mtime: Mtime,
}

/// What an entry is.
#[derive(Debug)]
pub(super) enum Content {
    Directory,
    /// Its runs follow in the archive, `stored` bytes of them, filled up to blocks.
    File {
        layout: Layout,
        stored: u64,
    },
    Symlink {
        target: Vec<u8>,
    },
    HardLink {
        target: Vec<u8>,
    },
}

/// What the records in front of an entry say about it.
#[derive(Default)]
struct Ahead {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    attributes: Option<Attributes>,
}

impl Ahead {
    fn is_empty(&self) -> bool {
        self.name.is_none() && self.link.is_none() && self.attributes.is_none()
    }
}

impl Member {
    /// Reads the next entry; `None` at the end.
    pub(super) fn read(blocks: &mut Blocks<'_>) -> Result<Option<Member>, ArchiveError> {
        let mut ahead = Ahead::default();
        loop {
            let Some(block) = blocks.header()? else {
                return match ahead.is_empty() {
                    true => Ok(None),
                    false => Err(ArchiveError::Damaged("it ends behind the name of an entry")),
                };
            };
            let header = tar::Header::from_byte_slice(&block);
            let own_name = header.path_bytes().into_owned();
            let refuse = |refusal| ArchiveError::Entry { name: Name::new(own_name.as_slice()), refusal };
            let kind = header.entry_type().as_byte();
            let own_size = size(&block).ok_or_else(|| refuse(Refusal::Number("size")))?;
            match kind {
                b'L' | b'K' | b'x' | b'X' | b'g' | b'V' if own_size > ARCHIVE_RECORD_BYTES_MAX => {
                    let what =
                        format!("{ARCHIVE_RECORD_BYTES_MAX} bytes of names or attributes for one entry");
                    return Err(ArchiveError::TooMany { what });
                }
                b'L' | b'K' => {
                    let mut text = blocks.bytes(own_size)?;
                    if text.last() == Some(&0) {
                        text.pop();
                    }
                    let place = if kind == b'L' { &mut ahead.name } else { &mut ahead.link };
                    if place.replace(text).is_some() {
                        return Err(ArchiveError::Damaged("an entry has two long names"));
                    }
                }
                b'x' | b'X' => {
                    let attributes = Attributes::parse(&blocks.bytes(own_size)?).map_err(refuse)?;
                    if ahead.attributes.replace(attributes).is_some() {
                        return Err(ArchiveError::Damaged("an entry has its attributes twice"));
                    }
                }
                // Attributes of all entries: comments, as a rule. Any that would matter is not passed over.
                b'g' if Attributes::parse(&blocks.bytes(own_size)?).map_err(refuse)?.matter() => {
                    return Err(refuse(Refusal::Attributes));
                }
                b'g' => {}
                // Name of the volume.
                b'V' => blocks.bytes(own_size).map(drop)?,
                _ => return Member::assemble(&block, own_size, ahead, blocks).map(Some),
            }
        }
    }

    fn assemble(
        block: &Block,
        own_size: u64,
        ahead: Ahead,
        blocks: &mut Blocks<'_>,
    ) -> Result<Member, ArchiveError> {
        let header = tar::Header::from_byte_slice(block);
        let attributes = ahead.attributes.unwrap_or_default();
        let own_name = || ahead.name.clone().unwrap_or_else(|| header.path_bytes().into_owned());
        let named = attributes.get("GNU.sparse.name").or_else(|| attributes.get("path"));
        let name = Name::new(named.map_or_else(own_name, <[u8]>::to_vec));
        let refuse = |refusal| ArchiveError::Entry { name: name.clone(), refusal };
        let stored = match attributes.get("size") {
            Some(size) => number::decimal(size).ok_or_else(|| refuse(Refusal::Attributes))?,
            None => own_size,
        };
        let mtime = match attributes.get("mtime") {
            Some(time) => number::time(time).ok_or_else(|| refuse(Refusal::Attributes))?,
            None => {
                let seconds = number::parse(&header.as_old().mtime);
                Mtime { seconds: seconds.ok_or_else(|| refuse(Refusal::Number("time")))?, nanoseconds: 0 }
            }
        };
        let mode = number::parse(&header.as_old().mode).and_then(|mode| u32::try_from(mode).ok());
        let mode = mode.ok_or_else(|| refuse(Refusal::Number("mode")))? & 0o7777;
        let link = || {
            let own = || header.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default();
            attributes.get("linkpath").map(<[u8]>::to_vec).or(ahead.link.clone()).unwrap_or_else(own)
        };
        let content = match header.entry_type().as_byte() {
            // Before there was a type for it, a slash made a directory.
            b'0' | b'\0' if name.as_bytes().ends_with(b"/") && stored == 0 => Content::Directory,
            b'0' | b'\0' | b'7' => {
                let (layout, taken) = Layout::of_attributes(&attributes, stored, blocks)?
                    .map_err(refuse)?
                    .unwrap_or_else(|| (Layout::whole(stored), 0));
                Content::File { layout, stored: stored - taken }
            }
            b'S' => {
                let layout = Layout::of_header(block, stored, blocks)?.map_err(refuse)?;
                Content::File { layout, stored }
            }
            // What the size of these says differs between writers; none of them has contents.
            b'5' => Content::Directory,
            b'2' => Content::Symlink { target: link() },
            b'1' => Content::HardLink { target: link() },
            b'3' | b'4' => return Err(refuse(Refusal::Device)),
            b'6' => return Err(refuse(Refusal::Fifo)),
            b'M' => return Err(refuse(Refusal::Volume)),
            other => return Err(refuse(Refusal::Type(other))),
        };
        Ok(Member { name, content, mode, mtime })
    }
}

fn size(block: &Block) -> Option<u64> {
    number::parse(&tar::Header::from_byte_slice(block).as_old().size)
        .and_then(|size| u64::try_from(size).ok())
}
