//! What tests of workspaces stand on.

use std::fs;
use std::path::{Path, PathBuf};

use crate::workspaces::tests::new_workspace;
use crate::{
    ClaimError, Directories, Durability, LayerId, NewWorkspace, Origin, Reconciled, Store, WorkspaceClaim,
    WorkspaceId, WorkspaceRecord,
};

/// Directories, a store, and the files that workspaces are made from.
pub(crate) struct Yard {
    pub(crate) root: tempfile::TempDir,
    pub(crate) directories: Directories,
    pub(crate) store: Store,
}

impl Yard {
    pub(crate) fn new() -> Yard {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let directories = Directories { state: path("state"), cache: path("cache"), runtime: path("run") };
        directories.create().unwrap();
        fs::write(path("base"), b"base").unwrap();
        fs::write(path("blank"), b"blank").unwrap();
        fs::write(path("disk"), b"template").unwrap();
        let store = Store::open(&directories.database(), Durability::PowerCut).unwrap();
        Yard { root, directories, store }
    }

    /// A workspace with its origin in this yard, and no seed.
    pub(crate) fn new_workspace(&self, name: Option<&str>) -> NewWorkspace {
        let origin = Origin::Template { layer: template_layer(), file: self.root.path().join("disk") };
        NewWorkspace { origin, seed: None, ..new_workspace(name) }
    }

    pub(crate) fn create(&self, new: &NewWorkspace) -> Result<WorkspaceClaim, ClaimError> {
        let path = |name: &str| self.root.path().join(name);
        self.store.create_workspace(&self.directories, new, &path("base"), &path("blank"))
    }

    /// A workspace with work in it.
    pub(crate) fn ready(&self) -> WorkspaceClaim {
        self.ready_on(self.new_workspace(None).origin)
    }

    /// The same on a layer of another one.
    pub(crate) fn ready_on(&self, origin: Origin) -> WorkspaceClaim {
        let claim = self.create(&NewWorkspace { origin, ..self.new_workspace(None) }).unwrap();
        fs::write(self.disk(&claim.id), b"work").unwrap();
        assert!(self.store.set_ready(&claim.id, None).unwrap());
        claim
    }

    /// Claims a workspace that nobody holds any more. A process that another test starts holds what this one has for a
    /// moment, until it is another program.
    pub(crate) fn claim(&self, id: &WorkspaceId) -> WorkspaceClaim {
        for _ in 0..2_000 {
            match self.store.claim_workspace(&self.directories, id) {
                Err(ClaimError::Held(_)) => std::thread::sleep(std::time::Duration::from_millis(1)),
                claim => return claim.unwrap(),
            }
        }
        panic!("{id} stays held");
    }

    pub(crate) fn record(&self, id: &WorkspaceId) -> WorkspaceRecord {
        self.store.workspace(id).unwrap().unwrap()
    }

    /// The file of the layer that a workspace writes.
    pub(crate) fn disk(&self, id: &WorkspaceId) -> PathBuf {
        self.directories.layer(&self.record(id).head)
    }

    /// A new layer's file without a row, as it is before the transaction.
    pub(crate) fn file(&self) -> LayerId {
        let id = LayerId::random().unwrap();
        fs::write(self.directories.layer(&id), b"layer").unwrap();
        id
    }

    /// Names of the files of layers, without what ends them.
    pub(crate) fn files(&self) -> Vec<String> {
        names(&self.directories.layers(), ".qcow2")
    }

    /// Ids of the rows of layers.
    pub(crate) fn rows(&self) -> Vec<String> {
        let mut statement = self.store.connection.prepare("SELECT id FROM layers ORDER BY id").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    pub(crate) fn reconcile(&self) -> Reconciled {
        self.store.reconcile(&self.directories).unwrap()
    }

    pub(crate) fn images(&self) -> usize {
        fs::read_dir(self.directories.bases()).unwrap().count()
    }
}

pub(crate) fn template_layer() -> LayerId {
    LayerId::parse("00000000face").unwrap()
}

/// Names in a directory, sorted, each without its end if it has that.
pub(crate) fn names(directory: &Path, end: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.strip_suffix(end).unwrap_or(&name).to_owned())
        .collect();
    names.sort();
    names
}
