//! A patch applied to a workspace: worked out here from the files it names, then put in by one push that
//! expects those files to be as they were. So it is applied whole, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use pyro_patch::{Applied, FileMode, Operation, Patch, Section, apply_file};
use pyro_proto::tree::{Entry, Expect, Item, NodeKind, TreePath};
use pyro_proto::{agent, shim};
use pyro_sync::source::{PushChange, PushNode, SourceError, push_changes};

use super::Workspace;
use super::guest_path::GuestPath;
use super::push::{Feed, unusable};
use super::transfer::malformed;
use crate::limits::PATCH_FILE_BYTES_MAX;
use crate::{Code, Failure};

/// A patch that is in the workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patched {
    /// Files that came, changed or went.
    pub total: u64,
    /// Files that came.
    pub added: u64,
    /// Files that changed.
    pub modified: u64,
    /// Files that went.
    pub deleted: u64,
    /// Their paths; bytes that are no UTF-8 are replaced.
    pub paths: Vec<String>,
}

/// A file or link while the patch is worked out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    bytes: Vec<u8>,
    mode: u32,
    is_symlink: bool,
}

/// A path that the patch speaks of: what the guest has there, and what it is to have.
#[derive(Debug)]
struct Touched {
    /// What is there, by its version; `None` when nothing is.
    version: Option<u64>,
    is_directory: bool,
    before: Option<File>,
    after: Option<File>,
}

/// The tree as far as a patch looks at it.
struct Draft<'a> {
    workspace: &'a mut Workspace,
    touched: BTreeMap<TreePath, Touched>,
}

impl Workspace {
    /// Applies a patch in git's format, or a plain unified diff, to `/workspace`: all of it or nothing.
    pub async fn apply_patch(&mut self, patch: &[u8]) -> Result<Patched, Failure> {
        let patch = Patch::parse(patch).map_err(|error| {
            Failure::new(Code::PatchUnusable, "the patch cannot be read").because(error).fix(
                "give a patch as `git diff --binary` or `pyro workspace diff` writes it; nothing was changed",
            )
        })?;
        let mut draft = Draft { workspace: self, touched: BTreeMap::new() };
        for section in &patch.sections {
            draft.apply(section).await?;
        }
        draft.finish().await
    }
}

impl Draft<'_> {
    async fn apply(&mut self, section: &Section<'_>) -> Result<(), Failure> {
        let source = section.operation.source().map(path).transpose()?;
        let destination = section.operation.destination().map(path).transpose()?;
        let shown = destination.as_ref().or(source.as_ref()).map(shown).unwrap_or_default();
        let misfit = |why: &dyn std::fmt::Display| {
            Failure::new(Code::PatchUnusable, format!("the patch does not apply to {shown}"))
                .because(why)
                .fix("make the patch against what the workspace has now; nothing was changed")
        };
        let place = source.as_ref().or(destination.as_ref()).ok_or_else(|| misfit(&"it names no file"))?;
        self.look(place).await?;
        let before = self.touched.get(place).and_then(|touched| touched.after.clone());
        let bytes_max = usize::try_from(PATCH_FILE_BYTES_MAX).unwrap_or(usize::MAX);
        let applied = apply_file(section, before.as_ref().map(|file| &file.bytes[..]), bytes_max)
            .map_err(|error| misfit(&error))?;
        if let Some(old_mode) = section.old_mode
            && before.as_ref().is_some_and(|file| file.is_symlink != old_mode.is_symlink())
        {
            return Err(misfit(&"it is another kind of file there"));
        }
        if let (Operation::Rename { .. } | Operation::Delete { .. }, Some(source)) =
            (&section.operation, &source)
            && let Some(touched) = self.touched.get_mut(source)
        {
            touched.after = None;
        }
        if let (Applied::Bytes { bytes, mode, .. }, Some(destination)) = (applied, destination) {
            self.look(&destination).await?;
            let is_same = source.as_ref() == Some(&destination);
            let touched = self.touched.get_mut(&destination).ok_or_else(|| misfit(&"it is not there"))?;
            if touched.after.is_some() && !is_same {
                return Err(misfit(&"the file is already there"));
            }
            touched.after = Some(File::new(bytes, mode, before.as_ref()));
        }
        Ok(())
    }

    /// Finds out what is at a path, once.
    async fn look(&mut self, path: &TreePath) -> Result<(), Failure> {
        if self.touched.contains_key(path) {
            return Ok(());
        }
        let guest_path = GuestPath::parse(OsStr::from_bytes(path.as_bytes()))?;
        let mut found: Option<(Entry, Vec<u8>)> = None;
        let exported = self
            .workspace
            .export_entries(&guest_path, 0, Some(PATCH_FILE_BYTES_MAX), |record| {
                match (record.item, &mut found) {
                    (Item::Entry(entry), None) => {
                        found = Some((entry, Vec::new()));
                        Ok(())
                    }
                    (Item::Piece(piece), Some((_, bytes))) => {
                        let offset = usize::try_from(piece.offset).unwrap_or(usize::MAX);
                        if offset < bytes.len() || piece.offset > PATCH_FILE_BYTES_MAX {
                            return Err(malformed(&"pieces out of order"));
                        }
                        bytes.resize(offset, 0);
                        bytes.extend_from_slice(&record.bytes);
                        Ok(())
                    }
                    _ => Err(malformed(&"another thing than the file")),
                }
            })
            .await;
        let touched = match (exported, found) {
            (Ok(()), Some((entry, bytes))) => Touched::of(path, entry, bytes)?,
            (Ok(()), None) => return Err(malformed(&"nothing")),
            (Err(failure), _) if failure.code == Code::PathMissing => Touched::nothing(),
            (Err(failure), _) => return Err(failure),
        };
        self.touched.insert(path.clone(), touched);
        Ok(())
    }

    async fn finish(mut self) -> Result<Patched, Failure> {
        let gone: BTreeSet<TreePath> = self
            .touched
            .iter()
            .filter(|(_, touched)| touched.after.is_none() && touched.before.is_some())
            .map(|(path, _)| path.clone())
            .collect();
        let hollow = self.hollow_directories(&gone).await?;
        let missing = self.missing_directories(&gone, &hollow).await?;
        let mut patched = Patched::default();
        let mut changes = Vec::new();
        for (path, touched) in &self.touched {
            if touched.before == touched.after && !touched.is_directory {
                continue;
            }
            if touched.is_directory && touched.after.is_none() {
                continue; // looked at as a parent
            }
            if touched.is_directory && !hollow.contains(path) {
                return Err(Failure::new(
                    Code::PatchUnusable,
                    format!("the patch does not apply to {}", shown(path)),
                )
                .because("it is a directory with other things in it")
                .fix("make the patch against what the workspace has now; nothing was changed"));
            }
            match (touched.before.is_some(), touched.after.is_some()) {
                (true, true) => patched.modified += 1,
                (false, _) => patched.added += 1,
                (true, false) => patched.deleted += 1,
            }
            patched.paths.push(shown(path));
            changes.push(touched.to_change(path));
        }
        for directory in &hollow {
            if self.touched.get(directory).is_none_or(|touched| touched.after.is_none())
                && !missing.contains(directory)
            {
                changes.push(PushChange {
                    path: directory.clone(),
                    node: None,
                    is_replaced: false,
                    expect: None,
                });
            }
        }
        patched.total = patched.paths.len() as u64;
        if !changes.is_empty() {
            self.push(missing.into_iter().collect(), changes).await?;
        }
        Ok(patched)
    }

    async fn push(self, missing: Vec<TreePath>, changes: Vec<PushChange>) -> Result<(), Failure> {
        let push = shim::Transfer::Push(agent::Push { directory: Vec::new() });
        let source = move |pieces| match push_changes(&missing, &changes, &mut Feed(pieces)) {
            Ok(_) | Err(SourceError::SinkClosed(_)) => Ok(()),
            Err(error) => Err(unusable(error)),
        };
        self.workspace.connection.send_tree(push, source).await?;
        Ok(())
    }

    /// Directories with nothing left in them once these are gone: git keeps none of those.
    async fn hollow_directories(&mut self, gone: &BTreeSet<TreePath>) -> Result<BTreeSet<TreePath>, Failure> {
        let mut hollow = BTreeSet::new();
        // Deepest first, so that a directory whose directories go is seen to be hollow too.
        let mut parents: BTreeSet<(usize, TreePath)> = BTreeSet::new();
        for path in gone {
            parents.extend(ancestors(path).map(|parent| (parent.names().count(), parent)));
        }
        for (_, directory) in parents.into_iter().rev() {
            let comes = self.touched.iter().any(|(path, touched)| {
                touched.after.is_some() && *path != directory && path.is_within(&directory)
            });
            let children = self.children(&directory).await?;
            let all_go = children.iter().all(|child| gone.contains(child) || hollow.contains(child));
            if all_go && !comes && !children.is_empty() {
                hollow.insert(directory);
            }
        }
        Ok(hollow)
    }

    async fn children(&mut self, directory: &TreePath) -> Result<Vec<TreePath>, Failure> {
        let guest_path = GuestPath::parse(OsStr::from_bytes(directory.as_bytes()))?;
        let mut children = Vec::new();
        self.workspace
            .export_entries(&guest_path, 1, None, |record| match record.item {
                Item::Entry(entry) if entry.path.is_root() => Ok(()),
                Item::Entry(entry) => {
                    children.push(directory.join(entry.path.as_bytes()).map_err(|error| malformed(&error))?);
                    Ok(())
                }
                _ => Err(malformed(&"another thing than a directory")),
            })
            .await?;
        Ok(children)
    }

    /// Directories that files come to and that are not there, or go.
    async fn missing_directories(
        &mut self,
        gone: &BTreeSet<TreePath>,
        hollow: &BTreeSet<TreePath>,
    ) -> Result<BTreeSet<TreePath>, Failure> {
        let coming = self.touched.iter().filter(|(_, touched)| touched.after.is_some());
        let parents: BTreeSet<TreePath> = coming.flat_map(|(path, _)| ancestors(path)).collect();
        let mut missing = BTreeSet::new();
        for parent in parents {
            self.look(&parent).await?;
            let is_there = self.touched.get(&parent).is_some_and(|touched| touched.is_directory);
            if !is_there || gone.contains(&parent) || hollow.contains(&parent) {
                missing.insert(parent);
            }
        }
        Ok(missing)
    }
}

impl File {
    fn new(bytes: Vec<u8>, mode: Option<FileMode>, before: Option<&File>) -> File {
        let (mode, is_symlink) = match (mode, before) {
            (Some(FileMode::Regular), _) => (0o644, false),
            (Some(FileMode::Executable), _) => (0o755, false),
            (Some(FileMode::Symlink), _) => (0o777, true),
            (None, Some(before)) => (before.mode, before.is_symlink),
            (None, None) => (0o644, false),
        };
        File { bytes, mode, is_symlink }
    }
}

impl Touched {
    fn nothing() -> Touched {
        Touched { version: None, is_directory: false, before: None, after: None }
    }

    fn of(path: &TreePath, entry: Entry, mut bytes: Vec<u8>) -> Result<Touched, Failure> {
        let mode = entry.node.mode;
        let file = match entry.node.kind {
            NodeKind::Directory => None,
            NodeKind::File { bytes: size } if size > PATCH_FILE_BYTES_MAX => {
                return Err(Failure::new(
                    Code::PatchUnusable,
                    format!("{} is too large to be patched", shown(path)),
                )
                .because(format!("{size} bytes, and {PATCH_FILE_BYTES_MAX} are the most"))
                .fix("bring the file in with `pyro workspace file write`; nothing was changed"));
            }
            NodeKind::File { bytes: size } => {
                bytes.resize(usize::try_from(size).unwrap_or(usize::MAX), 0);
                Some(File { bytes, mode, is_symlink: false })
            }
            NodeKind::Symlink { target } => Some(File { bytes: target, mode, is_symlink: true }),
            NodeKind::HardLink { .. } | NodeKind::Special => {
                return Err(Failure::new(Code::TypeConflict, format!("{} is no regular file", shown(path)))
                    .fix("remove it first; nothing was changed"));
            }
        };
        let is_directory = file.is_none();
        Ok(Touched { version: Some(entry.version), is_directory, after: file.clone(), before: file })
    }

    fn to_change(&self, path: &TreePath) -> PushChange {
        let node = self.after.as_ref().map(|file| match file.is_symlink {
            true => PushNode::Symlink { target: file.bytes.clone() },
            false => PushNode::File { bytes: file.bytes.clone(), mode: file.mode },
        });
        // A directory's version changes with what is in it, and its files are expected one by one.
        let expect = (!self.is_directory).then(|| Expect { path: path.clone(), version: self.version });
        PushChange { path: path.clone(), node, is_replaced: self.is_directory, expect }
    }
}

/// The directories above a path, without the root.
fn ancestors(path: &TreePath) -> impl Iterator<Item = TreePath> {
    std::iter::successors(path.split().map(|(parent, _)| parent), |path| {
        path.split().map(|(parent, _)| parent)
    })
    .filter(|path| !path.is_root())
}

fn path(bytes: &[u8]) -> Result<TreePath, Failure> {
    TreePath::parse(bytes.to_vec()).map_err(|error| {
        Failure::new(Code::PathOutside, format!("the patch names {}", bytes.escape_ascii()))
            .because(format!("that {error}"))
            .fix("give a patch whose paths stay below /workspace; nothing was changed")
    })
}

fn shown(path: &TreePath) -> String {
    String::from_utf8_lossy(path.as_bytes()).into_owned()
}
