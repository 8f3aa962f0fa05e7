//! Kernel modules from the initramfs, in the order that its maker has worked out.

use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::system::finit_module;

use super::BootError;
use crate::console::warn;
use crate::limits::MODULE_ORDER_BYTES_MAX;
use crate::small_file::read_at;

const DIRECTORY: &str = "/modules";

/// Loads what `/modules/order` lists and frees the files' memory. A module that does not load is told on
/// the console: whether it was needed shows by the device that is then missing.
pub(crate) fn load_modules() -> Result<(), BootError> {
    let order = match read_at(CWD, "/modules/order", MODULE_ORDER_BYTES_MAX) {
        Err(Errno::NOENT) => return Ok(()),
        order => order.map_err(BootError::ModuleOrder)?,
    };
    for path in paths(&String::from_utf8_lossy(&order)) {
        if let Err(errno) = load(&path) {
            warn(format_args!("module {} does not load: {errno}", path.display()));
        }
    }
    let _ = std::fs::remove_dir_all(DIRECTORY);
    Ok(())
}

fn load(path: &Path) -> rustix::io::Result<()> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    match finit_module(&file, c"", 0) {
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}

/// The paths that an order lists: one file name a line.
fn paths(order: &str) -> impl Iterator<Item = PathBuf> + '_ {
    order
        .lines()
        .map(str::trim)
        .filter(|line| {
            !line.is_empty() && Path::new(line).components().all(|part| matches!(part, Component::Normal(_)))
        })
        .map(|line| Path::new(DIRECTORY).join(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Modules come from their own directory, in the order of the list.
    #[test]
    fn order_is_kept() {
        let listed: Vec<PathBuf> = paths("00-virtio.ko\n\n 01-ring.ko \n../init\n/x\n").collect();
        assert_eq!(listed, [Path::new("/modules/00-virtio.ko"), Path::new("/modules/01-ring.ko")]);
    }
}
