//! Descriptor sets of a running QEMU: each takes what one node or one command opens, and goes when that is open.

use serde_json::json;

use super::QemuVm;
use crate::error::VmmError;
use crate::limits::LIVE_SET_FIRST;
use crate::qmp::QmpError;

/// Which numbers are taken, and which sets are still to be closed.
#[derive(Debug, Default)]
pub(super) struct Sets {
    given: u64,
    closing: Vec<u64>,
}

impl Sets {
    /// A number no other set has.
    pub(super) fn next(&mut self) -> u64 {
        self.given += 1;
        LIVE_SET_FIRST + self.given
    }
}

impl QemuVm {
    /// Closes a set's descriptors: what was opened from it stays open, nothing more can be. QEMU before 9.1 only
    /// does so while the guest runs (`monitor_fdset_cleanup`), so a resumed guest's are closed once more.
    pub(super) async fn close_set(&mut self, set: u64) -> Result<(), VmmError> {
        self.remove_set(set).await?;
        self.sets.closing.push(set);
        Ok(())
    }

    /// Closes what was closed while the guest stood still.
    pub(super) async fn close_sets(&mut self) -> Result<(), VmmError> {
        for set in std::mem::take(&mut self.sets.closing) {
            self.remove_set(set).await?;
        }
        Ok(())
    }

    /// A set that is not there is closed.
    async fn remove_set(&mut self, set: u64) -> Result<(), VmmError> {
        match self.qmp.execute("remove-fd", json!({"fdset-id": set})).await {
            Ok(_) | Err(QmpError::Refused { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
