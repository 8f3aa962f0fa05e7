//! Files that came, went, or were looked at.

use std::io::Read;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::Origin;
use crate::{
    Applied, AppliedPath, Code, Diff, Exported, Failure, FileEntry, FileRead, GuestPath, Patched, Pushed,
    Workspace,
};

/// Host files that are in a workspace.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PushedResult {
    /// The workspace.
    pub workspace_id: String,
    /// `directory` or `archive`.
    pub mode: &'static str,
    /// Where they came from.
    pub source: PathBuf,
    /// Where they are.
    pub destination: String,
    /// Files, directories and links.
    pub entry_count: u64,
    /// Bytes of the files.
    pub bytes_written: u64,
    /// Where that was done.
    #[serde(flatten)]
    pub origin: Origin,
}

impl PushedResult {
    /// The result of a push.
    pub fn new(workspace: &Workspace, destination: &GuestPath, pushed: Pushed) -> PushedResult {
        PushedResult {
            workspace_id: workspace.id().to_owned(),
            mode: pushed.mode,
            source: pushed.source,
            destination: destination.to_string(),
            entry_count: pushed.entries,
            bytes_written: pushed.bytes,
            origin: workspace.into(),
        }
    }
}

/// What changed in a workspace.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DiffResult {
    /// The workspace.
    pub workspace_id: String,
    /// Changes in the patch.
    pub total: u64,
    /// What came.
    pub added: u64,
    /// What has other contents or permissions.
    pub modified: u64,
    /// What went.
    pub deleted: u64,
    /// What is another kind of thing now.
    pub type_changed: u64,
    /// Changes that are shown line by line.
    pub text_patched: u64,
    /// The others.
    pub non_text: u64,
    /// What changed and is not in the patch.
    pub left_out: Vec<LeftOutPath>,
    /// Changes inside `.git`, which no patch carries.
    pub changes_in_git: u64,
    /// How much changes, file by file.
    pub stat: String,
    /// The patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
    /// Whether the patch is as it was made: one of files that are no UTF-8 cannot be shown exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_is_exact: Option<bool>,
}

/// A change that a patch does not carry.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LeftOutPath {
    /// Where.
    pub path: String,
    /// Why.
    pub reason: String,
}

impl DiffResult {
    /// The result of a diff; `patch` is what is shown of it.
    pub fn new(workspace: &Workspace, diff: &Diff, patch: Option<&[u8]>) -> DiffResult {
        let summary = &diff.summary;
        let left_out = diff.left_out.iter().map(|left_out| LeftOutPath {
            path: String::from_utf8_lossy(&left_out.path).into_owned(),
            reason: left_out.why.clone(),
        });
        DiffResult {
            workspace_id: workspace.id().to_owned(),
            total: summary.total,
            added: summary.added,
            modified: summary.modified,
            deleted: summary.deleted,
            type_changed: summary.type_changed,
            text_patched: summary.text_patched,
            non_text: summary.non_text,
            left_out: left_out.collect(),
            changes_in_git: diff.git_changes,
            stat: diff.stat_table(),
            patch: patch.map(|patch| String::from_utf8_lossy(patch).into_owned()),
            patch_is_exact: patch.map(|patch| std::str::from_utf8(patch).is_ok()),
        }
    }
}

/// The whole patch of a diff.
pub fn whole_patch(diff: &mut Diff) -> Result<Vec<u8>, Failure> {
    let mut patch = Vec::new();
    diff.patch()?
        .read_to_end(&mut patch)
        .map_err(|error| Failure::new(Code::System, "the patch cannot be read back").because(error))?;
    Ok(patch)
}

/// Changes that were brought to a directory of the host, or kept from it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AppliedResult {
    /// The workspace.
    pub workspace_id: String,
    /// The directory.
    pub target: PathBuf,
    /// Whether this was a look only.
    pub dry_run: bool,
    /// Whether anything was written.
    pub applied: bool,
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
    /// What the host may run by itself.
    pub executables: Vec<AppliedPath>,
    /// Changes that stay in the guest.
    pub left_out: Vec<AppliedPath>,
    /// Changes inside `.git`, which stay in the guest too.
    pub changes_in_git: u64,
}

impl AppliedResult {
    /// The result of an apply.
    pub fn new(workspace: &Workspace, applied: Applied, dry_run: bool) -> AppliedResult {
        AppliedResult {
            workspace_id: workspace.id().to_owned(),
            target: applied.target,
            dry_run,
            applied: applied.is_written,
            written: applied.written,
            deleted: applied.deleted,
            merged: applied.merged,
            unchanged: applied.unchanged,
            actions: applied.actions,
            conflicts: applied.conflicts,
            executables: applied.executables,
            left_out: applied.left_out,
            changes_in_git: applied.git_left_out,
        }
    }
}

/// Something that is on the host now.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ExportedResult {
    /// The workspace.
    pub workspace_id: String,
    /// What was copied.
    pub workspace_path: String,
    /// Where it is.
    pub output_path: PathBuf,
    /// `file`, `directory` or `symlink`.
    pub artifact_type: &'static str,
    /// Files, directories and links.
    pub entry_count: u64,
    /// Bytes of the files.
    pub bytes_written: u64,
    /// Devices, pipes and sockets, which stay in the guest.
    pub left_out: Vec<String>,
    /// Where it came from.
    #[serde(flatten)]
    pub origin: Origin,
}

impl ExportedResult {
    /// The result of an export.
    pub fn new(workspace: &Workspace, path: &GuestPath, exported: Exported) -> ExportedResult {
        ExportedResult {
            workspace_id: workspace.id().to_owned(),
            workspace_path: path.to_string(),
            output_path: exported.output,
            artifact_type: exported.artifact_type,
            entry_count: exported.entries,
            bytes_written: exported.bytes,
            left_out: exported.left_out,
            origin: workspace.into(),
        }
    }
}

/// What is in a directory of a workspace.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FileListing {
    /// The workspace.
    pub workspace_id: String,
    /// The directory.
    pub path: String,
    /// Whether what is below its directories is listed too.
    pub recursive: bool,
    /// How many entries are listed.
    pub count: usize,
    /// The entries.
    pub entries: Vec<FileEntry>,
}

/// What is in a file of a workspace.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FileContent {
    /// The workspace.
    pub workspace_id: String,
    /// The file itself, behind whatever links led to it.
    pub path: String,
    /// Bytes it has.
    pub size_bytes: u64,
    /// Bytes that are here.
    pub bytes_read: u64,
    /// Whether that is not all of it.
    pub truncated: bool,
    /// Whether the text is what the file has: bytes that are no UTF-8 are replaced.
    pub content_is_exact: bool,
    /// The text.
    pub content: String,
}

impl FileContent {
    /// The result of a reading.
    pub fn new(workspace: &Workspace, file: FileRead, contents: &[u8]) -> FileContent {
        FileContent {
            workspace_id: workspace.id().to_owned(),
            path: file.path,
            size_bytes: file.total_bytes,
            bytes_read: file.bytes,
            truncated: file.bytes < file.total_bytes,
            content_is_exact: std::str::from_utf8(contents).is_ok(),
            content: String::from_utf8_lossy(contents).into_owned(),
        }
    }
}

/// A file that was written.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FileWritten {
    /// The workspace.
    pub workspace_id: String,
    /// The file.
    pub path: String,
    /// Bytes it has.
    pub bytes_written: u64,
    /// Where it is.
    #[serde(flatten)]
    pub origin: Origin,
}

/// A patch that is in a workspace.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PatchedResult {
    /// The workspace.
    pub workspace_id: String,
    /// Files that came, changed or went.
    pub total: u64,
    /// Those that came.
    pub added: u64,
    /// Those that changed.
    pub modified: u64,
    /// Those that went.
    pub deleted: u64,
    /// All of them.
    pub paths: Vec<String>,
    /// Where they are.
    #[serde(flatten)]
    pub origin: Origin,
}

impl PatchedResult {
    /// The result of a patch.
    pub fn new(workspace: &Workspace, patched: Patched) -> PatchedResult {
        PatchedResult {
            workspace_id: workspace.id().to_owned(),
            total: patched.total,
            added: patched.added,
            modified: patched.modified,
            deleted: patched.deleted,
            paths: patched.paths,
            origin: workspace.into(),
        }
    }
}
