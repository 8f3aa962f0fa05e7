//! The environment of tests that need real programs: `debian:12` with an editor, a Python and a PostgreSQL, in a cache of
//! its own beside the one that all tests share. Made once, by a real pull whose archive tool is asked for more packages.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::slots::Slots;
use super::{DEBIAN, Machine, PYRO, cache, executable};

/// What it has beside what `debian:12` has.
const PACKAGES: &str = "postgresql-15,python3,python3-psycopg2,vim";

/// The lock of those who make it.
const LOCK: &str = "tests.lock";

/// The file that says for which packages it was made, written last.
const LIST: &str = "programs.list";

/// A cache directory with the environment installed.
pub(super) fn shared() -> &'static Path {
    static SHARED: OnceLock<PathBuf> = OnceLock::new();
    SHARED.get_or_init(|| {
        let place = cache::place();
        let mut name = place.file_name().unwrap().to_owned();
        name.push("-programs");
        let place = place.with_file_name(name);
        fs::create_dir_all(&place).unwrap();
        let lock = File::options().append(true).create(true).open(place.join(LOCK)).unwrap();
        lock.lock().unwrap();
        if fs::read_to_string(place.join(LIST)).ok().as_deref() != Some(PACKAGES) {
            make(&place);
            fs::write(place.join(LIST), PACKAGES).unwrap();
        }
        place
    })
}

fn make(place: &Path) {
    // What is left of an earlier one, or of one that was not made to its end.
    for entry in fs::read_dir(place).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    // The kernel is the same.
    cache::copy_parts_to(place, &["kernels", "guest", "blank"]);
    let machine = Machine::bare(place).with(Slots::one());
    let tools = asking_for_more();
    let path = std::env::var("PATH").unwrap();
    let mut pull = Command::new(PYRO);
    machine.surround(&mut pull);
    let pulled = pull
        .env("PATH", format!("{}:{path}", tools.path().display()))
        .args(["env", "pull", DEBIAN])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&pulled.stderr).into_owned();
    assert!(pulled.status.success(), "the pull for the tests with programs failed: {told}");
}

/// A directory for the front of `PATH`, with an archive tool that adds packages to those it is asked for.
fn asking_for_more() -> tempfile::TempDir {
    // Whoever the tool becomes on its way has to reach it.
    let mode = fs::Permissions::from_mode(0o755);
    let place = tempfile::Builder::new().prefix("pyro-test-").permissions(mode).tempdir().unwrap();
    let tool = place.path().join("mmdebstrap");
    let own = place.path().display();
    // Its own directory is not searched, or it would find itself.
    let script = format!(
        "#!/bin/sh\nPATH=$(echo \":$PATH:\" | sed 's|:{own}:|:|g')\nexport PATH\nexec mmdebstrap --include={PACKAGES} \"$@\"\n"
    );
    executable(&tool, &script);
    place
}
