//! `pyro workspace delete`

use pyro::results::Deleted;
use pyro::{Code, Failure, Pyro};

use crate::arguments::workspace::Delete;
use crate::exit::Status;
use crate::{report, terminal};

pub(super) async fn run(pyro: &Pyro, arguments: &Delete) -> Result<Status, Failure> {
    // All of them are found and asked about before the first goes.
    for workspace in &arguments.workspaces {
        let info = pyro.workspace(workspace).await?;
        if !arguments.yes && pyro.has_untaken_changes(workspace)? {
            confirm(info.name.as_deref().unwrap_or(&info.workspace_id))?;
        }
    }
    let mut deleted = Vec::new();
    for workspace in &arguments.workspaces {
        deleted.push(pyro.delete_workspace(workspace).await?);
        if let (false, Some(id)) = (arguments.json, deleted.last()) {
            terminal::result(&format!("Deleted workspace: {id}")).map_err(|error| {
                Failure::new(Code::System, "standard output cannot be written").because(error)
            })?;
        }
    }
    if arguments.json {
        return Ok(report::written(report::json(&Deleted { deleted })));
    }
    Ok(Status::SUCCESS)
}

/// Asks a person; a program must have said `--yes`, or taken the changes.
fn confirm(workspace: &str) -> Result<(), Failure> {
    let question = format!(
        "The workspace {workspace} may have changed since its changes were last taken out. Delete it? [y/N] "
    );
    match terminal::ask(&question) {
        Some(answer) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        Some(_) => Err(Failure::new(Code::Interrupted, "nothing was deleted")
            .fix("take the changes with `pyro workspace diff` or `export`, or delete with --yes")),
        None => Ok(()),
    }
}
