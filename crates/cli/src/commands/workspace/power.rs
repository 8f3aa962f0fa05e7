//! `pyro workspace start`, `stop`, `pause` and `resume`

use pyro::{Failure, Paused, Pyro, SnapshotTaken, Starting, Stopped, WorkspaceInfo};
use serde::Serialize;

use super::open;
use super::snapshot::costs;
use super::status::show;
use crate::arguments::workspace::One;
use crate::exit::Status;
use crate::{report, terminal};

pub(super) async fn start(pyro: &Pyro, arguments: &One) -> Result<Status, Failure> {
    run(pyro, arguments).await?;
    shown(pyro, arguments).await
}

pub(super) async fn stop(pyro: &Pyro, arguments: &One) -> Result<Status, Failure> {
    if pyro.stop_workspace(&arguments.workspace).await? == Stopped::MemoryDropped {
        note(arguments, "it was paused: its memory was dropped, its disk is as it was then");
    }
    shown(pyro, arguments).await
}

pub(super) async fn pause(pyro: &Pyro, arguments: &One) -> Result<Status, Failure> {
    let taken = match pyro.pause_workspace(&arguments.workspace).await? {
        Paused::Now(taken) => taken,
        Paused::Already => {
            note(arguments, "it is paused already");
            return shown(pyro, arguments).await;
        }
    };
    if arguments.json {
        let workspace = pyro.workspace(&arguments.workspace).await?;
        return Ok(report::written(report::json(&Kept { workspace, taken })));
    }
    let id = pyro.workspace_id(&arguments.workspace)?;
    terminal::note(&format!("[workspace-pause] workspace_id={id}{}", costs(&taken)));
    shown(pyro, arguments).await
}

/// What `pause --json` prints: the workspace, and what it took to pause it.
#[derive(Debug, Serialize)]
struct Kept {
    #[serde(flatten)]
    workspace: WorkspaceInfo,
    #[serde(flatten)]
    taken: SnapshotTaken,
}

pub(super) async fn resume(pyro: &Pyro, arguments: &One) -> Result<Status, Failure> {
    match pyro.workspace(&arguments.workspace).await?.state {
        "started" => note(arguments, "it was not paused: it runs already"),
        "stopped" => note(arguments, "it was stopped, not paused: it starts afresh on its disk"),
        _ => {}
    }
    run(pyro, arguments).await?;
    shown(pyro, arguments).await
}

async fn run(pyro: &Pyro, arguments: &One) -> Result<(), Failure> {
    open(pyro, &arguments.workspace, Starting::IfStopped, true).await.map(drop)
}

async fn shown(pyro: &Pyro, arguments: &One) -> Result<Status, Failure> {
    let info: WorkspaceInfo = pyro.workspace(&arguments.workspace).await?;
    Ok(show(&info, arguments.json))
}

fn note(arguments: &One, text: &str) {
    if !arguments.json {
        terminal::note(&format!("note: {text}"));
    }
}
