//! What the store tells of, in the words of the product.

use super::{Code, Failure, chain, remedies};

impl From<pyro_store::StoreError> for Failure {
    fn from(error: pyro_store::StoreError) -> Self {
        use pyro_store::StoreError::{Busy, Damaged, LayerUnknown, LayersBroken, Newer, NoSpace, Unusable};
        let text = chain(&error);
        match error {
            Damaged(path) => Failure::new(Code::StateDamaged, text)
                .fix(format!("move {} aside and run the command again", path.display())),
            Newer { .. } => Failure::new(Code::StateNewer, text)
                .fix("use the newer pyro, or point PYRO_STATE_DIR at another directory"),
            NoSpace(_) => Failure::new(Code::NoSpace, text).fix("free some space and run the command again"),
            LayersBroken(_) => Failure::new(Code::LayerDamaged, text).fix(remedies::LAYER_DAMAGED),
            LayerUnknown(_) => Failure::new(Code::SnapshotUnknown, text).fix(remedies::SNAPSHOT_UNKNOWN),
            Busy(_) => Failure::new(Code::StateUnusable, text).fix("run the command again"),
            Unusable { .. } => Failure::new(Code::StateUnusable, text)
                .fix("make the directory writable, or point PYRO_STATE_DIR at one that is"),
        }
    }
}

impl From<pyro_store::ResolveError> for Failure {
    fn from(error: pyro_store::ResolveError) -> Self {
        use pyro_store::ResolveError::{Ambiguous, Store, Unknown};
        let text = error.to_string();
        match error {
            Store(error) => error.into(),
            Unknown { close, .. } => {
                let fix = match close.first() {
                    Some(close) => format!("did you mean `{close}`? see `pyro workspace list`"),
                    None => "list those that are there with `pyro workspace list`".to_owned(),
                };
                Failure::new(Code::WorkspaceUnknown, text).fix(fix)
            }
            Ambiguous { candidates, .. } => {
                let candidates: Vec<&str> = candidates.iter().map(pyro_store::WorkspaceId::as_str).collect();
                Failure::new(Code::WorkspaceAmbiguous, text)
                    .because(candidates.join(", "))
                    .fix("give more of the id, or the name")
            }
        }
    }
}

impl From<pyro_store::RecordError> for Failure {
    fn from(error: pyro_store::RecordError) -> Self {
        use pyro_store::RecordError::{
            Gone, LayerUnknown, LayerWritten, LayersTooMany, NameTaken, ServiceTooLong, ServicesTooMany,
            SnapshotReserved, SnapshotTaken, SnapshotUnknown, SnapshotsTooMany, Store,
        };
        let text = error.to_string();
        match error {
            NameTaken(_) => {
                Failure::new(Code::NameTaken, text).fix("choose another name, or delete the other workspace")
            }
            Gone(_) => Failure::new(Code::WorkspaceUnknown, text)
                .fix("list those that are there with `pyro workspace list`"),
            SnapshotTaken(_) => Failure::new(Code::SnapshotTaken, text).fix(remedies::SNAPSHOT_TAKEN),
            SnapshotUnknown(_) => Failure::new(Code::SnapshotUnknown, text).fix(remedies::SNAPSHOT_UNKNOWN),
            SnapshotReserved(_) => Failure::new(Code::SnapshotReserved, text).fix("choose another name"),
            SnapshotsTooMany | LayersTooMany(_) => {
                Failure::new(Code::LayersTooMany, text).fix(remedies::LAYERS_TOO_MANY)
            }
            ServiceTooLong => {
                Failure::new(Code::InvalidArgument, text).fix("put them into a file of the workspace")
            }
            ServicesTooMany => Failure::new(Code::InvalidArgument, text)
                .fix("start it under the name of one that is not needed any more"),
            LayerUnknown(_) | LayerWritten(_) => {
                Failure::new(Code::LayerDamaged, text).fix(remedies::LAYER_DAMAGED)
            }
            Store(error) => error.into(),
        }
    }
}

impl From<pyro_store::ShellError> for Failure {
    fn from(error: pyro_store::ShellError) -> Self {
        use pyro_store::ShellError::{Ambiguous, Store, Unknown};
        let text = error.to_string();
        match error {
            Unknown(_) => Failure::new(Code::ShellUnknown, text).fix(remedies::SHELL_UNKNOWN),
            Ambiguous(_) => Failure::new(Code::ShellUnknown, text).fix("give more of the id"),
            Store(error) => error.into(),
        }
    }
}

impl From<pyro_store::ChangeError> for Failure {
    fn from(error: pyro_store::ChangeError) -> Self {
        match error {
            pyro_store::ChangeError::Record(error) => error.into(),
            pyro_store::ChangeError::Labels(error) => Failure::new(Code::InvalidArgument, error.to_string())
                .fix("take some away with --clear-label"),
        }
    }
}

impl From<pyro_store::ClaimError> for Failure {
    fn from(error: pyro_store::ClaimError) -> Self {
        let text = chain(&error);
        match error {
            pyro_store::ClaimError::Record(error) => error.into(),
            pyro_store::ClaimError::Held(_) => Failure::new(Code::WorkspaceHeld, text).fix(remedies::HELD),
            pyro_store::ClaimError::File { .. } | pyro_store::ClaimError::Lock(_) => {
                Failure::new(Code::StateUnusable, text)
                    .fix("make the state directory writable, or point PYRO_STATE_DIR at one that is")
            }
        }
    }
}
