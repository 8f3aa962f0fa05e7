//! Changes of what people say of a workspace: name, labels, time to live; all of a change or nothing.

use rusqlite::{OptionalExtension, params};

use crate::columns::to_integer;
use crate::workspaces::{read_labels, set_label};
use crate::{InvalidName, LabelKey, Labels, RecordError, Store, WorkspaceId, WorkspaceName};

/// What shall be otherwise; what is `None` or empty stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkspaceChange {
    /// Another name, or no name any more.
    pub name: Option<Option<WorkspaceName>>,
    /// Every label goes, before others are set.
    pub clear_labels: bool,
    /// Labels that go.
    pub remove_labels: Vec<LabelKey>,
    /// Labels that come, in place of others with their keys.
    pub set_labels: Labels,
    /// Another time to live, or none.
    pub ttl_seconds: Option<Option<u64>>,
}

/// A change that was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The record refuses it.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The workspace would have too many labels.
    #[error(transparent)]
    Labels(#[from] InvalidName),
}

impl Store {
    /// Makes a change in one transaction.
    pub fn update(&self, id: &WorkspaceId, change: &WorkspaceChange) -> Result<(), ChangeError> {
        let transaction = self.write().map_err(RecordError::from)?;
        let fail = |error| RecordError::Store(self.fail(error));
        let there = transaction
            .query_row(
                "SELECT 1 FROM workspaces WHERE id = ?1 AND state = 'ready'",
                params![id.as_str()],
                |_| Ok(()),
            )
            .optional()
            .map_err(fail)?;
        if there.is_none() {
            return Err(RecordError::Gone(id.clone()).into());
        }
        if let Some(name) = &change.name {
            let text = name.as_ref().map(WorkspaceName::as_str);
            transaction
                .execute("UPDATE workspaces SET name = ?2 WHERE id = ?1", params![id.as_str(), text])
                .map_err(|error| self.name_taken(error, name.as_ref()))?;
        }
        if let Some(ttl) = change.ttl_seconds {
            let ttl = ttl.map(to_integer);
            transaction
                .execute("UPDATE workspaces SET ttl_seconds = ?2 WHERE id = ?1", params![id.as_str(), ttl])
                .map_err(fail)?;
        }
        if change.clear_labels {
            transaction
                .execute("DELETE FROM workspace_labels WHERE workspace_id = ?1", params![id.as_str()])
                .map_err(fail)?;
        }
        for key in &change.remove_labels {
            transaction
                .execute(
                    "DELETE FROM workspace_labels WHERE workspace_id = ?1 AND key = ?2",
                    params![id.as_str(), key.as_str()],
                )
                .map_err(fail)?;
        }
        let mut labels = read_labels(&transaction, id).map_err(fail)?.into_map();
        labels.extend(change.set_labels.clone().into_map());
        Labels::new(labels)?;
        for (key, value) in change.set_labels.iter() {
            set_label(&transaction, id, key, value).map_err(fail)?;
        }
        transaction.commit().map_err(fail)?;
        Ok(())
    }
}
