//! What changed in a workspace, as a patch.
//!
//! The patch is kept until it is whole: a diff that fails has shown nothing that `git apply` could take for all
//! of it.

use std::io::{Read, Seek, SeekFrom, Write};

use pyro_patch::{EmptyDirectories, FileMode, FileStat, NodeShape, RenderOptions, Rendered, Side, Summary};
use pyro_proto::tree::{Contents, Item, Node, NodeKind};
use pyro_proto::{agent, shim};
use pyro_sync::changes::{ChangeReader, ChangesError, FileContents, WholeChange};
use tempfile::SpooledTempFile;

use super::Workspace;
use super::guest_path::GuestPath;
use super::transfer::malformed;
use crate::failure::chain;
use crate::limits::PATCH_MEMORY_BYTES;
use crate::{Code, Failure};

/// Which changes to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffRequest {
    /// Only what is at or below these; everything when empty.
    pub paths: Vec<GuestPath>,
    /// Files larger than this are left out.
    pub file_bytes_max: u64,
}

/// A whole diff.
#[derive(Debug)]
pub struct Diff {
    /// Counts of what is in the patch.
    pub summary: Summary,
    /// How much changes, per file of the patch.
    pub stats: Vec<FileStat>,
    /// What changed and is not in the patch.
    pub left_out: Vec<LeftOut>,
    /// Changes inside `.git`, which no patch carries.
    pub git_changes: u64,
    patch: SpooledTempFile,
}

/// A change that a patch does not carry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    /// Where.
    pub path: Vec<u8>,
    /// Why.
    pub why: String,
}

impl Workspace {
    /// The changes since the workspace was made, as a patch that `git apply` takes.
    pub async fn diff(&mut self, request: &DiffRequest) -> Result<Diff, Failure> {
        let mut writer = Writer::new();
        self.changes(&request.paths, request.file_bytes_max, |change| writer.take(change)).await?;
        writer.finish()
    }

    /// Hands out every change with its contents.
    pub(super) async fn changes(
        &mut self,
        paths: &[GuestPath],
        file_bytes_max: u64,
        mut take: impl FnMut(WholeChange) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let request = shim::Transfer::Changes(agent::Changes {
            paths: paths.iter().map(GuestPath::to_bytes).collect(),
            contents: true,
            file_bytes_max,
        });
        let mut reader = ChangeReader::new(file_bytes_max);
        self.connection
            .receive_tree(request, |record| match reader.take(&record).map_err(unreadable)? {
                Some(change) => take(change),
                None => Ok(()),
            })
            .await?;
        reader.finish().map_err(unreadable)?.map_or(Ok(()), take)
    }

    /// How many things differ from the baseline, without their contents.
    pub(super) async fn count_changes(
        &mut self,
        mut take: impl FnMut(&pyro_proto::tree::Change),
    ) -> Result<(), Failure> {
        let request =
            shim::Transfer::Changes(agent::Changes { paths: Vec::new(), contents: false, file_bytes_max: 0 });
        self.connection
            .receive_tree(request, |record| match &record.item {
                Item::Change(change) => {
                    take(change);
                    Ok(())
                }
                _ => Err(malformed(&"a record that is no change")),
            })
            .await?;
        Ok(())
    }
}

impl Diff {
    /// The patch, from its first byte on.
    pub fn patch(&mut self) -> Result<impl Read + '_, Failure> {
        self.patch.seek(SeekFrom::Start(0)).map_err(unkept)?;
        Ok(&mut self.patch)
    }

    /// Bytes of the patch.
    pub fn patch_bytes(&mut self) -> Result<u64, Failure> {
        self.patch.seek(SeekFrom::End(0)).map_err(unkept)
    }

    /// At most `bytes_max` of the patch from one of its bytes on.
    pub fn patch_part(&mut self, cursor: u64, bytes_max: u64) -> Result<Vec<u8>, Failure> {
        self.patch.seek(SeekFrom::Start(cursor)).map_err(unkept)?;
        let mut part = Vec::new();
        Read::take(&mut self.patch, bytes_max).read_to_end(&mut part).map_err(unkept)?;
        Ok(part)
    }

    /// The table that `git diff --stat` shows.
    pub fn stat_table(&self) -> String {
        pyro_patch::stat(&self.stats)
    }
}

/// Changes becoming a patch.
struct Writer {
    diff: Diff,
    directories: EmptyDirectories,
}

impl Writer {
    fn new() -> Writer {
        Writer {
            diff: Diff {
                summary: Summary::default(),
                stats: Vec::new(),
                left_out: Vec::new(),
                git_changes: 0,
                patch: SpooledTempFile::new(PATCH_MEMORY_BYTES),
            },
            directories: EmptyDirectories::default(),
        }
    }

    fn take(&mut self, mut change: WholeChange) -> Result<(), Failure> {
        let path = change.change.path.as_bytes().to_vec();
        if change.change.path.names().any(|name| name == b".git") {
            self.diff.git_changes += 1;
            return Ok(());
        }
        self.note_directories(&path, &change);
        let shape = |node: &Option<Node>| node.as_ref().map(shape);
        if let Some(lost) =
            pyro_patch::lost_in_patch(shape(&change.change.before), shape(&change.change.after))
        {
            self.diff.summary.count_inexpressible();
            self.leave_out(&path, lost.to_string());
        }
        if change.change.contents == Contents::TooLarge {
            self.leave_out(&path, "larger than --max-file-bytes".to_owned());
            return Ok(());
        }
        let same = change.change.contents == Contents::Same;
        let before = bytes_of(change.change.before.as_ref(), change.before.as_mut(), same)?;
        let after = bytes_of(change.change.after.as_ref(), change.after.as_mut(), same)?;
        let rendered =
            pyro_patch::render(&path, as_side(&before), as_side(&after), &RenderOptions::default());
        match rendered {
            Ok(rendered) => self.write(rendered),
            Err(refused) => {
                self.diff.summary.count_refused();
                self.leave_out(&path, refused.to_string());
                Ok(())
            }
        }
    }

    fn note_directories(&mut self, path: &[u8], change: &WholeChange) {
        let is_directory = |node: &Option<Node>| node.as_ref().map(|node| node.kind == NodeKind::Directory);
        match is_directory(&change.change.before) {
            Some(true) if is_directory(&change.change.after) != Some(true) => self.directories.deleted(path),
            Some(false) => self.directories.has_file(path, false),
            _ => {}
        }
        match is_directory(&change.change.after) {
            Some(true) if is_directory(&change.change.before) != Some(true) => self.directories.added(path),
            Some(false) => self.directories.has_file(path, true),
            _ => {}
        }
    }

    fn write(&mut self, rendered: Rendered) -> Result<(), Failure> {
        self.diff.summary.count(&rendered);
        self.diff.patch.write_all(&rendered.patch).map_err(unkept)?;
        if rendered.kind.is_some() {
            self.diff.stats.push(rendered.stat);
        }
        Ok(())
    }

    fn leave_out(&mut self, path: &[u8], why: String) {
        self.diff.left_out.push(LeftOut { path: path.to_vec(), why });
    }

    fn finish(self) -> Result<Diff, Failure> {
        let mut diff = self.diff;
        for (path, lost) in self.directories.finish() {
            diff.summary.count_inexpressible();
            diff.left_out.push(LeftOut { path, why: lost.to_string() });
        }
        diff.left_out.sort();
        Ok(diff)
    }
}

fn shape(node: &Node) -> NodeShape {
    match node.kind {
        NodeKind::Directory => NodeShape::Directory(node.mode),
        NodeKind::File { .. } | NodeKind::HardLink { .. } => NodeShape::File(node.mode),
        NodeKind::Symlink { .. } => NodeShape::Symlink,
        NodeKind::Special => NodeShape::Special,
    }
}

/// Mode and bytes of a side that git knows: a file or a link.
fn bytes_of(
    node: Option<&Node>,
    contents: Option<&mut FileContents>,
    same: bool,
) -> Result<Option<(FileMode, Vec<u8>)>, Failure> {
    let Some(node) = node else { return Ok(None) };
    match &node.kind {
        NodeKind::Symlink { target } => Ok(Some((FileMode::Symlink, target.clone()))),
        NodeKind::File { .. } => {
            let bytes = match contents {
                Some(contents) => contents.read().map_err(unkept)?,
                // Both sides have the same bytes, and the patch shows the mode alone.
                None if same => Vec::new(),
                None => return Err(malformed(&"a file without its contents")),
            };
            Ok(Some((FileMode::of_permissions(node.mode), bytes)))
        }
        NodeKind::Directory | NodeKind::HardLink { .. } | NodeKind::Special => Ok(None),
    }
}

fn as_side(side: &Option<(FileMode, Vec<u8>)>) -> Option<Side<'_>> {
    side.as_ref().map(|(mode, bytes)| Side { mode: *mode, bytes })
}

pub(super) fn unreadable(error: ChangesError) -> Failure {
    match error {
        ChangesError::Malformed(_) => malformed(&error),
        ChangesError::Spool(_) => Failure::new(Code::System, chain(&error))
            .fix("free some space in the temporary directory, or point TMPDIR elsewhere"),
    }
}

fn unkept(error: std::io::Error) -> Failure {
    Failure::new(Code::System, "the patch cannot be kept in the temporary directory")
        .because(error)
        .fix("free some space in it, or point TMPDIR elsewhere")
}
