//! `pyro workspace start` and `stop`

use pyro::{Failure, Pyro, Starting};

use super::open;
use super::status::show;
use crate::arguments::workspace::One;
use crate::exit::Status;

pub(super) async fn start(pyro: &Pyro, arguments: &One) -> Result<Status, Failure> {
    drop(open(pyro, &arguments.workspace, Starting::IfStopped, true).await?);
    let info = pyro.workspace(&arguments.workspace).await?;
    Ok(show(&info, arguments.json))
}

pub(super) async fn stop(pyro: &Pyro, arguments: &One) -> Result<Status, Failure> {
    pyro.stop_workspace(&arguments.workspace).await?;
    let info = pyro.workspace(&arguments.workspace).await?;
    Ok(show(&info, arguments.json))
}
