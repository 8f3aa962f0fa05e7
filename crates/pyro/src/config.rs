//! What a caller decides before anything runs. This crate reads no environment variable itself.

use std::ffi::OsString;
use std::path::PathBuf;

use pyro_store::Directories;

/// Settings of one [`crate::Pyro`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Where state, cache and runtime files go.
    pub directories: Directories,
    /// How guests shall run.
    pub accelerator: AcceleratorChoice,
    /// How guests shall be reached.
    pub transport: TransportChoice,
    /// QEMU's binary; found in `search_path` without.
    pub vmm: Option<PathBuf>,
    /// Directories to look for programs in, as `PATH` has them.
    pub search_path: OsString,
    /// This program, which is started again as the shim, and to fill the pool.
    pub program: PathBuf,
    /// VMs that wait for the next `run` or `create`, at most [`crate::limits::POOL_VMS_MAX`]; none switches it off.
    pub pool: usize,
}

/// How guests shall run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AcceleratorChoice {
    /// KVM where a guest has really run on it, emulation elsewhere.
    #[default]
    Auto,
    /// KVM or an error.
    Kvm,
    /// Emulation.
    Tcg,
}

impl AcceleratorChoice {
    /// The word that [`AcceleratorChoice::parse`] reads.
    pub fn as_str(self) -> &'static str {
        match self {
            AcceleratorChoice::Auto => "auto",
            AcceleratorChoice::Kvm => "kvm",
            AcceleratorChoice::Tcg => "tcg",
        }
    }

    /// Reads the value of `--accelerator` or `PYRO_ACCELERATOR`.
    pub fn parse(text: &str) -> Option<AcceleratorChoice> {
        match text {
            "auto" => Some(AcceleratorChoice::Auto),
            "kvm" => Some(AcceleratorChoice::Kvm),
            "tcg" => Some(AcceleratorChoice::Tcg),
            _ => None,
        }
    }
}

/// How guests shall be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransportChoice {
    /// Over vsock where a guest was really reached over it, over virtio-serial elsewhere.
    #[default]
    Auto,
    /// Over vsock or an error.
    Vsock,
    /// Over virtio-serial.
    Serial,
}

impl TransportChoice {
    /// The word that [`TransportChoice::parse`] reads.
    pub fn as_str(self) -> &'static str {
        match self {
            TransportChoice::Auto => "auto",
            TransportChoice::Vsock => "vsock",
            TransportChoice::Serial => "serial",
        }
    }

    /// Reads the value of `PYRO_TRANSPORT`.
    pub fn parse(text: &str) -> Option<TransportChoice> {
        match text {
            "auto" => Some(TransportChoice::Auto),
            "vsock" => Some(TransportChoice::Vsock),
            "serial" => Some(TransportChoice::Serial),
            _ => None,
        }
    }
}
