//! Advisory locks on files: they end with their holder, however it ends.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::limits::LOCK_POLL;

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Alone.
    Exclusive,
    /// Beside other shared holders.
    Shared,
}

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub struct FileLock {
    /// `None` once it is handed on.
    file: Option<File>,
}

/// Why a lock is not held.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it.
    #[error("{0} is in use")]
    Held(PathBuf),
    /// The file cannot be opened or locked.
    #[error("locking {path} failed")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FileLock {
    /// Takes the lock if it is free now; the file is made when missing.
    pub fn try_take(path: &Path, mode: LockMode) -> Result<FileLock, LockError> {
        let operation = match mode {
            LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
            LockMode::Shared => FlockOperation::NonBlockingLockShared,
        };
        take(path, operation)
    }

    /// Waits for the lock, but not longer than `patience`.
    pub fn take_within(path: &Path, mode: LockMode, patience: Duration) -> Result<FileLock, LockError> {
        let deadline = Instant::now() + patience;
        loop {
            match FileLock::try_take(path, mode) {
                Err(LockError::Held(_)) if Instant::now() < deadline => std::thread::sleep(LOCK_POLL),
                result => return result,
            }
        }
    }

    /// What a child process is started with that is to hold the lock from now on, for as long as it has that open.
    pub fn hand_on(mut self) -> Stdio {
        self.file.take().map_or_else(Stdio::null, Stdio::from)
    }

    /// Waits for the lock.
    pub fn take(path: &Path, mode: LockMode) -> Result<FileLock, LockError> {
        let operation = match mode {
            LockMode::Exclusive => FlockOperation::LockExclusive,
            LockMode::Shared => FlockOperation::LockShared,
        };
        take(path, operation)
    }
}

impl Drop for FileLock {
    /// Closing alone would leave it to any child that another thread is just starting, until that has become its program.
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _ = flock(file, FlockOperation::Unlock);
        }
    }
}

fn take(path: &Path, operation: FlockOperation) -> Result<FileLock, LockError> {
    let fail = |source: io::Error| LockError::Io { path: path.to_owned(), source };
    let file = File::options().read(true).append(true).create(true).mode(0o600).open(path).map_err(fail)?;
    loop {
        match flock(&file, operation) {
            Ok(()) => return Ok(FileLock { file: Some(file) }),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Held(path.to_owned())),
            Err(errno) => return Err(fail(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lock goes on with the process that has got its file, and ends with that.
    #[test]
    fn a_lock_is_handed_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let lock = FileLock::try_take(&path, LockMode::Shared).unwrap().hand_on();
        let mut heir = std::process::Command::new("sleep").arg("1000").stdin(lock).spawn().unwrap();
        assert!(matches!(FileLock::try_take(&path, LockMode::Exclusive), Err(LockError::Held(_))));
        heir.kill().unwrap();
        heir.wait().unwrap();
        assert!(FileLock::try_take(&path, LockMode::Exclusive).is_ok());
    }

    /// A lock that was let go is free, whoever has got its handle by then.
    #[test]
    fn a_handle_alone_is_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let lock = FileLock::try_take(&path, LockMode::Exclusive).unwrap();
        let inherited = lock.file.as_ref().unwrap().try_clone().unwrap();
        assert!(matches!(FileLock::try_take(&path, LockMode::Shared), Err(LockError::Held(_))));
        drop(lock);
        assert!(FileLock::try_take(&path, LockMode::Exclusive).is_ok());
        drop(inherited);
    }

    /// A lock has one exclusive holder, and ends with it.
    #[test]
    fn one_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = FileLock::try_take(&path, LockMode::Exclusive).unwrap();
        assert!(matches!(FileLock::try_take(&path, LockMode::Shared), Err(LockError::Held(_))));
        drop(held);
        let shared = FileLock::try_take(&path, LockMode::Shared).unwrap();
        assert!(FileLock::try_take(&path, LockMode::Shared).is_ok());
        assert!(matches!(FileLock::try_take(&path, LockMode::Exclusive), Err(LockError::Held(_))));
        let patience = Duration::from_millis(20);
        let begun = Instant::now();
        let late = FileLock::take_within(&path, LockMode::Exclusive, patience);
        assert!(matches!(late, Err(LockError::Held(_))) && begun.elapsed() >= patience);
        drop(shared);
        assert!(FileLock::take_within(&path, LockMode::Exclusive, Duration::ZERO).is_ok());
    }
}
