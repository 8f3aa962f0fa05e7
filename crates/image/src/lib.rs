//! Environments: the catalog, packages from Debian's signed archive, kernels, the guest's initramfs, root images.
//!
//! Everything here is plain blocking code. It reads no environment variable and writes to no terminal: directories, tools,
//! progress and cancellation come in as arguments. It does not know how a VM is run: the root image is written by a
//! [`RootWriter`] that the caller brings.
//!
//! Invariants: what is installed is whole (made beside its place, synced, renamed, vouched for by a manifest); one process
//! installs at a time; whatever a crash leaves is called `.partial-*` and goes with the next pull or prune.

mod archive;
mod cache;
mod catalog;
mod child;
mod clock;
mod cpio;
mod digest;
mod disk;
mod guest;
mod installed;
mod kernel;
pub mod limits;
mod lock;
mod manifest;
mod namespace;
mod partial;
mod process_tree;
mod progress;
mod pull;
mod removal;
mod root_image;
mod rootfs;
mod stanza;
mod subordinate;
mod tools;

pub use archive::ArchiveError;
pub use cache::Cache;
pub use catalog::{CATALOG_VERSION, EnvironmentName, EnvironmentSpec, PLATFORM, UnknownEnvironment, catalog};
pub use child::{ToolError, ToolOutput};
pub use digest::{Digest, NotADigest};
pub use disk::DiskError;
pub use guest::{Agent, GuestError, GuestKit, ensure_guest};
pub use installed::{Hold, InstalledEnvironment, InstalledError, list};
pub use kernel::{Kernel, KernelError, KernelManifest, ModuleRecord};
pub use manifest::{
    EnvironmentManifest, FileRecord, KernelRecord, ManifestError, PackageRecord, SourceRecord,
};
pub use progress::{Cancel, Canceled, Phase, Progress, Silent};
pub use pull::{PullError, PullRequest, Pulled, pull};
pub use removal::{Pruned, RemoveError, prune, remove};
pub use root_image::{RootImageError, RootJob, RootReport, RootWriter};
pub use rootfs::RootfsError;
pub use tools::{Tool, ToolMissing, ToolPackages, Tools};
