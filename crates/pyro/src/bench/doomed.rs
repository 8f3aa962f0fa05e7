//! A workspace of a measurement: it is gone when the measurement is, however that ends.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{command, directories_of, to_end};
use crate::{
    CreateRequest, Failure, ForkRequest, Forks, GuestPath, Progress, Pyro, ResetRequest, Seed, SeedRules,
    Shape, SnapshotScope, SnapshotTaken, Source, Workspace,
};

/// The VM of a measurement that was killed stops so long after.
const TTL_SECONDS: u64 = 600;

/// A workspace that is deleted when it is dropped.
#[derive(Debug)]
pub(super) struct Doomed<'a> {
    pyro: &'a Pyro,
    id: String,
    is_gone: bool,
    /// The connection to it while it runs.
    pub(super) workspace: Option<Workspace>,
}

impl<'a> Doomed<'a> {
    /// Makes one; gives what that took.
    pub(super) async fn create(
        pyro: &'a Pyro,
        environment: &str,
        seed: Option<&Path>,
    ) -> Result<(Doomed<'a>, Duration), Failure> {
        let begun = Instant::now();
        let request = CreateRequest {
            environment: environment.to_owned(),
            shape: Shape::DEFAULT,
            ttl_seconds: TTL_SECONDS,
            name: None,
            labels: Vec::new(),
            seed: seed.map(|path| Source::open(&everything_of(path))).transpose()?,
        };
        let workspace = pyro.create_workspace(request, &Progress::default(), |_| {}).await?;
        let took = begun.elapsed();
        let doomed =
            Doomed { pyro, id: workspace.id().to_owned(), is_gone: false, workspace: Some(workspace) };
        Ok((doomed, took))
    }

    /// A workspace that is there already, and is to go.
    fn of(pyro: &'a Pyro, id: String) -> Doomed<'a> {
        Doomed { pyro, id, is_gone: false, workspace: None }
    }

    /// Takes a snapshot of its disk; gives what that took, and what is told of it.
    pub(super) async fn snapshot(&mut self, name: &str) -> Result<(Duration, SnapshotTaken), Failure> {
        let workspace = self.workspace().await?;
        let begun = Instant::now();
        let taken = workspace.snapshot(name, SnapshotScope::Disk).await?;
        Ok((begun.elapsed(), taken))
    }

    /// Deletes a snapshot.
    pub(super) fn forget(&self, name: &str) -> Result<(), Failure> {
        self.pyro.delete_snapshot(&self.id, name).map(drop)
    }

    /// Sets it back to a snapshot; gives what that took.
    pub(super) async fn reset(&mut self, name: &str) -> Result<Duration, Failure> {
        self.workspace = None;
        let request = ResetRequest { snapshot: Some(name.to_owned()), scope: SnapshotScope::DiskAndMemory };
        let begun = Instant::now();
        let (workspace, _) = self.pyro.reset_workspace(&self.id, &request, |_| {}).await?;
        let took = begun.elapsed();
        self.workspace = Some(workspace);
        Ok(took)
    }

    /// Makes a copy of a snapshot, or of itself as it runs; gives what is told of it.
    pub(super) async fn fork(&self, snapshot: Option<&str>) -> Result<(Forks, Vec<Doomed<'a>>), Failure> {
        let request = ForkRequest {
            snapshot: snapshot.map(str::to_owned),
            scope: SnapshotScope::DiskAndMemory,
            count: 1,
            name: None,
            labels: Vec::new(),
        };
        let forks = self.pyro.fork_workspace(&self.id, &request, |_| {}).await?;
        let doomed = forks.forks.iter().map(|fork| Doomed::of(self.pyro, fork.workspace_id.clone()));
        let doomed = doomed.collect();
        Ok((forks, doomed))
    }

    /// Pauses it; gives what that took.
    pub(super) async fn pause(&mut self) -> Result<Duration, Failure> {
        self.workspace = None;
        let begun = Instant::now();
        self.pyro.pause_workspace(&self.id).await?;
        Ok(begun.elapsed())
    }

    /// The workspace, started where it does not run.
    pub(super) async fn workspace(&mut self) -> Result<&mut Workspace, Failure> {
        let workspace = match self.workspace.take() {
            Some(workspace) => workspace,
            None => self.pyro.open_workspace(&self.id, crate::Starting::IfStopped, |_| {}).await?,
        };
        Ok(self.workspace.insert(workspace))
    }

    /// Runs a command; gives what it took in the guest, and what its client waited.
    pub(super) async fn run(&mut self, argv: &[&str]) -> Result<(Duration, Duration), Failure> {
        let workspace = self.workspace().await?;
        let begun = Instant::now();
        let inside = to_end(workspace.exec(command(argv))?).await?;
        Ok((inside, begun.elapsed()))
    }

    /// Pushes a directory; gives what that took from its first look at it.
    pub(super) async fn push(&mut self, source: &Path, to: &GuestPath) -> Result<Duration, Failure> {
        let workspace = self.workspace().await?;
        let begun = Instant::now();
        workspace.push(Source::open(&everything_of(source))?, to, &Progress::default()).await?;
        Ok(begun.elapsed())
    }

    /// Deletes it, running or not; gives what that took.
    pub(super) async fn delete(mut self) -> Result<Duration, Failure> {
        self.workspace = None;
        let begun = Instant::now();
        self.pyro.delete_workspace(&self.id).await?;
        self.is_gone = true;
        Ok(begun.elapsed())
    }
}

impl Drop for Doomed<'_> {
    /// What is called off awaits nothing any more: another process does it, and this one waits for that.
    fn drop(&mut self) {
        if self.is_gone {
            return;
        }
        let _ = Command::new(&self.pyro.config.program)
            .args(["workspace", "delete", "--yes", &self.id])
            .envs(directories_of(self.pyro))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

fn everything_of(path: &Path) -> Seed {
    Seed { path: path.to_owned(), rules: SeedRules::Everything }
}
