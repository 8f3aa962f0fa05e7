//! Single files and listings of a workspace.

use std::io::{Read, Seek, SeekFrom};

use pyro_proto::tree::{Entry, Expect, Item, Node, NodeKind, TreePath};
use pyro_proto::{agent, shim};
use pyro_sync::source::one_file;
use schemars::JsonSchema;
use serde::Serialize;

use super::guest_path::GuestPath;
use super::push::{Feed, unusable};
use super::transfer::malformed;
use super::{Workspace, info};
use crate::limits::{PATCH_MEMORY_BYTES, SYMLINK_HOPS_MAX};
use crate::{Code, Failure};

/// Permissions of a file that is new.
const FILE_MODE: u32 = 0o644;

/// One thing in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FileEntry {
    /// Where it is in the guest; bytes that are no UTF-8 are replaced.
    pub path: String,
    /// `file`, `directory`, `symlink` or `special`.
    pub artifact_type: &'static str,
    /// Bytes of a file.
    pub size_bytes: u64,
    /// Permissions, octal.
    pub mode: String,
    /// Last modification.
    pub modified_at: String,
    /// Where a symbolic link leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_target: Option<String>,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRead {
    /// The file itself, behind whatever links led to it.
    pub path: String,
    /// Bytes handed out.
    pub bytes: u64,
    /// Bytes it has.
    pub total_bytes: u64,
}

/// Reads permissions in octal.
pub fn parse_mode(text: &str) -> Result<u32, Failure> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(|| {
        Failure::new(Code::InvalidArgument, format!("{text:?} is no mode"))
            .fix("write permissions in octal, such as 644 or 755")
    })
}

impl Workspace {
    /// What is in a directory, or below it; a file lists itself. Hands out each entry as it comes.
    pub async fn list_files(
        &mut self,
        path: &GuestPath,
        recursive: bool,
        mut take: impl FnMut(FileEntry) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let depth_max = if recursive { u32::MAX } else { 1 };
        let mut count = 0;
        self.export_entries(path, depth_max, None, |record| {
            let Item::Entry(entry) = &record.item else {
                return Err(malformed(&"a record that is no entry"));
            };
            if entry.path.is_root() && entry.node.kind == NodeKind::Directory {
                return Ok(());
            }
            count += 1;
            take(describe(path, entry))
        })
        .await?;
        Ok(count)
    }

    /// Hands out a file's bytes, at most `bytes_max`; links that stay in the workspace are followed.
    pub async fn read_file(
        &mut self,
        path: &GuestPath,
        bytes_max: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<FileRead, Failure> {
        let mut path = path.clone();
        for _ in 0..SYMLINK_HOPS_MAX {
            let entry = self.stat(&path).await?;
            match &entry.node.kind {
                NodeKind::Symlink { target } => path = path.behind(target)?,
                NodeKind::File { .. } => return self.read_regular(&path, bytes_max, &mut take).await,
                kind => return Err(no_file(&path, kind)),
            }
        }
        Err(Failure::new(Code::PathMissing, format!("{path} is at the end of too many symbolic links"))
            .fix("name the file itself"))
    }

    async fn read_regular(
        &mut self,
        path: &GuestPath,
        bytes_max: u64,
        take: &mut impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<FileRead, Failure> {
        let (mut total, mut done) = (None, 0u64);
        self.export_entries(path, 0, Some(bytes_max), |record| match (&record.item, total) {
            (Item::Entry(Entry { node: Node { kind: NodeKind::File { bytes }, .. }, .. }), None) => {
                total = Some(*bytes);
                Ok(())
            }
            (Item::Piece(piece), Some(bytes)) => {
                let end = piece.offset.saturating_add(record.bytes.len() as u64);
                if piece.offset < done || end > bytes.min(bytes_max) {
                    return Err(malformed(&"pieces that do not fit their file"));
                }
                zeros(piece.offset - done, take)?;
                done = end;
                take(&record.bytes)
            }
            _ => Err(malformed(&"another thing than the file")),
        })
        .await?;
        let total_bytes = total.ok_or_else(|| malformed(&"no file"))?;
        let end = total_bytes.min(bytes_max);
        zeros(end.saturating_sub(done), take)?;
        Ok(FileRead { path: path.to_string(), bytes: end, total_bytes })
    }

    /// Replaces a file, or makes one with the directories above it. Refused when it has changed since this call
    /// looked at it.
    pub async fn write_file(
        &mut self,
        path: &GuestPath,
        contents: impl Read,
        mode: Option<u32>,
    ) -> Result<u64, Failure> {
        let tree = path.as_tree();
        let Some((parent, name)) = tree.split() else {
            return Err(no_file(path, &NodeKind::Directory));
        };
        let name = TreePath::parse(name.to_vec()).map_err(|error| malformed(&error))?;
        let old = match self.stat(path).await {
            Ok(entry) => Some(entry),
            Err(failure) if failure.code == Code::PathMissing => None,
            Err(failure) => return Err(failure),
        };
        if let Some(Entry { node: Node { kind, .. }, .. }) = &old
            && !matches!(kind, NodeKind::File { .. })
        {
            return Err(no_file(path, kind));
        }
        let mode = mode.or(old.as_ref().map(|entry| entry.node.mode)).unwrap_or(FILE_MODE);
        let expect = Expect { path: name.clone(), version: old.map(|entry| entry.version) };
        let (mut spool, bytes) = spool(contents)?;
        let push = shim::Transfer::Push(agent::Push { directory: parent.as_bytes().to_vec() });
        self.connection
            .send_tree(push, move |pieces| {
                let sent = one_file(name, mode, &mut spool, bytes, Some(expect), &mut Feed(pieces));
                sent.map(drop).or_else(|error| match error {
                    pyro_sync::source::SourceError::SinkClosed(_) => Ok(()),
                    error => Err(unusable(error)),
                })
            })
            .await?;
        Ok(bytes)
    }

    /// What is at a path; links are not followed.
    pub(super) async fn stat(&mut self, path: &GuestPath) -> Result<Entry, Failure> {
        let mut found = None;
        self.export_entries(path, 0, None, |record| match record.item {
            Item::Entry(entry) if found.is_none() => {
                found = Some(entry);
                Ok(())
            }
            _ => Err(malformed(&"more than was asked for")),
        })
        .await?;
        found.ok_or_else(|| malformed(&"nothing"))
    }

    /// Takes a path out, record by record.
    pub(super) async fn export_entries(
        &mut self,
        path: &GuestPath,
        depth_max: u32,
        contents: Option<u64>,
        take: impl FnMut(pyro_proto::tree::Record) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let export = agent::Export { path: path.to_bytes(), depth_max, contents };
        self.connection.receive_tree(shim::Transfer::Export(export), take).await?;
        Ok(())
    }
}

/// A hole, as readers of the file see it.
fn zeros(mut count: u64, take: &mut impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    while count > 0 {
        let part = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
        take(ZEROS.get(..part).unwrap_or_default())?;
        count -= part as u64;
    }
    Ok(())
}

/// Contents of a length not known before they end.
fn spool(mut contents: impl Read) -> Result<(tempfile::SpooledTempFile, u64), Failure> {
    let unread = |error| {
        Failure::new(Code::SourceUnusable, "what is to be written cannot be read")
            .because(error)
            .fix("check the input; nothing was changed")
    };
    let mut spool = tempfile::SpooledTempFile::new(PATCH_MEMORY_BYTES);
    let bytes = std::io::copy(&mut contents, &mut spool).map_err(unread)?;
    spool.seek(SeekFrom::Start(0)).map_err(unread)?;
    Ok((spool, bytes))
}

fn describe(listed: &GuestPath, entry: &Entry) -> FileEntry {
    let (artifact_type, size_bytes, link_target) = match &entry.node.kind {
        NodeKind::Directory => ("directory", 0, None),
        NodeKind::File { bytes } => ("file", *bytes, None),
        NodeKind::Symlink { target } => ("symlink", 0, Some(String::from_utf8_lossy(target).into_owned())),
        // A second name: its size is told with the first.
        NodeKind::HardLink { .. } => ("file", 0, None),
        NodeKind::Special => ("special", 0, None),
    };
    let below = String::from_utf8_lossy(entry.path.as_bytes()).into_owned();
    FileEntry {
        path: if below.is_empty() { listed.to_string() } else { format!("{listed}/{below}") },
        artifact_type,
        size_bytes,
        mode: format!("{:04o}", entry.node.mode),
        modified_at: info::timestamp(info::system_time(entry.node.mtime)),
        link_target,
    }
}

fn no_file(path: &GuestPath, kind: &NodeKind) -> Failure {
    let what = match kind {
        NodeKind::Directory => "a directory".to_owned(),
        NodeKind::Symlink { target } => {
            format!("a symbolic link to {}", String::from_utf8_lossy(target).escape_debug())
        }
        _ => "a device, pipe or socket".to_owned(),
    };
    let failure = Failure::new(Code::TypeConflict, format!("{path} is no regular file"))
        .because(format!("it is {what}"));
    match kind {
        NodeKind::Directory => {
            failure.fix("list it with `pyro workspace file list`, or take it with `pyro workspace export`")
        }
        NodeKind::Symlink { .. } => failure.fix("name the file that it leads to"),
        _ => failure.fix("read it with a command: `pyro workspace exec`"),
    }
}
