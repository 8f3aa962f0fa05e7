//! `pyro workspace diff`

use pyro::results::{DiffResult, whole_patch};
use pyro::{Diff, DiffRequest, Failure, Pyro, Workspace};

use super::{connect, guest_paths};
use crate::arguments::workspace::Diff as Arguments;
use crate::exit::Status;
use crate::untrusted::printable;
use crate::{report, terminal};

/// Left-out paths that are named on a terminal; the rest are counted.
const LEFT_OUT_NAMED_MAX: usize = 20;

pub(super) async fn run(pyro: &Pyro, arguments: &Arguments) -> Result<Status, Failure> {
    let request =
        DiffRequest { paths: guest_paths(&arguments.paths)?, file_bytes_max: arguments.max_file_bytes };
    let mut workspace = connect(pyro, &arguments.connected).await?;
    let mut diff = workspace.diff(&request).await?;
    let is_whole = diff.left_out.is_empty() && diff.git_changes == 0;
    let takes_all = request.paths.is_empty() && !arguments.stat && is_whole;
    if arguments.connected.one.json {
        let patch = if arguments.stat { None } else { Some(whole_patch(&mut diff)?) };
        let result = DiffResult::new(&workspace, &diff, patch.as_deref());
        return taken(pyro, &workspace, takes_all, report::written(report::json(&result)));
    }
    let summary = &diff.summary;
    // Only where there is something: an empty diff is told from one that could not carry everything.
    let left_out = match diff.left_out.len() {
        0 => String::new(),
        count => format!(" left_out={count}"),
    };
    terminal::note(&format!(
        "[workspace-diff] workspace_id={} total={} added={} modified={} deleted={} type_changed={} text_patched={} non_text={}{left_out}",
        workspace.id(),
        summary.total,
        summary.added,
        summary.modified,
        summary.deleted,
        summary.type_changed,
        summary.text_patched,
        summary.non_text
    ));
    tell_left_out(&diff);
    if arguments.stat {
        return Ok(report::written(terminal::result(&diff.stat_table())));
    }
    let written = report::written(terminal::copy_to_stdout(&mut diff.patch()?));
    taken(pyro, &workspace, takes_all, written)
}

/// A patch that is out, whole, needs no asking when the workspace is deleted.
fn taken(pyro: &Pyro, workspace: &Workspace, takes_all: bool, written: Status) -> Result<Status, Failure> {
    if takes_all && written == Status::SUCCESS {
        pyro.note_taken(workspace)?;
    }
    Ok(written)
}

/// What the patch does not carry, said on standard error: a patch is never silently less than the changes.
fn tell_left_out(diff: &Diff) {
    for left_out in diff.left_out.iter().take(LEFT_OUT_NAMED_MAX) {
        terminal::note(&format!("note: not in the patch: {}: {}", printable(&left_out.path), left_out.why));
    }
    let rest = diff.left_out.len().saturating_sub(LEFT_OUT_NAMED_MAX);
    if rest > 0 {
        terminal::note(&format!("note: and {rest} more, see --json"));
    }
    if diff.git_changes > 0 {
        terminal::note(&format!(
            "note: changes inside .git are not in the patch ({}); `pyro workspace export` takes them",
            diff.git_changes
        ));
    }
}
