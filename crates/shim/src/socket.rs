//! The shim's own socket, wherever its directory is.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use tokio::net::UnixListener;

/// Listens on a socket in `path`'s directory. An address holds 107 bytes (unix(7)), a directory's name may
/// have any length: the address goes through the directory's descriptor instead.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let directory = path.parent().ok_or_else(invalid)?;
    let name = path.file_name().ok_or_else(invalid)?;
    let held =
        rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    UnixListener::bind(Path::new(&format!("/proc/self/fd/{}", held.as_raw_fd())).join(name))
}

#[cfg(test)]
mod tests {
    /// A state directory of any length works.
    #[tokio::test]
    async fn long_paths_have_sockets() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(200));
        std::fs::create_dir(&deep).unwrap();
        let _listener = super::listen(&deep.join("shim.sock")).unwrap();
        assert!(deep.join("shim.sock").exists());
    }
}
