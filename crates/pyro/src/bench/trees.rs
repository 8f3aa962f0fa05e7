//! Trees into and out of workspaces: seeds, diffs, pushes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::doomed::Doomed;
use super::figure::{Figure, Samples};
use super::forest::{Forest, Plan, place};
use crate::limits::DIFF_FILE_BYTES_MAX;
use crate::{Code, DiffRequest, Failure, GuestPath, Pyro};

/// A push takes half a minute under emulation: one for so many samples of a diff.
const SAMPLES_PER_PUSH: u32 = 10;

/// Files that are changed, each in a directory of its own.
const CHANGED: u32 = 10;

const SMALL: Plan = Plan { directories: 10, files_per_directory: 10, file_bytes: 200 };
pub(super) const LARGE: Plan = Plan { directories: 1_000, files_per_directory: 100, file_bytes: 200 };
/// 200 MB in 10,000 files.
const PUSHED: Plan = Plan { directories: 100, files_per_directory: 100, file_bytes: 20_000 };

/// Samples of transfers.
#[derive(Debug, Default)]
pub(super) struct Trees {
    seed_small: Samples,
    seed_large: Samples,
    diff_small: Samples,
    diff_large: Samples,
    diff_per_small: Samples,
    push: Samples,
    tar: Samples,
    tar_synced: Samples,
    push_speed: Samples,
    push_speed_synced: Samples,
}

impl Trees {
    /// Takes `samples` of diffs and a tenth of pushes.
    pub(super) async fn measure(
        pyro: &Pyro,
        environment: &str,
        samples: u32,
        mut on_progress: impl FnMut(u64, u64, &str),
    ) -> Result<Trees, Failure> {
        let mut trees = Trees::default();
        let pushes = samples.div_ceil(SAMPLES_PER_PUSH);
        let (total, mut done) = (u64::from(pushes + samples), 0);
        on_progress(done, total, "writing trees");
        let forest = Arc::new(Forest::new()?);
        let pushed = plant(&forest, "pushed", PUSHED).await?;
        for _ in 0..pushes {
            on_progress(done, total, "pushing");
            trees.push(pyro, environment, &pushed).await?;
            done += 1;
        }
        let (small, large) = (plant(&forest, "small", SMALL).await?, plant(&forest, "large", LARGE).await?);
        on_progress(done, total, "seeding");
        let (mut small, took) = Doomed::create(pyro, environment, Some(&small)).await?;
        trees.seed_small.add(took);
        let (mut large, took) = Doomed::create(pyro, environment, Some(&large)).await?;
        trees.seed_large.add(took);
        // What only the first diff of a VM does is not counted.
        change_and_diff(&mut small).await?;
        change_and_diff(&mut large).await?;
        for _ in 0..samples {
            on_progress(done, total, "comparing");
            let (few, many) = (change_and_diff(&mut small).await?, change_and_diff(&mut large).await?);
            trees.diff_small.add(few);
            trees.diff_large.add(many);
            trees.diff_per_small.add_ratio(many, few);
            done += 1;
        }
        small.delete().await?;
        large.delete().await?;
        Ok(trees)
    }

    /// A push beside `tar -x` of the same tree from a file of the guest.
    async fn push(&mut self, pyro: &Pyro, environment: &str, source: &Path) -> Result<(), Failure> {
        let (mut doomed, _) = Doomed::create(pyro, environment, None).await?;
        let pushed = doomed.push(source, &GuestPath::parse(OsStr::new("pushed"))?).await?;
        doomed
            .run(&["sh", "-c", "tar -c -C pushed -f tree.tar . && rm -rf pushed && mkdir tar && sync"])
            .await?;
        let (unpacked, unpacked_synced) = doomed.run(&["tar", "-x", "-C", "tar", "-f", "tree.tar"]).await?;
        doomed.delete().await?;
        self.push.add(pushed);
        self.tar.add(unpacked);
        self.tar_synced.add(unpacked_synced);
        self.push_speed.add_ratio(unpacked, pushed);
        self.push_speed_synced.add_ratio(unpacked_synced, pushed);
        Ok(())
    }

    /// What was measured.
    pub(super) fn figures(self) -> Vec<Figure> {
        vec![
            self.seed_small.figure("workspace create, seed of 100 files", "ms"),
            self.seed_large.figure("workspace create, seed of 100,000 files", "ms"),
            self.diff_small.figure("diff of 10 files among 100", "ms"),
            self.diff_large.figure("diff of 10 files among 100,000", "ms"),
            self.diff_per_small.figure("diff among 100,000 / among 100", "ratio"),
            self.push.figure("push of 200 MB in 10,000 files", "ms"),
            self.tar.figure("tar -x of the same in the guest", "ms"),
            self.tar_synced.figure("tar -x, until it is on the disk", "ms"),
            self.push_speed.figure("speed of push / of tar -x", "ratio"),
            self.push_speed_synced.figure("speed of push / of tar -x to the disk", "ratio"),
        ]
    }
}

pub(super) async fn plant(forest: &Arc<Forest>, name: &'static str, plan: Plan) -> Result<PathBuf, Failure> {
    let forest = Arc::clone(forest);
    let planted = tokio::task::spawn_blocking(move || forest.plant(name, plan)).await;
    planted.map_err(|error| Failure::new(Code::System, "writing the trees failed").because(error))?
}

/// Changes one file in each of ten directories, and takes the diff.
async fn change_and_diff(doomed: &mut Doomed<'_>) -> Result<Duration, Failure> {
    let files: Vec<String> = (0..CHANGED).map(|directory| place(directory, 0)).collect();
    let script = format!("for file in {}; do echo changed >> $file; done", files.join(" "));
    doomed.run(&["sh", "-c", &script]).await?;
    let workspace = doomed.workspace().await?;
    let begun = Instant::now();
    let request = DiffRequest { paths: Vec::new(), file_bytes_max: DIFF_FILE_BYTES_MAX };
    let diff = workspace.diff(&request).await?;
    let took = begun.elapsed();
    if diff.stats.len() == files.len() {
        return Ok(took);
    }
    Err(Failure::new(Code::System, format!("a diff shows {} files of {CHANGED}", diff.stats.len())))
}
