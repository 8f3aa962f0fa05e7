//! A Python with the official client of the Model Context Protocol in it, at the versions that `tests/mcp/requirements.txt`
//! names. Made once, beside the environment that all tests share.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{Call, Machine, PYRO, cache};

/// The scripts, and what they need.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/mcp");

/// The lock of those who make it.
const LOCK: &str = "tests.lock";

/// The file that says of what it was made, written last.
const LIST: &str = "python.list";

impl Machine {
    /// A script of `tests/mcp`, in an empty directory of this machine.
    pub(crate) fn script(&self, name: &str) -> Call {
        let place = self.root().join("script");
        fs::create_dir(&place).unwrap();
        let mut python = Command::new(shared());
        self.surround(&mut python);
        python.env("PYRO", PYRO).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
        python.arg(Path::new(SCRIPTS).join(name)).current_dir(place);
        Call::new(python)
    }
}

/// Its interpreter.
fn shared() -> &'static Path {
    static SHARED: OnceLock<PathBuf> = OnceLock::new();
    SHARED.get_or_init(|| {
        let place = cache::place();
        let mut name = place.file_name().unwrap().to_owned();
        name.push("-python");
        let place = place.with_file_name(name);
        fs::create_dir_all(&place).unwrap();
        let lock = File::options().append(true).create(true).open(place.join(LOCK)).unwrap();
        lock.lock().unwrap();
        let requirements = Path::new(SCRIPTS).join("requirements.txt");
        let list =
            told(Command::new("python3").arg("--version")) + &fs::read_to_string(&requirements).unwrap();
        let python = place.join("venv/bin/python");
        if fs::read_to_string(place.join(LIST)).ok().as_ref() != Some(&list) {
            let _ = fs::remove_file(place.join(LIST));
            told(Command::new("python3").args(["-m", "venv", "--clear"]).arg(place.join("venv")));
            let install =
                ["-m", "pip", "install", "--quiet", "--no-cache-dir", "--disable-pip-version-check"];
            told(Command::new(&python).args(install).arg("--requirement").arg(&requirements));
            fs::write(place.join(LIST), list).unwrap();
        }
        python
    })
}

/// What a command says that must succeed.
fn told(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let wrong = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "the client for the tests cannot be made: {command:?}: {wrong}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}
