//! A workspace of a measurement: it is gone when the measurement is, however that ends.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{command, directories_of, to_end};
use crate::{CreateRequest, Failure, GuestPath, Progress, Pyro, Seed, SeedRules, Shape, Source, Workspace};

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
        let request = CreateRequest {
            environment: environment.to_owned(),
            shape: Shape::DEFAULT,
            ttl_seconds: TTL_SECONDS,
            name: None,
            labels: Vec::new(),
            seed: seed.map(everything_of),
        };
        let begun = Instant::now();
        let workspace = pyro.create_workspace(request, &Progress::default(), |_| {}).await?;
        let took = begun.elapsed();
        let doomed =
            Doomed { pyro, id: workspace.id().to_owned(), is_gone: false, workspace: Some(workspace) };
        Ok((doomed, took))
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
