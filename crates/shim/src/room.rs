//! Room on the host's disk, looked at before a VM needs it: a guest whose disk has none sees only that its
//! writes fail.

use std::path::Path;

use pyro_proto::shim::{Failure, FailureCode};

use crate::failure::failure;
use crate::limits::SCRATCH_FREE_BYTES_MIN;

/// Refuses a directory on whose file system a VM's disk would soon be full.
pub(crate) fn check(directory: &Path) -> Result<(), Failure> {
    // What cannot be asked for its room is found out by using it.
    let Ok(disk) = rustix::fs::statvfs(directory) else { return Ok(()) };
    enough(directory, disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn enough(directory: &Path, free_bytes: u64) -> Result<(), Failure> {
    if free_bytes >= SCRATCH_FREE_BYTES_MIN {
        return Ok(());
    }
    let (free, needed) = (free_bytes >> 10, SCRATCH_FREE_BYTES_MIN >> 10);
    let message = format!(
        "{} has no space for a VM's disk: {free} KiB are free, {needed} KiB needed",
        directory.display()
    );
    Err(failure(FailureCode::NoSpace, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Too little room is told with both numbers before anything is started.
    #[test]
    fn too_little_room_is_told() {
        let directory = Path::new("/x");
        assert!(enough(directory, SCRATCH_FREE_BYTES_MIN).is_ok());
        let refused = enough(directory, 5 << 10).unwrap_err();
        assert_eq!(refused.code, FailureCode::NoSpace);
        assert!(refused.message.contains("5 KiB are free, 16384 KiB needed"), "{}", refused.message);
        assert!(check(Path::new("/no/such/directory")).is_ok());
    }
}
