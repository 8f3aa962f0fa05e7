//! The installed environment that tests share: made once by a real pull, then used by every run of the suite.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{DEBIAN, Machine, PYRO};

/// A cache directory with the environment installed. Two first tests at once wait for each other by pyro's
/// own lock.
pub(crate) fn shared() -> &'static Path {
    static SHARED: OnceLock<PathBuf> = OnceLock::new();
    SHARED.get_or_init(|| {
        let cache = place();
        let machine = Machine::bare(&cache);
        let mut pull = Command::new(PYRO);
        machine.surround(&mut pull);
        let pulled = pull.args(["env", "pull", DEBIAN]).output().unwrap();
        assert!(
            pulled.status.success(),
            "the pull for the tests failed: {}",
            String::from_utf8_lossy(&pulled.stderr)
        );
        cache
    })
}

/// Beside what cargo builds, so that `cargo clean` removes it; elsewhere where somebody says so.
pub(super) fn place() -> PathBuf {
    match std::env::var_os("PYRO_TEST_CACHE_DIR") {
        Some(place) => PathBuf::from(place),
        None => Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("test-cache"),
    }
}

/// Copies environments and kernels, without templates.
pub(crate) fn copy_to(place: &Path) {
    copy_parts_to(place, &["environments", "kernels", "guest", "blank"]);
}

/// Copies parts of it, holes staying holes.
pub(super) fn copy_parts_to(place: &Path, parts: &[&str]) {
    std::fs::create_dir_all(place).unwrap();
    for part in parts {
        let from = shared().join(part);
        if from.exists() {
            let copied = Command::new("cp")
                .args(["--archive", "--reflink=auto", "--sparse=always"])
                .arg(&from)
                .arg(place)
                .status()
                .unwrap();
            assert!(copied.success(), "{} could not be copied", from.display());
        }
    }
}
