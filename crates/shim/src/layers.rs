//! The layers of a workspace's disk as its shim makes them, and the images of its memory that belong to them.
//!
//! A new layer is a file that no record knows, until one transaction makes it the one that is written and seals the
//! one below. A crash before that leaves a file that is nobody's, a crash after it the new state.

use std::path::PathBuf;
use std::rc::Rc;

use pyro_proto::limits::PROTOCOL_VERSION;
use pyro_proto::shim::{Failure, FailureCode, Keep, Machine};
use pyro_store::limits::SNAPSHOTS_MAX;
use pyro_store::{
    Directories, FileLock, HoldToken, LayerId, NewSnapshot, Sealing, SnapshotName, Store, StoreError,
    WorkspaceId,
};
use pyro_vmm::{Draft, TemplateKey, VmmError};

use crate::bringup::shape_of;
use crate::disks::new_layer;
use crate::failure::{failure, record_failed, system, vmm_failed};
use crate::held::Held;
use crate::limits::LAYERS_MAX;
use crate::workspace::{Opened, new_layer_id};

/// Where the layers of one workspace are made.
#[derive(Debug)]
pub(crate) struct Layers {
    store: Rc<Store>,
    directories: Directories,
    id: WorkspaceId,
    blank: PathBuf,
    machine: Machine,
}

/// A layer that no record knows yet. Dropped, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Unrecorded {
    id: LayerId,
    pub(crate) path: PathBuf,
    is_recorded: bool,
    /// Keeps those away who remove layers without a record.
    _birth: FileLock,
}

/// By what a snapshot is kept, understood.
#[derive(Clone, Debug)]
pub(crate) enum KeptBy {
    /// A name.
    Name(SnapshotName),
    /// Somebody who lives.
    Hold(HoldToken),
}

/// What is recorded with a snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sizes {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

impl Drop for Unrecorded {
    fn drop(&mut self) {
        if !self.is_recorded {
            // What cannot be removed now is collected as what it is: nobody's.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl KeptBy {
    pub(crate) fn parse(keep: &Keep) -> Result<KeptBy, Failure> {
        let nonsense = |error: &(dyn std::error::Error + 'static)| system("the order makes no sense", error);
        Ok(match keep {
            Keep::Name(name) => KeptBy::Name(SnapshotName::parse(name).map_err(|error| nonsense(&error))?),
            Keep::Hold(token) => KeptBy::Hold(HoldToken::parse(token).map_err(|error| nonsense(&error))?),
        })
    }
}

impl Layers {
    pub(crate) fn new(held: &Held, workspace: &Opened, machine: &Machine) -> Layers {
        Layers {
            store: Rc::clone(&held.store),
            directories: held.directories.clone(),
            id: workspace.claim.id.clone(),
            blank: workspace.blank.clone(),
            machine: machine.clone(),
        }
    }

    /// Refuses what cannot be kept, before anything is done for it.
    pub(crate) fn check(&self, kept_by: Option<&KeptBy>) -> Result<(), Failure> {
        if let Some(KeptBy::Name(name)) = kept_by {
            let taken = self.store.snapshot(&self.id, name).map_err(|error| unusable(&error))?;
            if taken.is_some() || name.is_baseline() {
                let message = format!("the workspace has a snapshot `{}`", name.as_str());
                return Err(failure(FailureCode::SnapshotTaken, message));
            }
            let count = self.store.snapshots(&self.id).map_err(|error| unusable(&error))?.len();
            if count >= SNAPSHOTS_MAX {
                let message = format!("the workspace has {count} snapshots, as many as it can have");
                return Err(failure(FailureCode::LayersTooMany, message));
            }
        }
        let layers = self.store.chain(&self.head()?).map_err(|error| unusable(&error))?;
        if layers.len() >= LAYERS_MAX {
            let message = format!("the workspace's disk has {} layers, as many as it can have", layers.len());
            return Err(failure(FailureCode::LayersTooMany, message));
        }
        Ok(())
    }

    /// To be held while something lies on the disk that no record knows.
    pub(crate) fn birth(&self) -> Result<FileLock, Failure> {
        birth(&self.directories)
    }

    /// Makes a new layer, empty, on the disk of the host: for another thread, since the disk is waited for.
    pub(crate) fn making(&self) -> impl FnOnce() -> Result<Unrecorded, Failure> + Send + use<> {
        let (directories, blank) = (self.directories.clone(), self.blank.clone());
        move || {
            let birth = birth(&directories)?;
            let id = new_layer_id()?;
            let path = directories.layer(&id);
            new_layer(&path, &blank)?;
            Ok(Unrecorded { id, path, is_recorded: false, _birth: birth })
        }
    }

    /// A layer is what is written from now on; the one below is sealed, and its name is given. Once this was
    /// tried, the file stays: the record may refer to it.
    pub(crate) fn record(
        &self,
        layer: &mut Unrecorded,
        kept_by: Option<&KeptBy>,
        sizes: Sizes,
    ) -> Result<LayerId, Failure> {
        layer.is_recorded = true;
        let sealing = match kept_by {
            Some(KeptBy::Name(name)) => Sealing::Snapshot(self.snapshot(name, self.head()?, false, sizes)),
            Some(KeptBy::Hold(_)) | None => Sealing::None,
        };
        self.extend(&layer.id, &sealing)
    }

    /// The same when the one below is the baseline, which was filled with so much.
    pub(crate) fn record_baseline(&self, layer: &mut Unrecorded, seeded: Sizes) -> Result<LayerId, Failure> {
        layer.is_recorded = true;
        let Sizes { entries, bytes } = seeded;
        self.extend(&layer.id, &Sealing::Baseline { entries, bytes })
    }

    /// Keeps a sealed layer whose memory is stored.
    pub(crate) fn keep(&self, layer: &LayerId, kept_by: &KeptBy, sizes: Sizes) -> Result<(), Failure> {
        match kept_by {
            KeptBy::Name(name) => self
                .store
                .add_snapshot(&self.id, &self.snapshot(name, layer.clone(), true, sizes))
                .map_err(|error| record_failed(&error)),
            KeptBy::Hold(token) => match self.store.hold_layer(token, layer) {
                Err(StoreError::LayerUnknown(_)) => {
                    Err(failure(FailureCode::SnapshotUnknown, "the snapshot's layer is gone"))
                }
                held => held.map_err(|error| unusable(&error)),
            },
        }
    }

    /// The workspace is paused: its memory is that of `layer`.
    pub(crate) fn pause(&self, layer: &LayerId) -> Result<(), Failure> {
        match self.store.set_paused(&self.id, Some(layer)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(failure(FailureCode::WorkspaceGone, "the workspace is being deleted")),
            Err(error) => Err(unusable(&error)),
        }
    }

    /// An image of the memory in the making, for the layer that is written now; and the key it is found by.
    pub(crate) fn draft(&self) -> Result<(Draft, TemplateKey), Failure> {
        let layer = self.head()?;
        let shape = shape_of(&self.machine)?;
        let vmm = format!("qemu {}", self.machine.vmm_version);
        let key = TemplateKey::of_memory(shape, &vmm, PROTOCOL_VERSION);
        let draft = Draft::create(&self.directories.memory(&layer), shape.memory_bytes())
            .map_err(|error| vmm_failed(&VmmError::Template(error)))?;
        Ok((draft, key))
    }

    fn extend(&self, layer: &LayerId, sealing: &Sealing) -> Result<LayerId, Failure> {
        self.store.extend(&self.id, layer, sealing).map_err(|error| record_failed(&error))
    }

    fn head(&self) -> Result<LayerId, Failure> {
        match self.store.workspace(&self.id) {
            Ok(Some(record)) => Ok(record.head),
            Ok(None) => Err(failure(FailureCode::WorkspaceGone, "the workspace is gone")),
            Err(error) => Err(unusable(&error)),
        }
    }

    fn snapshot(&self, name: &SnapshotName, layer: LayerId, has_memory: bool, sizes: Sizes) -> NewSnapshot {
        let Sizes { entries, bytes } = sizes;
        NewSnapshot { name: name.clone(), layer, has_memory, entries, bytes }
    }
}

fn birth(directories: &Directories) -> Result<FileLock, Failure> {
    pyro_store::birth_lock(directories).map_err(|error| system("the state cannot be used", &error))
}

fn unusable(error: &StoreError) -> Failure {
    system("the state cannot be used", error)
}
