//! `pyro completions`

use clap::CommandFactory;

use crate::arguments::{Arguments, Completions};
use crate::exit::Status;
use crate::{report, terminal};

pub(crate) fn run(arguments: &Completions) -> Status {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "pyro", &mut script);
    report::written(terminal::result(&String::from_utf8_lossy(&script)))
}
