//! `pyro host`: the configuration of the programs that start `pyro mcp serve`.
//!
//! It owns one entry in each of their files and touches nothing else there. It never runs a host.

mod change;
mod command;
mod difference;
mod doctor;
mod document;
mod file;
mod host_kind;
mod json;
mod limits;
mod lines;
mod place;
mod print_config;
mod probe;
mod shape;
mod toml;
mod wanted;

use pyro::Failure;

use crate::arguments::Host;
use crate::exit::Status;
use crate::settings;

pub(super) fn run(arguments: &Host) -> Result<Status, Failure> {
    let settings = settings::of_hosts()?;
    match arguments {
        Host::Connect(arguments) => change::connect(&settings, arguments),
        Host::PrintConfig(arguments) => print_config::run(&settings, arguments),
        Host::Doctor(arguments) => doctor::run(&settings, arguments),
        Host::Repair(arguments) => change::repair(&settings, arguments),
    }
}

pub(super) fn wants_json(arguments: &Host) -> bool {
    match arguments {
        Host::Connect(arguments) | Host::Repair(arguments) => arguments.json,
        Host::Doctor(arguments) => arguments.json,
        Host::PrintConfig(_) => false,
    }
}
