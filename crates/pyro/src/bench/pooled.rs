//! A run that finds a VM parked, beside one that does not.

use std::time::Duration;

use super::figure::{Figure, Samples};
use super::{step, whole_run};
use crate::{Failure, LaunchRequest, Pyro, Shape};

/// Samples of runs with a pool of one, which is emptied in the end.
#[derive(Debug)]
pub(super) struct Pooled {
    pyro: Pyro,
    run: Samples,
    run_per_alone: Samples,
    launch: Samples,
    prepare: Samples,
    idle: Samples,
}

impl Pooled {
    /// None yet.
    pub(super) fn new(pyro: &Pyro) -> Result<Pooled, Failure> {
        Ok(Pooled {
            pyro: pyro.with_pool(1)?,
            run: Samples::default(),
            run_per_alone: Samples::default(),
            launch: Samples::default(),
            prepare: Samples::default(),
            idle: Samples::default(),
        })
    }

    /// Takes one of each; `alone` is what the same took without a pool just now.
    pub(super) async fn sample(&mut self, environment: &str, alone: Duration) -> Result<(), Failure> {
        self.fill(environment).await?;
        if let Some(kib) = self.parked_kib()? {
            self.idle.add_value(kib as f64 / 1024.0);
        }
        let run = whole_run(&self.pyro, environment, &["true"]).await?;
        self.run.add(run);
        self.run_per_alone.add_ratio(run, alone);
        self.fill(environment).await?;
        let request = LaunchRequest {
            environment: environment.to_owned(),
            shape: Shape::DEFAULT,
            ttl_seconds: Some(120),
        };
        let vm = self.pyro.launch(request, |_| {}).await?;
        self.launch.add(step(vm.timings(), "launch"));
        self.prepare.add(step(vm.timings(), "prepare"));
        vm.stop().await?;
        // What comes next is measured with nothing coming up behind its back.
        self.pyro.drain_pool().map(drop)
    }

    async fn fill(&self, environment: &str) -> Result<(), Failure> {
        self.pyro.fill_pool(environment, Shape::DEFAULT, |_| {}).await.map(drop)
    }

    /// Memory that the VMM of the parked VM shares with nothing.
    fn parked_kib(&self) -> Result<Option<u64>, Failure> {
        let parked = self.pyro.pool_status()?.parked;
        let records = self.pyro.store.vms()?;
        let vmm = parked
            .first()
            .and_then(|parked| records.iter().find(|record| record.vm.id.as_str() == parked.vm_id)?.vmm);
        Ok(vmm.and_then(|vmm| private_kib(vmm.pid)))
    }

    /// What was measured.
    pub(super) fn figures(mut self) -> Vec<Figure> {
        let taken = std::mem::take::<Samples>;
        vec![
            taken(&mut self.run).figure("pyro run ... -- true, whole process, parked VM", "ms"),
            taken(&mut self.run_per_alone).figure("with a parked VM / without", "ratio"),
            taken(&mut self.launch).figure("launch from a parked VM", "ms"),
            taken(&mut self.prepare).figure("of that, preparation in the guest", "ms"),
            taken(&mut self.idle).figure("private memory of a parked VM", "MiB"),
        ]
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let _ = self.pyro.drain_pool();
    }
}

/// What a process has written, wherever that lies now (`smaps_rollup`, proc(5)), as a shim counts it.
fn private_kib(pid: u32) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let lines = rollup.lines().filter(|line| line.starts_with("Private_Dirty:") || line.starts_with("Swap:"));
    Some(lines.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()).sum())
}
