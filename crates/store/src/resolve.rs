//! From what a person typed to a workspace: its id, its name, or the beginning of its id.

use crate::limits::{CANDIDATES_MAX, CLOSE_NAMES_MAX};
use crate::{Store, StoreError, WorkspaceId, WorkspaceName, WorkspaceRecord};

/// Below this a name is not close to what was typed (`strsim::jaro_winkler`, 0 to 1).
const CLOSENESS_MIN: f64 = 0.8;

/// A reference that names no one workspace.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// It names none.
    #[error("there is no workspace `{reference}`")]
    Unknown {
        /// What was typed.
        reference: String,
        /// Names that look like it, the closest first.
        close: Vec<WorkspaceName>,
    },
    /// It names several.
    #[error("`{reference}` is the beginning of several workspaces' ids")]
    Ambiguous {
        /// What was typed.
        reference: String,
        /// Whose; not all of them when they are many.
        candidates: Vec<WorkspaceId>,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// The workspace that has this id, else the one that has this name, else the only one whose id starts so.
    pub fn resolve(&self, reference: &str) -> Result<WorkspaceRecord, ResolveError> {
        let records = self.workspaces(&[])?;
        let name_of = |record: &WorkspaceRecord| record.workspace.name.clone();
        let exact = records
            .iter()
            .find(|record| record.workspace.id.as_str() == reference)
            .or_else(|| records.iter().find(|it| name_of(it).is_some_and(|name| name.as_str() == reference)));
        if let Some(record) = exact {
            return Ok(record.clone());
        }
        let starting = |record: &&WorkspaceRecord| {
            !reference.is_empty() && record.workspace.id.as_str().starts_with(reference)
        };
        let mut candidates: Vec<&WorkspaceRecord> = records.iter().filter(starting).collect();
        match (candidates.pop(), candidates.is_empty()) {
            (Some(only), true) => Ok(only.clone()),
            (Some(last), false) => {
                candidates.push(last);
                candidates.truncate(CANDIDATES_MAX);
                let candidates = candidates.iter().map(|record| record.workspace.id.clone()).collect();
                Err(ResolveError::Ambiguous { reference: reference.to_owned(), candidates })
            }
            (None, _) => {
                let names = records.iter().filter_map(name_of).collect();
                Err(ResolveError::Unknown {
                    reference: reference.to_owned(),
                    close: closest(reference, names),
                })
            }
        }
    }
}

fn closest(reference: &str, names: Vec<WorkspaceName>) -> Vec<WorkspaceName> {
    let mut rated: Vec<(f64, WorkspaceName)> = names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(reference, name.as_str()), name))
        .filter(|(closeness, _)| *closeness >= CLOSENESS_MIN)
        .collect();
    rated.sort_by(|a, b| b.0.total_cmp(&a.0));
    rated.into_iter().take(CLOSE_NAMES_MAX).map(|(_, name)| name).collect()
}
