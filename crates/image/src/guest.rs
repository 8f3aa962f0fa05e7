//! The guest kit: a kernel and the initramfs that fits it, made once per kernel and agent. The command line asks for it on
//! every run: what is there is trusted by its recorded size, never digested again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::cpio::Cpio;
use crate::digest::Digest;
use crate::disk::{DiskError, file_bytes, read_bounded, write_file};
use crate::kernel::Kernel;
use crate::limits::{INITRAMFS_BYTES_MAX, MODULE_BYTES_MAX};
use crate::lock::{Lock, LockError, Mode};
use crate::manifest::{FileRecord, ManifestError, read_manifest, write_manifest};
use crate::partial::{Partial, PartialError};
use crate::progress::Cancel;
use crate::tools::Tools;

/// The version of `guest.json` and of the initramfs's layout.
const KIT_VERSION: u32 = 1;
pub(crate) const MANIFEST_NAME: &str = "guest.json";
const INITRAMFS_NAME: &str = "initramfs.cpio";
/// The directories an agent finds empty, to mount on.
const MOUNT_POINTS: [&str; 7] = ["dev", "proc", "sys", "run", "base", "scratch", "newroot"];

/// The guest agent: a static program and its digest, both known when the program that carries it was built.
#[derive(Clone, Copy)]
pub struct Agent<'a> {
    /// The program.
    pub bytes: &'a [u8],
    /// SHA-256 of it. It is trusted: it is part of the key.
    pub digest: Digest,
}

/// What a VM starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestKit {
    /// The ELF kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
    /// Names this kernel and this initramfs: another digest is another guest.
    pub digest: Digest,
}

/// The guest kit could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// The initramfs would be larger than anything sane.
    #[error("the initramfs would have more than {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// A module of the installed kernel is gone.
    #[error("the kernel module {} is gone", path.display())]
    NoModule {
        /// Its file.
        path: PathBuf,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// `guest.json`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GuestManifest {
    pub(crate) kit_version: u32,
    pub(crate) kernel_key: String,
    pub(crate) agent_digest: Digest,
    digest: Digest,
    initramfs: FileRecord,
}

/// The kit of a kernel and an agent: the one that is there, or made now. When it is there this takes microseconds.
pub fn ensure_guest(cache: &Cache, kernel: &Kernel, agent: Agent<'_>) -> Result<GuestKit, GuestError> {
    let digest = kit_digest(kernel, agent);
    let directory = cache.guest_dir().join(digest.short());
    if let Some(kit) = open(&directory, kernel, digest) {
        return Ok(kit);
    }
    make(cache, &directory, kernel, agent, digest)
}

fn make(
    cache: &Cache,
    directory: &Path,
    kernel: &Kernel,
    agent: Agent<'_>,
    digest: Digest,
) -> Result<GuestKit, GuestError> {
    let never = Cancel::new();
    cache.create()?;
    let _whole = Lock::wait(&cache.lock_file(), Mode::Shared, &never, || {}).map_err(disk_error)?;
    let _lock = cache.lock_guest(&never).map_err(disk_error)?;
    if let Some(kit) = open(directory, kernel, digest) {
        return Ok(kit);
    }
    let partial = Partial::create(&cache.guest_dir(), &digest.short(), &Tools::default())?;
    let initramfs = initramfs(kernel, agent)?;
    write_file(&partial.path().join(INITRAMFS_NAME), &initramfs)?;
    let manifest = GuestManifest {
        kit_version: KIT_VERSION,
        kernel_key: kernel.key().to_owned(),
        agent_digest: agent.digest,
        digest,
        initramfs: FileRecord { bytes: initramfs.len() as u64, digest: Digest::of(&initramfs) },
    };
    write_manifest(&partial.path().join(MANIFEST_NAME), &manifest)?;
    partial.install(directory).map_err(partial_error)?;
    Ok(kit(directory, kernel, digest))
}

/// Everything the initramfs is made from, so that none of it needs to be read to name the kit.
fn kit_digest(kernel: &Kernel, agent: Agent<'_>) -> Digest {
    let manifest = kernel.manifest();
    let mut inputs = format!("guest kit {KIT_VERSION}\n{}\n{}\n", agent.digest, manifest.vmlinux.digest);
    for module in &manifest.modules {
        inputs.push_str(&format!("{} {}\n", module.file.digest, module.name));
    }
    Digest::of(inputs.as_bytes())
}

fn kit(directory: &Path, kernel: &Kernel, digest: Digest) -> GuestKit {
    GuestKit { kernel: kernel.vmlinux(), initrd: directory.join(INITRAMFS_NAME), digest }
}

/// A kit that is not whole is as good as none.
fn open(directory: &Path, kernel: &Kernel, digest: Digest) -> Option<GuestKit> {
    let manifest = manifest_in(directory).ok()??;
    let kit = kit(directory, kernel, digest);
    let whole = manifest.digest == digest && file_bytes(&kit.initrd) == Some(manifest.initramfs.bytes);
    whole.then_some(kit)
}

/// The manifest of the kit in a directory.
pub(crate) fn manifest_in(directory: &Path) -> Result<Option<GuestManifest>, ManifestError> {
    read_manifest(&directory.join(MANIFEST_NAME))
}

/// `/init` is the agent, `/modules/order` names the modules in load order, the rest is where the agent mounts.
fn initramfs(kernel: &Kernel, agent: Agent<'_>) -> Result<Vec<u8>, GuestError> {
    let mut cpio = Cpio::default();
    MOUNT_POINTS.iter().for_each(|path| cpio.directory(path));
    cpio.character_device("dev/console", 0o600, 5, 1);
    cpio.character_device("dev/null", 0o666, 1, 3);
    cpio.directory("modules");
    let mut order = String::new();
    let mut total = agent.bytes.len() as u64;
    for (index, module) in kernel.manifest().modules.iter().enumerate() {
        let name = format!("{index:02}-{}", module.file_name());
        let path = kernel.module_path(module);
        let content = read_bounded(&path, MODULE_BYTES_MAX)?.ok_or(GuestError::NoModule { path })?;
        total = total.saturating_add(content.len() as u64);
        if total > INITRAMFS_BYTES_MAX {
            return Err(GuestError::TooLarge { bytes_max: INITRAMFS_BYTES_MAX });
        }
        cpio.file(&format!("modules/{name}"), 0o444, &content);
        order.push_str(&name);
        order.push('\n');
    }
    cpio.file("modules/order", 0o444, order.as_bytes());
    cpio.file("init", 0o755, agent.bytes);
    Ok(cpio.finish())
}

fn disk_error(error: LockError) -> GuestError {
    match error {
        LockError::Disk(error) => error.into(),
        // The flag is this module's own and never raised.
        LockError::Canceled(canceled) => {
            DiskError::io("wait for", "a lock")(std::io::Error::other(canceled)).into()
        }
    }
}

fn partial_error(error: PartialError) -> GuestError {
    match error {
        PartialError::Disk(error) => error.into(),
        PartialError::Tool(error) => {
            DiskError::io("replace", "the guest kit")(std::io::Error::other(error)).into()
        }
    }
}
