//! Filling the pool behind the back of a command that is over.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use pyro_store::{Directories, FileLock, LockMode};

use crate::environments::image_failure;
use crate::limits::POOL_REFILL_PATIENCE;
use crate::{Failure, Pyro, Shape};

/// Has the pool filled with VMs of one environment and shape when it is dropped, that is at the end of a command,
/// however that ends: by another process, which nobody waits for.
#[derive(Debug)]
#[must_use = "the pool is filled when this is dropped"]
pub struct Refilling<'a> {
    pyro: &'a Pyro,
    environment: String,
    shape: Shape,
}

impl Pyro {
    /// What fills the pool at the end of a command.
    pub fn refill_at_end(&self, environment: &str, shape: Shape) -> Refilling<'_> {
        Refilling { pyro: self, environment: environment.to_owned(), shape }
    }

    /// Parks as many VMs as the pool lacks, in place of the oldest of another shape where it is full of those. What
    /// cannot be parked now another command parks: no template is made for it.
    pub async fn refill(&self, environment: &str, shape: Shape) -> Result<(), Failure> {
        let environment = self.installed(environment)?;
        let _hold = environment.hold().map_err(image_failure)?;
        let guest = self.guest(&environment, shape).await?;
        self.park_missing(&guest, POOL_REFILL_PATIENCE).map(drop)
    }
}

/// The lock of those who fill the pool behind everybody's back, and of who empties it.
pub(super) fn filling_lock(directories: &Directories) -> PathBuf {
    directories.parked().join("filling.lock")
}

impl Drop for Refilling<'_> {
    fn drop(&mut self) {
        let config = &self.pyro.config;
        if config.pool == 0 {
            return;
        }
        // Held by the other process from its first moment to its last: whoever empties the pool waits for it, or has it
        // not begin.
        let filling = FileLock::try_take(&filling_lock(&config.directories), LockMode::Shared);
        let Ok(filling) = filling else { return };
        let mut command = Command::new(&config.program);
        command
            .args(["refill", &self.environment])
            .args([self.shape.vcpu_count().to_string(), self.shape.memory_mib().to_string()])
            .env("PYRO_STATE_DIR", &config.directories.state)
            .env("PYRO_CACHE_DIR", &config.directories.cache)
            .env("PYRO_RUNTIME_DIR", &config.directories.runtime)
            .env("PYRO_ACCELERATOR", config.accelerator.as_str())
            .env("PYRO_TRANSPORT", config.transport.as_str())
            .env("PYRO_POOL", config.pool.to_string())
            .env("PATH", &config.search_path)
            .current_dir("/")
            .stdin(filling.hand_on())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        match &config.vmm {
            Some(path) => command.env("PYRO_QEMU", path),
            None => command.env_remove("PYRO_QEMU"),
        };
        // A pool that is not full harms nobody.
        let Ok(mut child) = command.spawn() else { return };
        // For a process that lives on: what has ended would stay in its table.
        std::thread::spawn(move || child.wait());
    }
}
