//! At most two tests have VMs at a time, in whatever threads and processes they run: each holds a lock file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Tests with VMs at a time.
const SLOTS: usize = 2;

/// A whole run of the suite takes less; only a hung test makes another wait this long.
const WAIT_SECONDS_MAX: Duration = Duration::from_secs(3600);

const RECHECK_MS: Duration = Duration::from_millis(20);

/// The right to have VMs, until dropped.
#[derive(Debug)]
pub(crate) struct Slots {
    _held: Vec<File>,
}

impl Slots {
    /// Waits for one place.
    pub(crate) fn one() -> Slots {
        let paths = paths();
        let deadline = Instant::now() + WAIT_SECONDS_MAX;
        loop {
            if let Some(file) = paths.iter().find_map(|path| lock(path)) {
                return Slots { _held: vec![file] };
            }
            assert!(Instant::now() < deadline, "no place for a VM came free");
            sleep(RECHECK_MS);
        }
    }

    /// Waits for all of them, for a test that starts many VMs itself. Always in one order, so that two such
    /// tests do not hold each other up for ever.
    pub(crate) fn all() -> Slots {
        let held = paths().into_iter().map(|path| {
            let file = open(&path);
            file.lock().unwrap();
            file
        });
        Slots { _held: held.collect() }
    }
}

fn paths() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(directory).unwrap();
    (0..SLOTS).map(|slot| directory.join(format!("vm-slot-{slot}"))).collect()
}

fn lock(path: &Path) -> Option<File> {
    let file = open(path);
    file.try_lock().ok().map(|()| file)
}

fn open(path: &Path) -> File {
    File::options().read(true).append(true).create(true).open(path).unwrap()
}
