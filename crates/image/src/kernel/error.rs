//! What can be wrong with a kernel and its package.

use crate::child::ToolError;
use crate::digest::Digest;
use crate::disk::DiskError;
use crate::lock::LockError;
use crate::manifest::ManifestError;
use crate::partial::PartialError;
use crate::progress::Canceled;
use crate::tools::ToolMissing;

/// A kernel could not be taken out of its package, or is not whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The file is not a bootable x86 kernel image.
    #[error("the kernel image is malformed: {what}")]
    Image {
        /// What is wrong with it.
        what: &'static str,
    },
    /// Compressed data of an unknown kind.
    #[error("unknown compression, magic {magic:02x?}")]
    UnknownCompression {
        /// The first bytes.
        magic: Vec<u8>,
    },
    /// Compressed data that cannot be decompressed.
    #[error("cannot decompress {format} data")]
    Decompress {
        /// The format's name.
        format: &'static str,
        /// The decoder's words.
        #[source]
        source: std::io::Error,
    },
    /// More came out than fits.
    #[error("decompressed data is larger than {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// A module's file is not a module.
    #[error("the kernel module {path} is malformed")]
    Module {
        /// Its path in the package.
        path: String,
    },
    /// The kernel lacks a module that guests need, built in or not.
    #[error("the kernel package has no module {name}")]
    NoModule {
        /// Its name.
        name: String,
    },
    /// More modules, or larger ones, than any kernel has.
    #[error("the kernel package has more modules than the limit of {limit}")]
    TooManyModules {
        /// The limit.
        limit: usize,
    },
    /// The package lacks a file.
    #[error("the kernel package has no {what}")]
    Incomplete {
        /// Which file.
        what: &'static str,
    },
    /// The package's file is not what the archive signed.
    #[error("the kernel package's digest is {found}, the archive signed {signed}")]
    Digest {
        /// What was computed.
        found: Digest,
        /// What the archive says.
        signed: Digest,
    },
    /// The package was not downloaded, and the kernel it holds is not installed.
    #[error("the kernel package {name} was not downloaded")]
    NotDownloaded {
        /// The package.
        name: String,
    },
    /// The package's archive cannot be read.
    #[error("cannot read the kernel package")]
    Package(#[source] std::io::Error),
    /// An installed kernel is damaged.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A tool failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The caller stopped the work.
    #[error(transparent)]
    Canceled(#[from] Canceled),
}

impl From<ToolMissing> for KernelError {
    fn from(error: ToolMissing) -> Self {
        Self::Tool(error.into())
    }
}

impl From<LockError> for KernelError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Disk(error) => error.into(),
            LockError::Canceled(canceled) => canceled.into(),
        }
    }
}

impl From<PartialError> for KernelError {
    fn from(error: PartialError) -> Self {
        match error {
            PartialError::Disk(error) => error.into(),
            PartialError::Tool(error) => error.into(),
        }
    }
}
