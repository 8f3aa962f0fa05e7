//! Advisory locks between processes, flock(2), and waiting for them so that it can be canceled. The kernel drops a lock
//! when its last holder dies: no lock is ever stale.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::disk::{DiskError, absent};
use crate::limits::POLL_INTERVAL;
use crate::progress::{Cancel, Canceled};

/// A lock could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Canceled(#[from] Canceled),
}

/// Whether others may hold the lock too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Shared,
    Exclusive,
}

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the lock if nobody is in the way.
    pub(crate) fn attempt(path: &Path, mode: Mode) -> Result<Option<Self>, DiskError> {
        attempt(open(path)?, path, mode).map(Result::ok)
    }

    /// Takes the lock, waiting as long as it takes; `on_wait` is called once if it has to wait at all.
    pub(crate) fn wait(
        path: &Path,
        mode: Mode,
        cancel: &Cancel,
        on_wait: impl FnOnce(),
    ) -> Result<Self, LockError> {
        let mut on_wait = Some(on_wait);
        let mut file = open(path)?;
        loop {
            cancel.check()?;
            file = match attempt(file, path, mode)? {
                Ok(lock) => return Ok(lock),
                Err(file) => file,
            };
            if let Some(on_wait) = on_wait.take() {
                on_wait();
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Like [`Lock::wait`], on a file that must be there; `None` when it is not.
    pub(crate) fn wait_existing(path: &Path, mode: Mode, cancel: &Cancel) -> Result<Option<Self>, LockError> {
        match fs::symlink_metadata(path) {
            Ok(_) => Self::wait(path, mode, cancel, || {}).map(Some),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(DiskError::io("look at the lock", path)(error).into()),
        }
    }

    /// Whether the locked file is still the one at this path.
    pub(crate) fn is_of(&self, path: &Path) -> bool {
        let (Ok(ours), Ok(theirs)) = (self.0.metadata(), fs::metadata(path)) else { return false };
        (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())
    }

    /// Another handle of the same lock, for a child process: it holds on to the lock when this process is killed.
    pub(crate) fn share(&self) -> Option<File> {
        self.0.try_clone().ok()
    }
}

impl Drop for Lock {
    /// Closing alone would leave it to any child that another thread is just starting, until that has become its program.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

fn open(path: &Path) -> Result<File, DiskError> {
    File::options()
        .read(true)
        .append(true)
        .create(true)
        .open(path)
        .or_else(|error| File::open(path).map_err(|_| error))
        .map_err(DiskError::io("open the lock", path))
}

fn attempt(file: File, path: &Path, mode: Mode) -> Result<Result<Lock, File>, DiskError> {
    let tried = match mode {
        Mode::Shared => file.try_lock_shared(),
        Mode::Exclusive => file.try_lock(),
    };
    match tried {
        Ok(()) => Ok(Ok(Lock(file))),
        Err(TryLockError::WouldBlock) => Ok(Err(file)),
        Err(TryLockError::Error(error)) => Err(DiskError::io("lock", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Keeps: an exclusive lock excludes, shared ones do not exclude each other, and a wait can be canceled.
    #[test]
    fn locks_exclude() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let shared = Lock::attempt(&path, Mode::Shared).unwrap().unwrap();
        assert!(Lock::attempt(&path, Mode::Shared).unwrap().is_some());
        assert!(Lock::attempt(&path, Mode::Exclusive).unwrap().is_none());
        let cancel = Cancel::new();
        let waited = AtomicBool::new(false);
        let result = Lock::wait(&path, Mode::Exclusive, &cancel, || {
            waited.store(true, Ordering::SeqCst);
            cancel.cancel();
        });
        assert!(matches!(result, Err(LockError::Canceled(_))));
        assert!(waited.load(Ordering::SeqCst));
        drop(shared);
        assert!(Lock::attempt(&path, Mode::Exclusive).unwrap().is_some());
    }

    /// Keeps: a lock that was let go is free, whoever has got its handle by then.
    #[test]
    fn a_handle_alone_is_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let lock = Lock::attempt(&path, Mode::Exclusive).unwrap().unwrap();
        let inherited = lock.share().unwrap();
        assert!(Lock::attempt(&path, Mode::Exclusive).unwrap().is_none());
        drop(lock);
        assert!(Lock::attempt(&path, Mode::Exclusive).unwrap().is_some());
        drop(inherited);
    }
}
