//! A workspace's life: made, used, stopped, started, deleted.

use std::time::Instant;

use super::doomed::Doomed;
use super::figure::{Figure, Samples};
use super::{launch, step};
use crate::{Failure, Pyro};

/// Samples of lives.
#[derive(Debug, Default)]
pub(super) struct Workspaces {
    launch: Samples,
    launch_prepare: Samples,
    create: Samples,
    create_prepare: Samples,
    create_per_launch: Samples,
    exec: Samples,
    command: Samples,
    stop: Samples,
    start: Samples,
    delete: Samples,
}

impl Workspaces {
    /// Takes one of each.
    pub(super) async fn sample(&mut self, pyro: &Pyro, environment: &str) -> Result<(), Failure> {
        // Side by side, for the ratio.
        let begun = Instant::now();
        let vm = launch(pyro, environment).await?;
        let launched = begun.elapsed();
        self.launch_prepare.add(step(vm.timings(), "prepare"));
        vm.stop().await?;
        let (mut doomed, created) = Doomed::create(pyro, environment, None).await?;
        if let Some(workspace) = &doomed.workspace {
            self.create_prepare.add(step(workspace.timings(), "prepare"));
        }
        self.launch.add(launched);
        self.create.add(created);
        self.create_per_launch.add_ratio(created, launched);
        // The first command translates and loads what the later ones share.
        doomed.run(&["true"]).await?;
        let (inside, waited) = doomed.run(&["true"]).await?;
        self.command.add(inside);
        self.exec.add(waited);
        if let Some(workspace) = doomed.workspace.take() {
            let begun = Instant::now();
            workspace.stop().await?;
            self.stop.add(begun.elapsed());
        }
        let begun = Instant::now();
        doomed.workspace().await?;
        self.start.add(begun.elapsed());
        self.delete.add(doomed.delete().await?);
        Ok(())
    }

    /// What was measured.
    pub(super) fn figures(self) -> Vec<Figure> {
        vec![
            self.launch.figure("launch, beside each create", "ms"),
            self.launch_prepare.figure("of that, preparation in the guest", "ms"),
            self.create.figure("workspace create, empty", "ms"),
            self.create_prepare.figure("of that, preparation in the guest", "ms"),
            self.create_per_launch.figure("create / launch", "ratio"),
            self.exec.figure("exec of true in a workspace, round trip", "ms"),
            self.command.figure("of that, the command in the guest", "ms"),
            self.stop.figure("workspace stop", "ms"),
            self.start.figure("workspace start", "ms"),
            self.delete.figure("workspace delete, running", "ms"),
        ]
    }
}
