//! What a record refuses.

use crate::limits::{LAYERS_CHAIN_MAX, SERVICE_DEFINITION_BYTES_MAX, SERVICES_MAX, SNAPSHOTS_MAX};
use crate::{LayerId, SnapshotName, StoreError, WorkspaceId, WorkspaceName};

/// A workspace could not be recorded, or its record not be changed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Another workspace has this name.
    #[error("another workspace has the name `{0}`")]
    NameTaken(WorkspaceName),
    /// There is no such workspace.
    #[error("there is no workspace {0}")]
    Gone(WorkspaceId),
    /// The workspace has a snapshot of this name.
    #[error("the workspace has a snapshot `{0}` already")]
    SnapshotTaken(SnapshotName),
    /// The workspace has no snapshot of this name.
    #[error("the workspace has no snapshot `{0}`")]
    SnapshotUnknown(SnapshotName),
    /// Every workspace has its baseline under this name.
    #[error("the name `{0}` is kept for what a workspace was made as")]
    SnapshotReserved(SnapshotName),
    /// One more would be too many.
    #[error("a workspace has {SNAPSHOTS_MAX} snapshots at most")]
    SnapshotsTooMany,
    /// It cannot carry one more.
    #[error("a disk has {LAYERS_CHAIN_MAX} layers at most, and so many end with {0}")]
    LayersTooMany(LayerId),
    /// There is no such layer, or it is not the one that was to be sealed.
    #[error("there is no layer {0} to be kept")]
    LayerUnknown(LayerId),
    /// A workspace writes it: what stands on it would change.
    #[error("the layer {0} is still being written")]
    LayerWritten(LayerId),
    /// One more would be too many.
    #[error("a workspace has {SERVICES_MAX} services at most")]
    ServicesTooMany,
    /// Its definition is too long.
    #[error("a service's command and environment have {SERVICE_DEFINITION_BYTES_MAX} bytes at most")]
    ServiceTooLong,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}
