//! Whether snapshots and resets take as long with a full disk as with an empty one.

use std::sync::Arc;
use std::time::Duration;

use super::doomed::Doomed;
use super::figure::{Figure, Samples};
use super::forest::Forest;
use super::trees::{LARGE, plant};
use crate::{Failure, Pyro};

/// What a full one has beside 100,000 files: 4 GiB in one file.
const FILL: &str = "dd if=/dev/zero of=big bs=1M count=4096 status=none && sync";

/// The snapshot that both are set back to.
const REST: &str = "rest";

/// Samples of both.
#[derive(Debug, Default)]
pub(super) struct Flatness {
    snapshot_empty: Samples,
    snapshot_full: Samples,
    snapshot_full_per_empty: Samples,
    reset_empty: Samples,
    reset_full: Samples,
    reset_full_per_empty: Samples,
}

impl Flatness {
    /// Takes `samples` of each, in turn.
    pub(super) async fn measure(
        pyro: &Pyro,
        environment: &str,
        samples: u32,
        mut on_progress: impl FnMut(u64, u64, &str),
    ) -> Result<Flatness, Failure> {
        let mut flatness = Flatness::default();
        let total = u64::from(samples);
        on_progress(0, total, "filling a disk");
        let forest = Arc::new(Forest::new()?);
        let seed = plant(&forest, "full", LARGE).await?;
        let (mut empty, _) = Doomed::create(pyro, environment, None).await?;
        let (mut full, _) = Doomed::create(pyro, environment, Some(&seed)).await?;
        full.run(&["sh", "-c", FILL]).await?;
        for doomed in [&mut empty, &mut full] {
            doomed.snapshot(REST).await?;
            doomed.reset(REST).await?;
        }
        for sample in 0..samples {
            on_progress(u64::from(sample), total, "snapshots and resets");
            let few = snapshot_and_reset(&mut empty).await?;
            let many = snapshot_and_reset(&mut full).await?;
            flatness.snapshot_empty.add(few.0);
            flatness.snapshot_full.add(many.0);
            flatness.snapshot_full_per_empty.add_ratio(many.0, few.0);
            flatness.reset_empty.add(few.1);
            flatness.reset_full.add(many.1);
            flatness.reset_full_per_empty.add_ratio(many.1, few.1);
        }
        empty.delete().await?;
        full.delete().await?;
        Ok(flatness)
    }

    /// What was measured.
    pub(super) fn figures(self) -> Vec<Figure> {
        vec![
            self.snapshot_empty.figure("snapshot create, empty workspace", "ms"),
            self.snapshot_full.figure("snapshot create, 100,000 files, 4 GiB", "ms"),
            self.snapshot_full_per_empty.figure("snapshot create, full / empty", "ratio"),
            self.reset_empty.figure("reset, empty workspace", "ms"),
            self.reset_full.figure("reset, 100,000 files, 4 GiB", "ms"),
            self.reset_full_per_empty.figure("reset, full / empty", "ratio"),
        ]
    }
}

/// One of each, with the guest at rest; the disk has as many layers afterwards as before.
async fn snapshot_and_reset(doomed: &mut Doomed<'_>) -> Result<(Duration, Duration), Failure> {
    doomed.run(&["sync"]).await?;
    let (snapshot, _) = doomed.snapshot("sample").await?;
    let reset = doomed.reset(REST).await?;
    doomed.forget("sample")?;
    Ok((snapshot, reset))
}
