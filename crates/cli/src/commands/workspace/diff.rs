//! `pyro workspace diff`

use std::io::Read;

use pyro::{Diff, DiffRequest, Failure, Pyro, Workspace};
use serde_json::{Value, json};

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
        let value = value(&workspace, &mut diff, arguments.stat)?;
        return taken(pyro, &workspace, takes_all, report::written(report::json(&value)));
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

fn value(workspace: &Workspace, diff: &mut Diff, stat: bool) -> Result<Value, Failure> {
    let mut patch = Vec::new();
    if !stat {
        diff.patch()?.read_to_end(&mut patch).map_err(|error| {
            Failure::new(pyro::Code::System, "the patch cannot be read back").because(error)
        })?;
    }
    let is_exact = std::str::from_utf8(&patch).is_ok();
    let summary = &diff.summary;
    let left_out: Vec<Value> = diff
        .left_out
        .iter()
        .map(|left_out| json!({ "path": String::from_utf8_lossy(&left_out.path), "reason": left_out.why }))
        .collect();
    let mut value = json!({
        "workspace_id": workspace.id(),
        "total": summary.total,
        "added": summary.added,
        "modified": summary.modified,
        "deleted": summary.deleted,
        "type_changed": summary.type_changed,
        "text_patched": summary.text_patched,
        "non_text": summary.non_text,
        "left_out": left_out,
        "changes_in_git": diff.git_changes,
        "stat": diff.stat_table(),
    });
    if let (false, Some(fields)) = (stat, value.as_object_mut()) {
        fields.insert("patch".to_owned(), String::from_utf8_lossy(&patch).into());
        // Files that are no UTF-8 make patches that are none: JSON cannot hold those exactly.
        fields.insert("patch_is_exact".to_owned(), is_exact.into());
    }
    Ok(value)
}
