//! The QEMU of this host.

use std::os::unix::fs::MetadataExt;

use pyro_vmm::{Qemu, QemuError};

use crate::failure::chain;
use crate::{Code, Failure, Pyro};

impl Pyro {
    /// QEMU, whose version is asked for once per file.
    pub(crate) fn qemu(&self) -> Result<Qemu, Failure> {
        let path = Qemu::locate(self.config.vmm.as_deref(), &self.config.search_path).map_err(vmm_failure)?;
        let identity = std::fs::metadata(&path).ok();
        let key = identity.map(|file| {
            format!("vmm/{}/{}/{}/{}", path.display(), file.len(), file.mtime(), file.mtime_nsec())
        });
        let known = match &key {
            Some(key) => self.store.fact::<String>(key)?.and_then(|version| version.parse().ok()),
            None => None,
        };
        if let Some(version) = known {
            return Qemu::trusted(path, version).map_err(vmm_failure);
        }
        let qemu = Qemu::discover(Some(&path), &self.config.search_path).map_err(vmm_failure)?;
        if let Some(key) = &key {
            self.store.set_fact(key, &qemu.version().to_string())?;
        }
        Ok(qemu)
    }
}

/// What to install, per distribution.
pub(crate) const INSTALL_QEMU: &str = "install QEMU 7.2 or newer (apt: qemu-system-x86, dnf: qemu-system-x86-core, pacman: qemu-system-x86, zypper: qemu-x86)";

fn vmm_failure(error: QemuError) -> Failure {
    let code = match &error {
        QemuError::NotFound { .. } => Code::VmmMissing,
        QemuError::TooOld { .. } => Code::VmmTooOld,
        _ => Code::VmmFailed,
    };
    Failure::new(code, chain(&error)).fix(INSTALL_QEMU)
}
