//! `pyro`: disposable computers for coding agents.

mod arguments;
mod commands;
mod exec_request;
mod exit;
mod interrupt;
mod outcome;
mod pump;
mod report;
mod settings;
mod sizes;
mod terminal;
mod terminal_guard;
mod untrusted;

fn main() -> std::process::ExitCode {
    commands::dispatch(std::env::args_os().collect())
}
