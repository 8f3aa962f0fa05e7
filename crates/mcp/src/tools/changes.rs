//! What changed in a workspace: shown, brought to the host, brought in.

use pyro::limits::{DIFF_FILE_BYTES_MAX, PATCH_BYTES_MAX};
use pyro::results::{AppliedResult, DiffResult, PatchedResult};
use pyro::{Applied, ApplyRequest, Code, DiffRequest, Failure, GuestPath};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Arguments, Effect, Tool};
use crate::answer::{Answer, bounded};
use crate::call::Call;
use crate::limits::{LISTED_MAX, OUTPUT_BYTES_DEFAULT, OUTPUT_BYTES_MAX, PATCH_BYTES_DEFAULT};
use crate::profile::Profile;

pub(super) fn add(tools: &mut Vec<Tool>) {
    tools.push(Tool::new::<Diff>(Profile::WorkspaceCore));
    tools.push(Tool::new::<Apply>(Profile::WorkspaceCore));
    tools.push(Tool::new::<PatchApply>(Profile::WorkspaceCore));
}

fn guest_paths(paths: &[String]) -> Result<Vec<GuestPath>, Failure> {
    paths.iter().map(|path| GuestPath::parse(path.as_ref())).collect()
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Diff {
    workspace_id: String,
    /// Only below these.
    #[serde(default)]
    paths: Vec<String>,
    /// Counts and names only.
    #[serde(default)]
    stat: bool,
    /// First byte of the patch.
    #[serde(default)]
    cursor: u64,
    max_bytes: Option<u64>,
}

/// What changed, with a part of the patch.
#[derive(Debug, Serialize, JsonSchema)]
struct DiffPart {
    #[serde(flatten)]
    diff: DiffResult,
    /// Left-out paths that are not here.
    left_out_more: usize,
    patch_bytes: u64,
    cursor: u64,
    /// The byte to go on from; none at the end.
    next_cursor: Option<u64>,
}

impl Arguments for Diff {
    const NAME: &'static str = "workspace_diff";
    const DESCRIPTION: &'static str = "What changed in /workspace since it was made, as a git patch.";
    const EFFECT: Effect = Effect::Reads;
    type Output = DiffPart;

    async fn run(self, call: &Call) -> Result<Answer<DiffPart>, Failure> {
        let request = DiffRequest { paths: guest_paths(&self.paths)?, file_bytes_max: DIFF_FILE_BYTES_MAX };
        let mut workspace = call.workspace(&self.workspace_id).await?;
        let mut diff = workspace.diff(&request).await?;
        let patch_bytes = if self.stat { 0 } else { diff.patch_bytes()? };
        let bytes_max = self.max_bytes.unwrap_or(PATCH_BYTES_DEFAULT).clamp(1, OUTPUT_BYTES_MAX);
        let cursor = self.cursor.min(patch_bytes);
        let read = diff.patch_part(cursor, bytes_max)?;
        let (part, is_last) = part(&read, cursor + read.len() as u64 == patch_bytes);
        let next_cursor = (!self.stat && !is_last).then_some(cursor + part.len() as u64);
        let mut shown = DiffResult::new(&workspace, &diff, (!self.stat).then_some(part));
        shown.stat = bounded(&shown.stat, OUTPUT_BYTES_DEFAULT as usize).0;
        let more = cut(&mut shown.left_out);
        let text = text_of(&shown, more, next_cursor, patch_bytes);
        Ok(Answer::new(DiffPart { diff: shown, left_out_more: more, patch_bytes, cursor, next_cursor }, text))
    }
}

/// What of the bytes that were read ends with a line, unless there is none to end with; and whether nothing is behind it.
fn part(read: &[u8], is_last: bool) -> (&[u8], bool) {
    if is_last {
        return (read, true);
    }
    let end = read.iter().rposition(|byte| *byte == b'\n').map_or(read.len(), |newline| newline + 1);
    (read.get(..end).unwrap_or(read), false)
}

/// Leaves of a list what fits into an answer, and counts the rest.
fn cut<T>(items: &mut Vec<T>) -> usize {
    let more = items.len().saturating_sub(LISTED_MAX);
    items.truncate(LISTED_MAX);
    more
}

fn text_of(diff: &DiffResult, more: usize, next_cursor: Option<u64>, patch_bytes: u64) -> String {
    let mut text = format!(
        "total={} added={} modified={} deleted={} type_changed={} non_text={}\n",
        diff.total, diff.added, diff.modified, diff.deleted, diff.type_changed, diff.non_text
    );
    for left_out in &diff.left_out {
        text.push_str(&format!("not in the patch: {}: {}\n", left_out.path, left_out.reason));
    }
    if more > 0 {
        text.push_str(&format!("and {more} more are not in the patch: look with paths\n"));
    }
    if diff.changes_in_git > 0 {
        text.push_str(&format!("{} changes inside .git are not in the patch\n", diff.changes_in_git));
    }
    match &diff.patch {
        Some(patch) => text.push_str(patch),
        None => text.push_str(&diff.stat),
    }
    if let Some(next) = next_cursor {
        text.push_str(&format!("[bytes {next} to {patch_bytes} of the patch: go on with cursor={next}]"));
    }
    text
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Apply {
    workspace_id: String,
    /// Default: the project.
    to: Option<String>,
    /// Only below these.
    #[serde(default)]
    paths: Vec<String>,
    /// Look only.
    #[serde(default)]
    dry_run: bool,
}

impl Arguments for Apply {
    const NAME: &'static str = "workspace_apply";
    const DESCRIPTION: &'static str = "Bring the changes of a workspace to the project on the host, all of them or none. \
        Stops at conflicts, and at files that the host runs by itself (hooks, CI): those a person takes over.";
    const EFFECT: Effect = Effect::Destroys;
    type Output = ApplyPart;

    async fn run(self, call: &Call) -> Result<Answer<ApplyPart>, Failure> {
        let project = call.options().project.root().map(|root| root.to_string_lossy().into_owned());
        let Some(to) = self.to.or(project) else {
            return Err(Failure::new(Code::TargetUnusable, "there is no project to bring the changes to")
                .because("the server was started outside a git checkout, without --project-path")
                .fix("take them with workspace_diff"));
        };
        let paths = guest_paths(&self.paths)?;
        let mut workspace = call.workspace(&self.workspace_id).await?;
        let _alone = call.writing_to_host().await;
        let target = call.options().project.writable(&to)?;
        let request = ApplyRequest {
            to: target.place,
            part_of: Some(target.tree.to_owned()),
            paths,
            file_bytes_max: DIFF_FILE_BYTES_MAX,
            dry_run: self.dry_run,
            // What the host runs by itself leaves the guest only when a person says so.
            allow_executable: false,
            temporary: call.options().temporary.clone(),
        };
        let applied = workspace.apply(&request).await?;
        let takes_all = request.paths.is_empty() && applied.left_out.is_empty() && applied.git_left_out == 0;
        if applied.is_written && takes_all {
            call.pyro.note_taken(&workspace)?;
        }
        let blocked = blocked(&applied, workspace.id(), self.dry_run);
        let mut result = AppliedResult::new(&workspace, applied, self.dry_run);
        let lists =
            [&mut result.actions, &mut result.conflicts, &mut result.executables, &mut result.left_out];
        let more = lists.into_iter().map(cut).sum();
        let text = applied_text(&result, more, blocked);
        Ok(Answer::new(ApplyPart { applied: result, more }, text))
    }
}

/// What was done, with as many paths as an answer has.
#[derive(Debug, Serialize, JsonSchema)]
struct ApplyPart {
    #[serde(flatten)]
    applied: AppliedResult,
    /// Paths that are not here.
    more: usize,
}

/// What kept everything from being written, and what to do about it.
fn blocked(applied: &Applied, workspace: &str, dry_run: bool) -> Option<String> {
    if !applied.conflicts.is_empty() {
        return Some("nothing was written: the project has changed where the workspace has too; mend the conflicts in the workspace, or name the paths to take".to_owned());
    }
    if !applied.executables.is_empty() && !applied.is_written {
        let target = applied.target.display();
        return Some(format!(
            "nothing was written: the host may run the executables by itself; name other paths, or have the person run `pyro workspace apply {workspace} --to {target} --allow-executable`"
        ));
    }
    dry_run.then(|| "nothing was written: this was a dry run".to_owned())
}

fn applied_text(result: &AppliedResult, more: usize, blocked: Option<String>) -> String {
    let mut text = format!(
        "applied={} target={} written={} deleted={} merged={} conflicts={} executables={}",
        result.applied,
        result.target.display(),
        result.written,
        result.deleted,
        result.merged,
        result.conflicts.len(),
        result.executables.len()
    );
    let lists = [
        ("", &result.actions),
        ("conflict: ", &result.conflicts),
        ("executable: ", &result.executables),
        ("left out: ", &result.left_out),
    ];
    for (kind, items) in lists {
        for item in items {
            text.push_str(&format!("\n{kind}{} {}", item.what, item.path));
        }
    }
    if more > 0 {
        text.push_str(&format!("\n[{more} more paths: look at some of them with paths and dry_run]"));
    }
    if let Some(blocked) = blocked {
        text.push_str(&format!("\n{blocked}"));
    }
    bounded(&text, 2 * OUTPUT_BYTES_DEFAULT as usize).0
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PatchApply {
    workspace_id: String,
    /// As git writes it.
    patch: String,
}

impl Arguments for PatchApply {
    const NAME: &'static str = "workspace_patch_apply";
    const DESCRIPTION: &'static str = "Apply a unified or git patch in /workspace, all of it or nothing.";
    const EFFECT: Effect = Effect::Destroys;
    type Output = PatchedResult;

    async fn run(self, call: &Call) -> Result<Answer<PatchedResult>, Failure> {
        if self.patch.len() as u64 > PATCH_BYTES_MAX {
            return Err(Failure::new(Code::PatchUnusable, "the patch is too large")
                .fix("bring files of that size in with `pyro workspace sync push`"));
        }
        let mut workspace = call.workspace(&self.workspace_id).await?;
        let patched = workspace.apply_patch(self.patch.as_bytes()).await?;
        let result = PatchedResult::new(&workspace, patched);
        let text = format!(
            "total={} added={} modified={} deleted={}",
            result.total, result.added, result.modified, result.deleted
        );
        Ok(Answer::new(result, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts put together are the patch, and each ends with a line.
    #[test]
    fn parts_are_the_whole() {
        let patch = b"one\ntwo\nthree\n";
        let mut all = Vec::new();
        loop {
            let rest = &patch[all.len()..];
            let read = &rest[..rest.len().min(6)];
            let (part, is_last) = part(read, read.len() == rest.len());
            assert!(part.ends_with(b"\n"));
            all.extend_from_slice(part);
            if is_last {
                break;
            }
        }
        assert_eq!(all, patch);
        assert_eq!(part(b"no newline", false), (&b"no newline"[..], false));
        assert_eq!(part(b"", true), (&b""[..], true));
    }
}
