//! `pyro`: disposable computers for coding agents.

mod arguments;
mod commands;
mod exit;
mod interrupt;
mod pump;
mod report;
mod settings;
mod terminal;
mod untrusted;

fn main() -> std::process::ExitCode {
    commands::dispatch(std::env::args_os().collect())
}
