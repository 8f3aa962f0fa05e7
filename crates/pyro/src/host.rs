//! What this host has to run guests with: QEMU, KVM, and the verdict whether KVM really runs one.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pyro_proto::shim::Accelerator;
use pyro_vmm::{Qemu, QemuError};
use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

use crate::failure::chain;
use crate::{AcceleratorChoice, Code, Failure, Pyro};

/// The device through which guests use the processor's virtualization.
const KVM_DEVICE: &str = "/dev/kvm";

/// What the device's file says, which is not whether a guest runs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvmDevice {
    pub(crate) exists: bool,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

impl KvmDevice {
    pub(crate) fn look() -> KvmDevice {
        let path = Path::new(KVM_DEVICE);
        KvmDevice {
            exists: path.exists(),
            readable: access(path, Access::READ_OK).is_ok(),
            writable: access(path, Access::WRITE_OK).is_ok(),
        }
    }

    pub(crate) fn is_permitted(self) -> bool {
        self.exists && self.readable && self.writable
    }
}

/// Whether a guest has really run under KVM here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KvmVerdict {
    pub(crate) usable: bool,
    pub(crate) reason: String,
}

/// Facts are kept under this prefix; forgetting it has KVM tried anew.
pub(crate) const KVM_FACTS: &str = "kvm/";

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

    /// The cached verdict on KVM with this kernel and this QEMU.
    pub(crate) fn kvm_verdict(&self, qemu: &Qemu) -> Result<Option<KvmVerdict>, Failure> {
        Ok(self.store.fact(&verdict_key(qemu))?)
    }

    /// How guests run, by what was asked for and what is known; `None` where KVM must be tried first.
    pub(crate) fn accelerator(&self, qemu: &Qemu) -> Result<Option<Accelerator>, Failure> {
        let device = KvmDevice::look();
        match self.config.accelerator {
            AcceleratorChoice::Tcg => Ok(Some(Accelerator::Tcg)),
            AcceleratorChoice::Kvm if device.is_permitted() => Ok(Some(Accelerator::Kvm)),
            AcceleratorChoice::Kvm => Err(kvm_missing(device)),
            AcceleratorChoice::Auto if !device.is_permitted() => Ok(Some(Accelerator::Tcg)),
            AcceleratorChoice::Auto => Ok(self.kvm_verdict(qemu)?.map(|verdict| match verdict.usable {
                true => Accelerator::Kvm,
                false => Accelerator::Tcg,
            })),
        }
    }

    /// Keeps a verdict for this kernel and this QEMU.
    pub(crate) fn set_kvm_verdict(&self, qemu: &Qemu, verdict: &KvmVerdict) -> Result<(), Failure> {
        Ok(self.store.set_fact(&verdict_key(qemu), verdict)?)
    }
}

fn verdict_key(qemu: &Qemu) -> String {
    let kernel = rustix::system::uname();
    format!(
        "{KVM_FACTS}{}/{}/{}/{}",
        kernel.release().to_string_lossy(),
        kernel.version().to_string_lossy(),
        qemu.path().display(),
        qemu.version()
    )
}

fn kvm_missing(device: KvmDevice) -> Failure {
    let failure = Failure::new(Code::AcceleratorUnusable, "KVM cannot be used");
    if device.exists {
        failure
            .because(format!("{KVM_DEVICE} is not readable and writable for this user"))
            .fix("add the user to its group (`sudo usermod -aG kvm $USER`, then log in again) or use --accelerator tcg")
    } else {
        failure
            .because(format!("{KVM_DEVICE} does not exist"))
            .fix("enable virtualization in the firmware and load the kvm module, or use --accelerator tcg")
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
