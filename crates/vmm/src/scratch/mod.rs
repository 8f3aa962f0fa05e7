//! Scratch disks: one blank file system for all, layers over it, and an overlay on top for each VM.
//!
//! The blank is made once by `mke2fs` and never written again. An overlay holds everything a VM changes; an
//! empty one is the same bytes every time and is written by [`qcow2`], without any tool. An overlay that another
//! one stands on is a layer: [`layer`] tells whether it is whole, [`merge`] makes one of two.

mod blank;
#[cfg(test)]
mod by_hand;
mod layer;
mod layout;
mod merge;
mod qcow2;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub use blank::{BLANK_RECIPE, create_blank};
pub use layer::check_layer;
pub use merge::merge_layers;
pub use qcow2::{create_disposable_overlay, create_overlay};

/// A scratch disk cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScratchError {
    /// The size is out of bounds, or not whole clusters.
    #[error("a scratch disk of {bytes} bytes cannot be made")]
    Size {
        /// What was asked for.
        bytes: u64,
    },
    /// There is no `mke2fs`.
    #[error("mke2fs was not found (package e2fsprogs)")]
    NoTool,
    /// `mke2fs` failed.
    #[error("mke2fs failed: {output}")]
    Tool {
        /// The end of what it said.
        output: String,
    },
    /// A file is no layer of a scratch disk, or not a whole one.
    #[error("{} is no whole layer of a scratch disk: {reason}", path.display())]
    Layer {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: &'static str,
    },
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn failed(path: &Path) -> impl Fn(io::Error) -> ScratchError + '_ {
    move |source| ScratchError::File { path: path.to_owned(), source }
}

/// The directory a file is in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}
