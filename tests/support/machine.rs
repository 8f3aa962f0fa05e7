//! One person's pyro on this machine: a state of its own, and the environments that all tests share.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::slots::Slots;
use super::{Call, DEBIAN, cache, leftovers, programs, remains_of, wait_until};

/// A home, state and runtime directory, and where environments are. Dropping it asserts that nothing of any VM
/// is left.
#[derive(Debug)]
pub(crate) struct Machine {
    root: TempDir,
    cache: PathBuf,
    slots: Option<Slots>,
    pool: usize,
}

impl Machine {
    /// With the shared environment, and the right to run a VM.
    pub(crate) fn new() -> Machine {
        Machine::bare(cache::shared()).with(Slots::one())
    }

    /// The same for tests that run many VMs at once.
    pub(crate) fn alone() -> Machine {
        Machine::bare(cache::shared()).with(Slots::all())
    }

    /// With the environment that has more programs in it.
    pub(crate) fn with_programs() -> Machine {
        Machine::bare(programs::shared()).with(Slots::one())
    }

    /// The same for tests that run many VMs at once.
    pub(crate) fn alone_with_programs() -> Machine {
        Machine::bare(programs::shared()).with(Slots::all())
    }

    /// With an environment of its own, that may be damaged, and no template.
    pub(crate) fn with_own_environment() -> Machine {
        let machine = Machine::empty().with(Slots::one());
        cache::copy_to(&machine.cache);
        machine
    }

    /// With the shared environment, and a pool of so many parked VMs beside those that the test runs.
    pub(crate) fn with_pool(count: usize) -> Machine {
        Machine::alone().pooling(count)
    }

    /// The same machine with a pool; without, no VM is ever parked on it.
    pub(crate) fn pooling(mut self, count: usize) -> Machine {
        self.pool = count;
        self
    }

    /// With nothing installed; VMs need [`Machine::for_pulls`].
    pub(crate) fn empty() -> Machine {
        let mut machine = Machine::bare(Path::new(""));
        machine.cache = machine.root.path().join("cache");
        machine
    }

    /// With nothing installed, and no VM running beside it: for what has its own deadlines.
    pub(crate) fn quiet() -> Machine {
        Machine::empty().with(Slots::all())
    }

    /// With nothing installed, and the right to run the VM of a pull.
    pub(crate) fn for_pulls() -> Machine {
        Machine::empty().with(Slots::one())
    }

    /// With a given cache, without the right to run a VM.
    pub(crate) fn bare(cache: &Path) -> Machine {
        let root = tempfile::Builder::new().prefix("pyro-test-").tempdir().unwrap();
        std::fs::create_dir(root.path().join("home")).unwrap();
        Machine { root, cache: cache.to_owned(), slots: None, pool: 0 }
    }

    pub(super) fn with(mut self, slots: Slots) -> Machine {
        self.slots = Some(slots);
        self
    }

    /// The directory everything of this machine is in, the shared cache aside.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// Where environments and templates are.
    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    /// The installed environment's directory.
    pub(crate) fn environment(&self) -> PathBuf {
        self.cache.join("environments/linux-x86_64/debian_12-1.0.0")
    }

    /// A call of pyro.
    pub(crate) fn pyro<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Call {
        let mut command = Command::new(super::PYRO);
        self.surround(&mut command);
        command.args(words);
        Call::new(command)
    }

    /// `pyro run debian:12 -- COMMAND`.
    pub(crate) fn run<W: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = W>) -> Call {
        self.run_with(&[], command)
    }

    /// The same with options.
    pub(crate) fn run_with<W: AsRef<OsStr>>(
        &self,
        options: &[&str],
        command: impl IntoIterator<Item = W>,
    ) -> Call {
        assert!(self.slots.is_some(), "this machine may not run VMs");
        let fixed = ["run", DEBIAN].iter().chain(options).chain(&["--"]).map(OsString::from);
        self.pyro(fixed.chain(command.into_iter().map(|word| word.as_ref().to_owned())))
    }

    /// `pyro run debian:12 -- sh -c SCRIPT`, with time enough for a machine that is swamped.
    pub(crate) fn shell(&self, script: &str) -> Call {
        self.run_with(&["--timeout-seconds", "120"], ["sh", "-c", script])
    }

    /// A program in this machine's environment: nothing else of the tester's own gets in.
    pub(crate) fn surround(&self, command: &mut Command) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("HOME", self.root().join("home"));
        command
            .env("PYRO_STATE_DIR", self.root().join("state"))
            .env("PYRO_RUNTIME_DIR", self.root().join("run"));
        command.env("PYRO_CACHE_DIR", &self.cache);
        command.env("PYRO_ACCELERATOR", super::accelerator()).env("PYRO_TRANSPORT", super::transport());
        command.env("PYRO_POOL", self.pool.to_string());
        // A proxy that the tester needs, pulls need too.
        for name in ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
    }

    /// Waits until nothing of any VM is left, after an end that nobody was there to wait for.
    pub(crate) fn wait_until_clean(&self) {
        wait_until("every process, socket and directory of the VM is gone", || {
            remains_of(self.root()).is_empty()
        });
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.pool > 0 {
            let drained = self.pyro(["pool", "drain"]).finish();
            if !std::thread::panicking() {
                drained.exits(0);
            }
        }
        let remains = remains_of(self.root());
        for process in leftovers::processes_of(self.root()) {
            process.signal(Signal::KILL);
        }
        if !std::thread::panicking() {
            assert!(remains.is_empty(), "left behind: {remains:#?}");
        }
    }
}
