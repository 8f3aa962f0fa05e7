//! `pyro workspace gc`

use pyro::{Failure, Pyro};

use crate::commands::gc::{collect, of_workspaces, tell};
use crate::exit::Status;

pub(super) fn run(pyro: &Pyro, json: bool) -> Result<Status, Failure> {
    let freed = collect(|on_pair| pyro.collect_workspaces(on_pair))?;
    Ok(tell(&freed, &of_workspaces(&freed), json))
}
