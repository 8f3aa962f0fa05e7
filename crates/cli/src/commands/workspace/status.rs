//! `pyro workspace status`

use pyro::{Failure, Pyro, WorkspaceInfo};

use super::block::{block, more};
use crate::arguments::workspace::One;
use crate::exit::Status;
use crate::{report, terminal};

pub(super) async fn run(pyro: &Pyro, arguments: &One) -> Result<Status, Failure> {
    let info = pyro.workspace(&arguments.workspace).await?;
    Ok(show(&info, arguments.json))
}

pub(super) fn show(info: &WorkspaceInfo, json: bool) -> Status {
    let written = if json { report::json(info) } else { terminal::result(&(block(info) + &more(info))) };
    report::written(written)
}
