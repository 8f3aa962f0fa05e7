//! Snapshots, resets, copies, pauses.

use std::time::{Duration, Instant};

use super::doomed::Doomed;
use super::figure::{Figure, Samples};
use crate::{Failure, Pyro};

/// Samples of what is done with whole computers.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    snapshot: Samples,
    write: Samples,
    snapshot_standstill: Samples,
    reset: Samples,
    fork: Samples,
    reset_per_fork: Samples,
    live_fork: Samples,
    standstill: Samples,
    memory: Samples,
    pause: Samples,
    resume: Samples,
}

impl Snapshots {
    /// Takes one of each.
    pub(super) async fn sample(&mut self, pyro: &Pyro, environment: &str) -> Result<(), Failure> {
        let (mut doomed, _) = Doomed::create(pyro, environment, None).await?;
        doomed.run(&["true"]).await?;
        let (took, taken) = doomed.snapshot("checkpoint").await?;
        self.snapshot.add(took);
        self.write.add(milliseconds(taken.write_ms));
        self.snapshot_standstill.add(milliseconds(taken.standstill_ms));
        // The first of all makes the template of its kind, and is not counted.
        if self.fork.is_empty() {
            doomed.reset("checkpoint").await?;
        }
        let (fork, copies) = doomed.fork(Some("checkpoint")).await?;
        let forked = milliseconds(fork.duration_ms);
        delete(copies).await?;
        let reset = doomed.reset("checkpoint").await?;
        self.reset.add(reset);
        self.fork.add(forked);
        self.reset_per_fork.add_ratio(reset, forked);
        doomed.run(&["true"]).await?;
        let (fork, copies) = doomed.fork(None).await?;
        self.live_fork.add(milliseconds(fork.duration_ms));
        self.standstill.add(milliseconds(fork.standstill_ms.unwrap_or_default()));
        self.memory.add_value(fork.memory_bytes.unwrap_or_default() as f64 / (1024.0 * 1024.0));
        delete(copies).await?;
        self.pause.add(doomed.pause().await?);
        let begun = Instant::now();
        doomed.workspace().await?;
        self.resume.add(begun.elapsed());
        doomed.delete().await.map(drop)
    }

    /// What was measured.
    pub(super) fn figures(self) -> Vec<Figure> {
        vec![
            self.snapshot.figure("snapshot create", "ms"),
            self.write.figure("of that, the guest writes what is left", "ms"),
            self.snapshot_standstill.figure("of that, the guest cannot write", "ms"),
            self.reset.figure("workspace reset", "ms"),
            self.fork.figure("workspace fork of a snapshot", "ms"),
            self.reset_per_fork.figure("reset / fork", "ratio"),
            self.live_fork.figure("workspace fork, live", "ms"),
            self.standstill.figure("of that, the source stands still", "ms"),
            self.memory.figure("memory copied meanwhile", "MiB"),
            self.pause.figure("workspace pause", "ms"),
            self.resume.figure("workspace resume", "ms"),
        ]
    }
}

async fn delete(copies: Vec<Doomed<'_>>) -> Result<(), Failure> {
    for copy in copies {
        copy.delete().await?;
    }
    Ok(())
}

fn milliseconds(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
}
