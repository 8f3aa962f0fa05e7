//! Whose identity the root on a disk bears, beside the workspace: so that a copy of the disk is given names of
//! its own, and the same disk keeps its tree as it is.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use crate::limits::IDENTITY_BYTES_MAX;
use crate::root::Identity;
use crate::small_file::{create_at, read_at};

const FILE: &str = "identity";
const DRAFT: &str = "identity.draft";

/// The record of one disk.
#[derive(Debug)]
pub(crate) struct Record {
    home: OwnedFd,
}

impl Record {
    /// The record in `home`.
    pub(super) fn new(home: OwnedFd) -> Record {
        Record { home }
    }

    /// Whose it is; `None` for a disk that bears no identity yet, or of a release that kept no record.
    pub(crate) fn read(&self) -> rustix::io::Result<Option<Identity>> {
        match read_at(&self.home, FILE, IDENTITY_BYTES_MAX + 1) {
            Ok(text) => Ok(Identity::parse(&text)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Says whose it is now. Not waited for: the files that say so are no sooner on the disk.
    pub(crate) fn write(&self, identity: &Identity) -> rustix::io::Result<()> {
        match rustix::fs::unlinkat(&self.home, DRAFT, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        create_at(&self.home, DRAFT, identity.to_text().as_bytes(), Mode::RUSR | Mode::WUSR)?;
        rustix::fs::renameat(&self.home, DRAFT, &self.home, FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::OFlags;

    /// The newest identity is read back, and what is damaged counts as none.
    #[test]
    fn a_record_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let home = rustix::fs::open(directory.path(), OFlags::RDONLY, Mode::empty()).unwrap();
        let record = Record::new(home);
        assert_eq!(record.read(), Ok(None));
        for hostname in ["a", &"b".repeat(64), "c"] {
            let identity = Identity { hostname: hostname.to_owned(), machine_id: "0".repeat(32) };
            record.write(&identity).unwrap();
            assert_eq!(record.read(), Ok(Some(identity)));
        }
        std::fs::write(directory.path().join(FILE), "c\n").unwrap();
        assert_eq!(record.read(), Ok(None));
    }
}
