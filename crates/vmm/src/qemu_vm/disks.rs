//! Disks of a running guest: a new overlay on top, and whether flushes count.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use pyro_jail::Access;
use serde_json::{Value, json};

use super::QemuVm;
use crate::arguments::nodes::{Backing, Mode, file_name, file_node, qcow2_node};
use crate::error::VmmError;
use crate::launch::open;
use crate::limits::LAYERS_MAX;
use crate::live_disk::{LiveDisk, Top};
use crate::machine::{Flush, MachineError, Serial};
use crate::qmp::QmpError;

impl QemuVm {
    /// Up to the command that changes the disk a refusal leaves it as it was. From there on there is no way back,
    /// and a QEMU that does not go the whole way must not write on.
    pub(super) async fn put_layer(&mut self, serial: &Serial, overlay: &Path) -> Result<(), VmmError> {
        let set = self.sets.next();
        let disk = self.live_disk(serial)?;
        let below = disk.layers_below().ok_or_else(|| no_such_disk(serial))?;
        if below >= LAYERS_MAX {
            return Err(MachineError::LayerCount { asked: below + 1 }.into());
        }
        let writer = open(overlay, Access::ReadWrite)?;
        let reader = Some(open(overlay, Access::Read)?);
        let node = disk.next_name().ok_or_else(|| no_such_disk(serial))?;
        let (former, flush) = (disk.top.node.clone(), disk.flush);
        let top = Top { node, set, reader };
        match self.switch(&former, &top, flush, &writer).await {
            Ok(()) => {}
            Err(error @ QmpError::Refused { .. }) => {
                self.drop_nodes(&top).await;
                return Err(error.into());
            }
            Err(error) => return self.end_with(error.into()).await,
        }
        let former = self.live_disk(serial)?.put_on(top);
        match self.seal(&former).await {
            Ok(()) => Ok(()),
            Err(error) => self.end_with(error).await,
        }
    }

    pub(super) async fn reopen_flush(&mut self, serial: &Serial, flush: Flush) -> Result<(), VmmError> {
        let disk = self.live_disk(serial)?;
        let file = file_node(&disk.top.node, disk.top.set, Mode::ReadWrite, flush);
        self.reopen(file).await?;
        self.live_disk(serial)?.flush = flush;
        Ok(())
    }

    /// Makes the nodes of the overlay and puts them over the former top.
    async fn switch(&mut self, former: &str, top: &Top, flush: Flush, writer: &File) -> Result<(), QmpError> {
        self.qmp.give_descriptor(top.set, writer.as_fd()).await?;
        let file = file_node(&top.node, top.set, Mode::ReadWrite, flush);
        self.qmp.execute("blockdev-add", file).await?;
        let format = qcow2_node(&top.node, Mode::ReadWrite, Backing::Later);
        self.qmp.execute("blockdev-add", format).await?;
        let snapshot = json!({"node": former, "overlay": top.node});
        self.qmp.execute("blockdev-snapshot", snapshot).await.map(drop)
    }

    /// QEMU itself makes only the former top's format node read-only. Its file is opened anew for reading, and the
    /// set with the descriptor for writing goes.
    async fn seal(&mut self, former: &Top) -> Result<(), VmmError> {
        if let Some(reader) = &former.reader {
            self.qmp.give_descriptor(former.set, reader.as_fd()).await?;
        }
        let file = file_node(&former.node, former.set, Mode::ReadOnly, Flush::Honored);
        self.reopen(file).await?;
        self.close_set(former.set).await
    }

    async fn reopen(&mut self, node: Value) -> Result<(), VmmError> {
        self.qmp.execute("blockdev-reopen", json!({"options": [node]})).await?;
        Ok(())
    }

    /// Takes back what there is of nodes that were refused. One that stays is nobody's, and its name is not used
    /// again.
    async fn drop_nodes(&mut self, top: &Top) {
        for node in [top.node.clone(), file_name(&top.node)] {
            let _none_or_stays = self.qmp.execute("blockdev-del", json!({"node-name": node})).await;
        }
        let _none_or_stays = self.close_set(top.set).await;
    }

    async fn end_with<T>(&mut self, error: VmmError) -> Result<T, VmmError> {
        // A QEMU that has ended by itself is asked how; one that goes on is ended.
        if !matches!(error, VmmError::Qmp(QmpError::Closed)) {
            super::Vm::kill(self).await;
        }
        Err(error)
    }

    fn live_disk(&mut self, serial: &Serial) -> Result<&mut LiveDisk, VmmError> {
        let found = self.disks.iter_mut().find(|disk| disk.serial == *serial);
        found.ok_or_else(|| no_such_disk(serial))
    }
}

fn no_such_disk(serial: &Serial) -> VmmError {
    VmmError::NoSuchDisk { serial: serial.as_str().to_owned() }
}
