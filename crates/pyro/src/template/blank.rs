//! The blank disk under all others, made at first use.

use std::path::{Path, PathBuf};

use pyro_store::{FileLock, LockMode};
use pyro_vmm::{BLANK_RECIPE, ScratchError};

use crate::failure::{chain, unusable};
use crate::limits::SCRATCH_BYTES;
use crate::{Code, Failure, Pyro};

impl Pyro {
    /// The blank disk under every VM's own, made at first use, and again when it was cut.
    pub(crate) fn blank_disk(&self) -> Result<PathBuf, Failure> {
        let recipe = pyro_image::Digest::of(format!("{BLANK_RECIPE} {SCRATCH_BYTES}").as_bytes()).short();
        let path = self.config.directories.blank_disk(&recipe);
        if is_whole_blank(&path) {
            return Ok(path);
        }
        let parent = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(parent).map_err(|error| unusable(parent, error))?;
        let _lock = FileLock::take(&parent.join("lock"), LockMode::Exclusive)
            .map_err(|error| Failure::new(Code::StateUnusable, chain(&error)).fix(CACHE_REMEDY))?;
        if !is_whole_blank(&path) {
            pyro_vmm::create_blank(&path, SCRATCH_BYTES, &self.config.search_path).map_err(blank_failure)?;
        }
        Ok(path)
    }
}

/// What to do about a cache that cannot be used.
pub(super) const CACHE_REMEDY: &str =
    "make the cache directory writable, or point PYRO_CACHE_DIR at one that is";

/// A blank is made whole and then renamed; one of another length was cut by somebody since.
fn is_whole_blank(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == SCRATCH_BYTES)
}

fn blank_failure(error: ScratchError) -> Failure {
    let (code, fix) = match &error {
        ScratchError::NoTool => (Code::ToolMissing, "install e2fsprogs"),
        ScratchError::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            (Code::NoSpace, "free some space and run the command again")
        }
        _ => (Code::StateUnusable, CACHE_REMEDY),
    };
    Failure::new(code, "the blank disk of VMs could not be made").because(chain(&error)).fix(fix)
}
