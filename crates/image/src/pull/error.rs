//! How a pull can fail.

use crate::archive::ArchiveError;
use crate::catalog::EnvironmentName;
use crate::child::ToolError;
use crate::disk::DiskError;
use crate::installed::InstalledError;
use crate::kernel::KernelError;
use crate::lock::LockError;
use crate::partial::PartialError;
use crate::progress::Canceled;
use crate::root_image::RootImageError;
use crate::rootfs::RootfsError;

/// A pull that failed. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The caller stopped it.
    #[error(transparent)]
    Canceled(#[from] Canceled),
    /// The packages could not be had.
    #[error(transparent)]
    Archive(ArchiveError),
    /// The kernel could not be had.
    #[error(transparent)]
    Kernel(KernelError),
    /// The packages do not make a system.
    #[error(transparent)]
    Rootfs(RootfsError),
    /// The root image could not be made.
    #[error(transparent)]
    RootImage(RootImageError),
    /// A damaged environment cannot be replaced: a VM uses it.
    #[error("environment {name} is damaged and in use")]
    InUse {
        /// Its name.
        name: EnvironmentName,
    },
    /// What was installed cannot be opened.
    #[error(transparent)]
    Installed(InstalledError),
    /// A tool failed.
    #[error(transparent)]
    Tool(ToolError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Cancellation is one error, wherever it was noticed; so is a failing disk or tool.
macro_rules! lift {
    ($($source:ident => $variant:ident { $($inner:ident),* }),* $(,)?) => {
        $(impl From<$source> for PullError {
            fn from(error: $source) -> Self {
                match error {
                    $($source::$inner(inner) => inner.into(),)*
                    other => Self::$variant(other),
                }
            }
        })*
    };
}

lift! {
    ToolError => Tool { Canceled },
    ArchiveError => Archive { Tool, Disk },
    KernelError => Kernel { Canceled, Tool, Disk },
    RootfsError => Rootfs { Canceled, Disk },
    RootImageError => RootImage { Canceled, Tool, Disk },
    InstalledError => Installed { Disk },
}

impl From<PartialError> for PullError {
    fn from(error: PartialError) -> Self {
        match error {
            PartialError::Disk(error) => error.into(),
            PartialError::Tool(error) => error.into(),
        }
    }
}

impl From<LockError> for PullError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Disk(error) => error.into(),
            LockError::Canceled(canceled) => canceled.into(),
        }
    }
}
