//! `pyro refill`: fills the pool behind the back of a command that is over, which has started it.

use pyro::{Failure, Pyro, Shape};

use crate::arguments::Refill;
use crate::exit::Status;

pub(crate) async fn run(pyro: &Pyro, arguments: &Refill) -> Result<Status, Failure> {
    // The person's Ctrl-C, and the end of the terminal, are not meant for it.
    let _ = rustix::process::setsid();
    let shape = Shape::parse(arguments.vcpu_count, arguments.mem_mib)?;
    pyro.refill(&arguments.environment, shape).await?;
    Ok(Status::SUCCESS)
}
