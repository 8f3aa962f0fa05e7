//! A guest's state, written down: device state by QEMU, memory from its process.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use serde_json::json;

use super::QemuVm;
use crate::arguments::nodes::set_path;
use crate::error::VmmError;
use crate::guest_memory::copy_own_pages;
use crate::template::Draft;
use crate::vm::{BaseCopy, Captured};

/// A VM whose memory is no private mapping of a file.
const NOT_FORKED: VmmError = VmmError::Unfit { what: "be captured", reason: "it was not forked" };

impl QemuVm {
    /// Stops a guest that was booted with the draft, whose memory is the draft's file, and writes its device state.
    pub(super) async fn store(&mut self, draft: &Draft) -> Result<(), VmmError> {
        if self.memory != Some(draft.id()) {
            return Err(VmmError::State { what: "save" });
        }
        self.qmp.execute("stop", json!({})).await?;
        self.write_device_state(draft).await
    }

    pub(super) fn forked_memory(&self, draft: &Draft) -> Result<BaseCopy, VmmError> {
        let base = self.base.as_ref().ok_or(NOT_FORKED)?.try_clone().map_err(VmmError::Memory)?;
        Ok(BaseCopy { base, ram: draft.ram().try_clone().map_err(VmmError::Memory)? })
    }

    /// Device state first: QEMU completes what its devices do to memory before it writes them down.
    pub(super) async fn copy_state_and_memory(&mut self, draft: &Draft) -> Result<Captured, VmmError> {
        let began = Instant::now();
        let base = self.base.as_ref().ok_or(NOT_FORKED)?.try_clone().map_err(VmmError::Memory)?;
        let ram = draft.ram().try_clone().map_err(VmmError::Memory)?;
        self.write_device_state(draft).await?;
        let pid = self.pid;
        let memory_bytes = blocking(move || copy_own_pages(pid, &base, &ram)).await?;
        Ok(Captured { memory_bytes, copied_in: began.elapsed() })
    }

    /// The command is Xen's, needs nothing of it, and writes every device but memory. `live` keeps the disks ours.
    async fn write_device_state(&mut self, draft: &Draft) -> Result<(), VmmError> {
        let set = self.sets.next();
        let state = draft.state_writer()?;
        self.qmp.give_descriptor(set, state.as_fd()).await?;
        let target = json!({"filename": set_path(set), "live": false});
        let written = self.qmp.execute_slow("xen-save-devices-state", target).await;
        self.close_set(set).await?;
        written?;
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, VmmError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(VmmError::Memory),
        Err(_) => Err(VmmError::Memory(io::Error::other("the copy was given up"))),
    }
}
