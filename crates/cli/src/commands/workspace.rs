//! `pyro workspace`: one file per command.

mod apply;
mod block;
mod create;
mod delete;
mod diff;
mod exec;
mod export;
mod file;
mod fork;
mod gc;
mod list;
mod logs;
mod patch;
mod power;
mod push;
mod reset;
mod service;
mod shell;
mod snapshot;
mod status;
mod summary;
mod update;

use std::ffi::OsString;

use indicatif::ProgressBar;
use pyro::{Failure, GuestPath, Notice, Pyro, Starting};

use crate::arguments::Workspace;
use crate::arguments::workspace::{Connected, File, Patch, Snapshot, Sync};
use crate::commands::env;
use crate::exit::Status;
use crate::interrupt::unless_interrupted;
use crate::terminal;
use crate::untrusted::printable;

pub(crate) async fn run(pyro: &Pyro, arguments: Workspace) -> Result<Status, Failure> {
    match arguments {
        Workspace::Create(arguments) => create::run(pyro, arguments).await,
        Workspace::List(arguments) => list::run(pyro, &arguments).await,
        Workspace::Status(arguments) => status::run(pyro, &arguments).await,
        Workspace::Update(arguments) => update::run(pyro, arguments).await,
        Workspace::Logs(arguments) => logs::run(pyro, &arguments).await,
        Workspace::Summary(arguments) => unless_interrupted(summary::run(pyro, &arguments)).await,
        Workspace::Exec(arguments) => exec::run(pyro, arguments).await,
        Workspace::Shell(arguments) => shell::run(pyro, arguments).await,
        Workspace::Service(arguments) => service::run(pyro, arguments).await,
        Workspace::Sync(Sync::Push(arguments)) => unless_interrupted(push::run(pyro, &arguments)).await,
        Workspace::Diff(arguments) => unless_interrupted(diff::run(pyro, &arguments)).await,
        Workspace::Apply(arguments) => unless_interrupted(apply::run(pyro, &arguments)).await,
        Workspace::Export(arguments) => unless_interrupted(export::run(pyro, &arguments)).await,
        Workspace::File(File::List(arguments)) => unless_interrupted(file::list(pyro, &arguments)).await,
        Workspace::File(File::Read(arguments)) => unless_interrupted(file::read(pyro, &arguments)).await,
        Workspace::File(File::Write(arguments)) => unless_interrupted(file::write(pyro, arguments)).await,
        Workspace::Patch(Patch::Apply(arguments)) => unless_interrupted(patch::apply(pyro, arguments)).await,
        Workspace::Start(arguments) => unless_interrupted(power::start(pyro, &arguments)).await,
        Workspace::Stop(arguments) => power::stop(pyro, &arguments).await,
        Workspace::Pause(arguments) => power::pause(pyro, &arguments).await,
        Workspace::Resume(arguments) => unless_interrupted(power::resume(pyro, &arguments)).await,
        Workspace::Snapshot(Snapshot::Create(arguments)) => {
            unless_interrupted(snapshot::create(pyro, &arguments)).await
        }
        Workspace::Snapshot(Snapshot::List(arguments)) => snapshot::list(pyro, &arguments),
        Workspace::Snapshot(Snapshot::Delete(arguments)) => snapshot::delete(pyro, &arguments),
        Workspace::Reset(arguments) => unless_interrupted(reset::run(pyro, arguments)).await,
        Workspace::Fork(arguments) => unless_interrupted(fork::run(pyro, arguments)).await,
        Workspace::Gc { json } => gc::run(pyro, json),
        Workspace::Delete(arguments) => delete::run(pyro, &arguments).await,
    }
}

pub(crate) fn wants_json(arguments: &Workspace) -> bool {
    match arguments {
        Workspace::Create(arguments) => arguments.json,
        Workspace::List(arguments) => arguments.json,
        Workspace::Status(arguments)
        | Workspace::Start(arguments)
        | Workspace::Stop(arguments)
        | Workspace::Pause(arguments)
        | Workspace::Resume(arguments)
        | Workspace::Snapshot(Snapshot::List(arguments)) => arguments.json,
        Workspace::Snapshot(Snapshot::Create(arguments)) => arguments.connected.one.json,
        Workspace::Snapshot(Snapshot::Delete(arguments)) => arguments.one.json,
        Workspace::Reset(arguments) => arguments.one.json,
        Workspace::Fork(arguments) => arguments.one.json,
        Workspace::Gc { json } => *json,
        Workspace::Update(arguments) => arguments.one.json,
        Workspace::Logs(arguments) => arguments.one.json,
        Workspace::Summary(arguments) => arguments.one.json,
        Workspace::Exec(arguments) => arguments.connected.one.json,
        Workspace::Shell(arguments) => shell::wants_json(arguments),
        Workspace::Service(arguments) => service::wants_json(arguments),
        Workspace::Sync(Sync::Push(arguments)) => arguments.json,
        Workspace::Diff(arguments) => arguments.connected.one.json,
        Workspace::Apply(arguments) => arguments.connected.one.json,
        Workspace::Export(arguments) => arguments.connected.one.json,
        Workspace::File(File::List(arguments)) => arguments.connected.one.json,
        Workspace::File(File::Read(arguments)) => arguments.connected.one.json,
        Workspace::File(File::Write(arguments)) => arguments.connected.one.json,
        Workspace::Patch(Patch::Apply(arguments)) => arguments.connected.one.json,
        Workspace::Delete(arguments) => arguments.json,
    }
}

/// Connects to a workspace; one that is stopped or paused is started, unless `--no-start` was given.
async fn connect(pyro: &Pyro, connected: &Connected) -> Result<pyro::Workspace, Failure> {
    let starting = if connected.no_start { Starting::Never } else { Starting::IfStopped };
    open(pyro, &connected.one.workspace, starting, connected.one.json).await
}

/// The same for commands with flags of their own.
async fn open(
    pyro: &Pyro,
    workspace: &str,
    starting: Starting,
    json: bool,
) -> Result<pyro::Workspace, Failure> {
    if starting == Starting::IfStopped {
        pull_what_is_lacking(pyro, workspace).await?;
    }
    let bar = terminal::progress_bar();
    let opened = pyro.open_workspace(workspace, starting, tell_starts(pyro, &bar, workspace, json)).await;
    bar.finish_and_clear();
    opened
}

/// A workspace's VM needs the kernel of its environment.
async fn pull_what_is_lacking(pyro: &Pyro, workspace: &str) -> Result<(), Failure> {
    match pyro.workspace_lacks(workspace)? {
        Some(environment) => env::pull(pyro, &environment).await.map(drop),
        None => Ok(()),
    }
}

/// Tells people what takes long, and programs that a VM starts.
fn tell_starts<'a>(
    pyro: &'a Pyro,
    bar: &'a ProgressBar,
    workspace: &'a str,
    json: bool,
) -> impl FnMut(Notice<'_>) + 'a {
    move |notice| match notice {
        Notice::MakingTemplate => {
            bar.set_message("first use of this shape: booting it once");
            bar.enable_steady_tick(terminal::TICK);
        }
        Notice::Starting { .. } if !json => {
            let id = pyro.workspace_id(workspace).unwrap_or_default();
            bar.suspend(|| terminal::note(&format!("[workspace-start] workspace_id={id}")));
        }
        Notice::ServiceFailed { name, failure } => bar.suspend(|| {
            let id = pyro.workspace_id(workspace).unwrap_or_default();
            terminal::note(&format!("[workspace-start] workspace_id={id} service={name} state=failed"));
            terminal::note(&format!("warning: {}", printable(failure.to_string().as_bytes())));
        }),
        Notice::Starting { .. } | Notice::Seeding => {}
    }
}

fn guest_paths(paths: &[OsString]) -> Result<Vec<GuestPath>, Failure> {
    paths.iter().map(|path| GuestPath::parse(path)).collect()
}
