//! `pyro workspace apply`

use pyro::results::AppliedResult;
use pyro::{Applied, ApplyRequest, Failure, Pyro};

use super::{connect, guest_paths};
use crate::arguments::workspace::Apply;
use crate::exit::Status;
use crate::untrusted::printable;
use crate::{report, settings, terminal};

pub(super) async fn run(pyro: &Pyro, arguments: &Apply) -> Result<Status, Failure> {
    let request = ApplyRequest {
        to: arguments.to.clone(),
        paths: guest_paths(&arguments.paths)?,
        file_bytes_max: arguments.max_file_bytes,
        part_of: None,
        dry_run: arguments.dry_run,
        allow_executable: arguments.allow_executable,
        temporary: settings::temporary_directory(),
    };
    let mut workspace = connect(pyro, &arguments.connected).await?;
    let applied = workspace.apply(&request).await?;
    let takes_all = request.paths.is_empty() && applied.left_out.is_empty() && applied.git_left_out == 0;
    if applied.is_written && takes_all {
        pyro.note_taken(&workspace)?;
    }
    let status = if applied.is_blocked() { Status::FAIL } else { Status::SUCCESS };
    if arguments.connected.one.json {
        let result = AppliedResult::new(&workspace, applied, arguments.dry_run);
        let written = report::written(report::json(&result));
        return Ok(if written == Status::SUCCESS { status } else { written });
    }
    let written = report::written(show(&applied));
    terminal::note(&format!(
        "[workspace-apply] workspace_id={} target={} applied={} written={} deleted={} merged={} unchanged={} conflicts={} executables={} left_out={}",
        workspace.id(),
        applied.target.display(),
        if applied.is_written { "yes" } else { "no" },
        applied.written,
        applied.deleted,
        applied.merged,
        applied.unchanged,
        applied.conflicts.len(),
        applied.executables.len(),
        applied.left_out.len()
    ));
    explain(&applied, arguments);
    Ok(if written == Status::SUCCESS { status } else { written })
}

/// One line per path: what is done to it, or what keeps it from being done, then the path.
fn show(applied: &Applied) -> std::io::Result<()> {
    let lists = [
        (&applied.actions, ""),
        (&applied.conflicts, "conflict: "),
        (&applied.executables, "executable: "),
        (&applied.left_out, "left out: "),
    ];
    let mut text = String::new();
    for (items, kind) in lists {
        for item in items {
            let line = match kind {
                "" => format!("{} {}", item.what, item.path),
                kind => format!("{kind}{} ({})", item.path, item.what),
            };
            text.push_str(&printable(line.as_bytes()).replace('\n', "\\n"));
            text.push('\n');
        }
    }
    if text.is_empty() { Ok(()) } else { terminal::result(&text) }
}

fn explain(applied: &Applied, arguments: &Apply) {
    if applied.git_left_out > 0 {
        terminal::note(&format!(
            "note: changes inside .git stay in the workspace ({}); `pyro workspace export` takes them",
            applied.git_left_out
        ));
    }
    if !applied.conflicts.is_empty() {
        terminal::error(
            "the directory has changed where the workspace has too, and nothing was written; solve the conflicts there, or name the paths to take",
        );
    } else if arguments.dry_run {
        terminal::note("note: this was a dry run, nothing was written");
        if !applied.executables.is_empty() && !arguments.allow_executable {
            terminal::note("note: the files named `executable` will want --allow-executable");
        }
    } else if !applied.executables.is_empty() && !arguments.allow_executable {
        terminal::error(
            "this machine may run the files named `executable` by itself, and nothing was written; look at them with `pyro workspace diff`, then give --allow-executable, or name the paths to take",
        );
    }
}
