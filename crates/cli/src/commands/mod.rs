//! One file per command. Each turns arguments into calls of the `pyro` crate and results into words.

mod bench;
mod completions;
mod demo;
mod doctor;
mod env;
mod gc;
mod host;
mod mcp;
mod pool;
mod refill;
mod run;
mod shim;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use pyro::{AcceleratorChoice, Code, Failure, Pyro};

use crate::arguments::{Arguments, Command};
use crate::exit::Status;
use crate::{report, settings, terminal};

/// Runs the command that `arguments` ask for.
pub(crate) fn dispatch(arguments: Vec<OsString>) -> ExitCode {
    // Supervisors outlive the command: a lock or a pipe of the caller's must not live on in them. A kernel that
    // cannot do it starts no VM either.
    let _ = pyro::keep_descriptors();
    terminal::restore_on_panic();
    let parsed = match Arguments::try_parse_from(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => return refuse(&error, &arguments).into(),
    };
    // Commands that need no state work even where there is none.
    match parsed.command {
        Command::Completions(completions) => return completions::run(&completions).into(),
        Command::Shim => return shim::run(),
        _ => {}
    }
    let json = wants_json(&parsed.command);
    let done = match &parsed.command {
        Command::Host(arguments) => host::run(arguments),
        _ => with_state(parsed),
    };
    match done {
        Ok(status) => status,
        Err(failure) => report::failure(&failure, json),
    }
    .into()
}

fn with_state(parsed: Arguments) -> Result<Status, Failure> {
    let config = settings::from_environment(parsed.accelerator.map(AcceleratorChoice::from))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new(Code::System, "the asynchronous runtime could not be started").because(error)
    })?;
    let status = runtime.block_on(async {
        if let Command::Doctor(arguments) = &parsed.command {
            return doctor::run(config, arguments).await;
        }
        if let Command::Mcp(arguments) = parsed.command {
            return mcp::run(config, arguments).await;
        }
        let pyro = Pyro::open(config)?;
        match parsed.command {
            Command::Env(arguments) => env::run(&pyro, arguments).await,
            Command::Run(arguments) => run::run(&pyro, arguments).await,
            Command::Workspace(arguments) => workspace::run(&pyro, arguments).await,
            Command::Pool(arguments) => pool::run(&pyro, arguments).await,
            Command::Gc(arguments) => gc::run(&pyro, &arguments),
            Command::Refill(arguments) => refill::run(&pyro, &arguments).await,
            Command::Demo(arguments) => demo::run(&pyro, &arguments).await,
            Command::Bench(arguments) => bench::run(&pyro, &arguments).await,
            Command::Doctor(_)
            | Command::Host(_)
            | Command::Mcp(_)
            | Command::Completions(_)
            | Command::Shim => Ok(Status::SUCCESS),
        }
    });
    // A thread may still be blocked reading a terminal; it must not hold up the end.
    runtime.shutdown_background();
    terminal::restore();
    status
}

fn wants_json(command: &Command) -> bool {
    use crate::arguments::{Env, Pool};
    match command {
        Command::Doctor(arguments) => arguments.json,
        Command::Run(arguments) => arguments.json,
        Command::Workspace(arguments) => workspace::wants_json(arguments),
        Command::Host(arguments) => host::wants_json(arguments),
        Command::Demo(arguments) => arguments.json,
        Command::Bench(arguments) => arguments.json,
        Command::Env(
            Env::List { json, .. }
            | Env::Pull { json, .. }
            | Env::Inspect { json, .. }
            | Env::Remove { json, .. }
            | Env::Prune { json },
        ) => *json,
        Command::Pool(Pool::Status { json } | Pool::Drain { json }) => *json,
        Command::Pool(Pool::Fill(arguments)) => arguments.json,
        Command::Gc(arguments) => arguments.json,
        Command::Completions(_) | Command::Mcp(_) | Command::Shim | Command::Refill(_) => false,
    }
}

/// Shows what clap has to say, and for the commonest mistake what to write instead.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> Status {
    let _ = error.print();
    if let Some(hint) = separator_hint(error, arguments) {
        terminal::note(&hint);
    }
    match error.exit_code() {
        0 => Status::SUCCESS,
        _ => Status::USAGE,
    }
}

/// `pyro run debian:12 git --version` lacks only its `--`.
fn separator_hint(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let example = match arguments.iter().find(|argument| *argument == "run" || *argument == "exec") {
        Some(word) if word == "run" => "pyro run debian:12 -- git --version",
        Some(_) => "pyro workspace exec NAME -- git --version",
        None => return None,
    };
    let has_separator = arguments.iter().any(|argument| argument == "--");
    if has_separator
        || !matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument)
    {
        return None;
    }
    Some(format!("hint: the command for the guest goes behind `--`, as in `{example}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(line: &[&str]) -> Option<String> {
        let arguments: Vec<OsString> = line.iter().map(OsString::from).collect();
        let error = Arguments::try_parse_from(&arguments).unwrap_err();
        separator_hint(&error, &arguments)
    }

    /// A forgotten `--` is the commonest mistake: the error shows the line to write.
    #[test]
    fn a_forgotten_separator_is_explained() {
        assert!(hint(&["pyro", "run", "debian:12", "git"]).unwrap().contains("-- git --version"));
        assert!(hint(&["pyro", "run", "debian:12"]).is_some());
        assert!(hint(&["pyro", "workspace", "exec", "w", "git"]).unwrap().contains("workspace exec"));
        assert!(hint(&["pyro", "run", "--nonsense", "debian:12", "--", "x"]).is_none());
        assert!(hint(&["pyro", "env", "frobnicate"]).is_none());
    }
}
