//! One call of a tool: the core as it finds it, and what tools have in common.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use pyro::{
    Cancel, Code, Exec, Failure, Pyro, Seed, SeedRules, Source, Starting, Workspace, WorkspaceInfo,
    parse_seconds, working_directory,
};
use tokio::sync::MutexGuard;

use crate::engine::{Engine, Options};
use crate::limits::{OUTPUT_BYTES_DEFAULT, OUTPUT_BYTES_MAX};
use crate::progress::Report;

/// What a tool works with.
#[derive(Debug)]
pub(crate) struct Call {
    /// The core.
    pub(crate) pyro: Pyro,
    /// Where it says how far it is.
    pub(crate) report: Report,
    engine: Engine,
}

/// A pull whose caller is gone ends.
struct CalledOff(Cancel);

impl Drop for CalledOff {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Call {
    pub(crate) fn open(engine: Engine, report: Report) -> Result<Call, Failure> {
        Ok(Call { pyro: Pyro::open(engine.options().config.clone())?, report, engine })
    }

    pub(crate) fn options(&self) -> &Options {
        self.engine.options()
    }

    /// Nobody else's writing changes what a path of the host means while this is held.
    pub(crate) async fn writing_to_host(&self) -> MutexGuard<'_, ()> {
        self.engine.host_writes().lock().await
    }

    /// Connects to a workspace; one that is stopped or paused is started.
    pub(crate) async fn workspace(&self, reference: &str) -> Result<Workspace, Failure> {
        if let Some(environment) = self.pyro.workspace_lacks(reference)? {
            self.pull(environment).await?;
        }
        self.pyro.open_workspace(reference, Starting::IfStopped, |notice| self.report.notice(notice)).await
    }

    /// A workspace as it stands.
    pub(crate) async fn info(&self, reference: &str) -> Result<WorkspaceInfo, Failure> {
        self.pyro.workspace(reference).await
    }

    /// Sees to it that an environment is installed.
    pub(crate) async fn environment(&self, name: &str) -> Result<(), Failure> {
        match self.pyro.is_installed(name)? {
            true => Ok(()),
            false => self.pull(name.to_owned()).await,
        }
    }

    /// Cleans up by itself when it is called off, which takes longer than its caller would wait.
    async fn pull(&self, name: String) -> Result<(), Failure> {
        let cancel = Cancel::new();
        let _when_dropped = CalledOff(cancel.clone());
        let (config, report) = (self.options().config.clone(), self.report.clone());
        let pulling = self.engine.spawn(move || async move {
            Pyro::open(config)?.pull(&name, Arc::new(report), cancel).await.map(drop)
        });
        pulling.await
    }

    /// A directory or archive of the project to be copied into a guest, opened: what its path means from now on is of no
    /// interest any more.
    pub(crate) async fn source(&self, path: &str, with_ignored: bool) -> Result<Source, Failure> {
        let _alone = self.writing_to_host().await;
        let project = &self.options().project;
        let place = project.readable(path)?;
        let rules = match with_ignored {
            true => SeedRules::Everything,
            false => SeedRules::Gitignore(self.options().git_rules.clone()),
        };
        // It looks through a whole tree.
        let opening = tokio::task::spawn_blocking(move || Source::open(&Seed { path: place, rules })).await;
        let source = opening
            .unwrap_or_else(|error| Err(Failure::new(Code::System, "the call broke off").because(error)))?;
        project.holds(Path::new(path), source.path())?;
        Ok(source)
    }
}

/// A line for the guest's shell, as what the guest is asked for.
pub(crate) fn shell_line(
    command: &str,
    directory: Option<&OsStr>,
    timeout_seconds: u64,
) -> Result<Exec, Failure> {
    let timeout_seconds = parse_seconds("timeout_seconds", timeout_seconds)?;
    Ok(Exec {
        argv: ["sh", "-c", command].map(|word| word.as_bytes().to_vec()).to_vec(),
        environment: Vec::new(),
        directory: directory.map(|directory| directory.as_bytes().to_vec()),
        user: None,
        terminal: None,
        stdin: false,
        timeout_ms: Some(timeout_seconds * 1000),
    })
}

/// The words that a line runs as.
pub(crate) fn words(command: &str) -> [&str; 3] {
    ["sh", "-c", command]
}

/// Where something runs.
pub(crate) fn directory(cwd: Option<&str>) -> OsString {
    working_directory(cwd.map(OsStr::new))
}

/// Bytes of each output that an answer may have.
pub(crate) fn output_bytes(asked: Option<u64>) -> usize {
    asked.unwrap_or(OUTPUT_BYTES_DEFAULT).min(OUTPUT_BYTES_MAX) as usize
}
