//! The changes of a workspace brought back to a directory of the host.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyro_proto::tree::{Item, Record, TreePath};
use pyro_proto::{agent, shim};
use pyro_sync::apply::{ActionKind, ApplyError, ApplyOptions, ConflictKind, HostTree, LeftOutReason, Plan};
use schemars::JsonSchema;
use serde::Serialize;

use super::Workspace;
use super::diff::unreadable;
use super::guest_path::GuestPath;
use crate::failure::chain;
use crate::limits::{APPLY_BYTES_MAX, APPLY_CHANGES_MAX};
use crate::{Code, Failure};

/// What to bring where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyRequest {
    /// The directory.
    pub to: PathBuf,
    /// Only what is at or below these; everything when empty.
    pub paths: Vec<GuestPath>,
    /// A file larger than this is a conflict.
    pub file_bytes_max: u64,
    /// What the directory is a part of, where that is more than the directory itself: files are judged by where they
    /// are in there.
    pub part_of: Option<PathBuf>,
    /// Look, and write nothing.
    pub dry_run: bool,
    /// Write files that the host may run by itself.
    pub allow_executable: bool,
    /// Where contents lie until they are written.
    pub temporary: PathBuf,
}

/// What was done, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The directory.
    pub target: PathBuf,
    /// Whether anything was to be written, and was.
    pub is_written: bool,
    /// Files, links and directories that come or change.
    pub written: u64,
    /// Those that go.
    pub deleted: u64,
    /// Files in which both sides' changes come together.
    pub merged: u64,
    /// Those that are as they should be already.
    pub unchanged: u64,
    /// What is done at which path.
    pub actions: Vec<AppliedPath>,
    /// What kept everything from being written.
    pub conflicts: Vec<AppliedPath>,
    /// Paths among the actions that the host may run by itself, and links that lead out of the directory.
    pub executables: Vec<AppliedPath>,
    /// Changes that stay in the guest.
    pub left_out: Vec<AppliedPath>,
    /// Changes inside `.git`, which stay in the guest too.
    pub git_left_out: u64,
    /// Whether executables kept everything from being written.
    is_refused: bool,
}

/// A path, and a word for what is the matter with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AppliedPath {
    /// Where; bytes that are no UTF-8 are replaced.
    pub path: String,
    /// The word.
    pub what: &'static str,
}

impl Applied {
    /// Whether something kept everything from being written.
    pub fn is_blocked(&self) -> bool {
        self.is_refused || !self.conflicts.is_empty()
    }
}

impl Workspace {
    /// Brings the changes to a directory of the host, as far as it has not moved on in the same places: all of
    /// them, or none.
    pub async fn apply(&mut self, request: &ApplyRequest) -> Result<Applied, Failure> {
        let target = std::path::absolute(&request.to).map_err(|error| {
            Failure::new(Code::TargetUnusable, format!("{} cannot be used", request.to.display()))
                .because(error)
        })?;
        let options = ApplyOptions {
            // The guest sends no others; a hostile one's are passed over.
            paths: request.paths.iter().map(|path| path.as_tree().clone()).collect(),
            file_bytes_max: request.file_bytes_max,
            bytes_max: APPLY_BYTES_MAX,
            changes_max: APPLY_CHANGES_MAX,
            prefix: place_in(request.part_of.as_deref(), &target)?,
            spool_directory: request.temporary.clone(),
        };
        let tree = HostTree::open(&target).map_err(refused)?;
        let mut planner = tree.planner(options).map_err(refused)?;
        let changes = shim::Transfer::Changes(agent::Changes {
            paths: request.paths.iter().map(GuestPath::to_bytes).collect(),
            contents: true,
            file_bytes_max: request.file_bytes_max,
        });
        self.connection.receive_tree(changes, |record| planner.take(&record).map_err(refused)).await?;
        let end = Record { item: Item::End, bytes: Vec::new() };
        planner.take(&end).map_err(refused)?;
        let plan = planner.finish().map_err(refused)?;
        let mut applied = describe(&plan, target);
        let is_harmless = plan.executables.is_empty() && plan.links_outside.is_empty();
        applied.is_refused = !is_harmless && !request.allow_executable;
        if request.dry_run || applied.is_blocked() {
            applied.is_refused = applied.is_refused && !request.dry_run;
            return Ok(applied);
        }
        plan.write(request.allow_executable).map_err(refused)?;
        applied.is_written = true;
        Ok(applied)
    }
}

/// Where a place of the host is in the tree that it is a part of.
pub(super) fn place_in(tree: Option<&Path>, place: &Path) -> Result<TreePath, Failure> {
    let inside = tree.and_then(|tree| place.strip_prefix(tree).ok()).unwrap_or(Path::new(""));
    TreePath::parse(inside.as_os_str().as_bytes()).map_err(|error| {
        Failure::new(Code::TargetUnusable, format!("{} cannot be used", place.display())).because(error)
    })
}

fn describe(plan: &Plan, target: PathBuf) -> Applied {
    let count = |wanted: &[ActionKind]| {
        plan.actions.iter().filter(|action| wanted.contains(&action.kind)).count() as u64
    };
    let executables = plan.executables.iter().map(|found| at(&found.path, found.reason.word()));
    let links = plan.links_outside.iter().map(|path| at(path, "link that leads out"));
    Applied {
        is_written: false,
        written: count(&[ActionKind::Add, ActionKind::Modify, ActionKind::Merge, ActionKind::Mode]),
        deleted: count(&[ActionKind::Delete]),
        merged: count(&[ActionKind::Merge]),
        unchanged: plan.already,
        actions: plan.actions.iter().map(|action| at(&action.path, action_word(action.kind))).collect(),
        conflicts: plan.conflicts.iter().map(|found| at(&found.path, conflict_word(found.kind))).collect(),
        executables: executables.chain(links).collect(),
        left_out: plan.left_out.iter().map(|found| at(&found.path, left_out_word(found.reason))).collect(),
        git_left_out: plan.git_left_out,
        is_refused: false,
        target,
    }
}

fn at(path: &TreePath, what: &'static str) -> AppliedPath {
    AppliedPath { path: String::from_utf8_lossy(path.as_bytes()).into_owned(), what }
}

fn action_word(kind: ActionKind) -> &'static str {
    match kind {
        ActionKind::Add => "add",
        ActionKind::Modify => "modify",
        ActionKind::Merge => "merge",
        ActionKind::Mode => "mode",
        ActionKind::Delete => "delete",
    }
}

fn conflict_word(kind: ConflictKind) -> &'static str {
    match kind {
        ConflictKind::Content => "changed on both sides",
        ConflictKind::Type => "is something else there",
        ConflictKind::Missing => "is gone there",
        ConflictKind::Exists => "has come to be there too",
        ConflictKind::TooLarge => "is larger than --max-file-bytes",
    }
}

fn left_out_word(reason: LeftOutReason) -> &'static str {
    match reason {
        LeftOutReason::Special => "device, pipe or socket",
        LeftOutReason::NotEmpty => "directory with other things in it",
    }
}

fn refused(error: ApplyError) -> Failure {
    let text = chain(&error);
    match error {
        ApplyError::Changes(error) => unreadable(error),
        ApplyError::Directory { .. } => Failure::new(Code::TargetUnusable, text)
            .fix("name a directory that is there and that you may write to"),
        ApplyError::Conflicts { .. } => Failure::new(Code::Conflict, text)
            .fix("solve the conflicts there, or name the paths to take; nothing was written"),
        ApplyError::Executables { .. } => Failure::new(Code::ExecutableFiles, text)
            .fix("look at them, then give --allow-executable; nothing was written"),
        ApplyError::HostChanged(_) => Failure::new(Code::Conflict, text)
            .fix("run the command again when nothing else writes there; nothing was written"),
        ApplyError::TooManyChanges { .. } | ApplyError::TooManyBytes { .. } => {
            Failure::new(Code::TargetUnusable, text)
                .fix("name some of the paths, and take the rest in another call")
        }
        ApplyError::Spool(_) => Failure::new(Code::System, text)
            .fix("free some space in the temporary directory, or point TMPDIR elsewhere"),
        ApplyError::Host { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            Failure::new(Code::NoSpace, text).fix("free some space; nothing was written")
        }
        ApplyError::Host { .. } => {
            Failure::new(Code::TargetUnusable, text).fix("make it writable; nothing was written")
        }
        ApplyError::NotTakenBack { .. } => Failure::new(Code::TargetUnusable, text)
            .fix("put the files back from the directory that is named"),
    }
}
