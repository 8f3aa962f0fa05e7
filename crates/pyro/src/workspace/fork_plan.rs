//! What copies of a workspace will be called: decided, and found to be possible, before the first is made. Pure.

use std::collections::BTreeSet;

use pyro_store::{Labels, WorkspaceId, WorkspaceName};

use super::SnapshotScope;
use super::create::new_workspace_id;
use super::info::{labels_of, no_label, parse_name};
use crate::limits::FORKS_MAX;
use crate::{Code, Failure};

/// Copies to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkRequest {
    /// The snapshot that they are copies of; of the running workspace without.
    pub snapshot: Option<String>,
    /// Whether they get the snapshot's memory too, where it has one.
    pub scope: SnapshotScope,
    /// How many.
    pub count: usize,
    /// What one is called; several get `-1`, `-2` and so on behind it.
    pub name: Option<String>,
    /// Labels, `KEY=VALUE`, beside those of the workspace.
    pub labels: Vec<String>,
}

/// One copy to be.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    pub(super) id: WorkspaceId,
    pub(super) name: Option<WorkspaceName>,
}

/// Ids and names of all copies; `taken` are the names that there are.
pub(super) fn copies(request: &ForkRequest, taken: &BTreeSet<WorkspaceName>) -> Result<Vec<Copy>, Failure> {
    if !(1..=FORKS_MAX).contains(&request.count) {
        return Err(Failure::new(
            Code::InvalidArgument,
            format!("--count {} is out of range", request.count),
        )
        .fix(format!("choose 1 to {FORKS_MAX}")));
    }
    let name_of = |number: usize| match (&request.name, request.count) {
        (None, _) => Ok(None),
        (Some(name), 1) => parse_name(name).map(Some),
        (Some(name), _) => parse_name(&format!("{name}-{number}")).map(Some),
    };
    (1..=request.count)
        .map(|number| {
            let name = name_of(number)?;
            match name.as_ref().filter(|name| taken.contains(*name)) {
                Some(name) => Err(pyro_store::RecordError::NameTaken(name.clone()).into()),
                None => Ok(Copy { id: new_workspace_id()?, name }),
            }
        })
        .collect()
}

/// The labels of every copy: the workspace's, and those that were asked for.
pub(super) fn labels(of_source: &Labels, asked: &[String]) -> Result<Labels, Failure> {
    let mut all = of_source.clone().into_map();
    all.extend(labels_of(asked)?.into_map());
    Labels::new(all).map_err(|error| no_label(&asked.join(" "), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(count: usize, name: Option<&str>) -> ForkRequest {
        ForkRequest {
            snapshot: None,
            scope: SnapshotScope::DiskAndMemory,
            count,
            name: name.map(str::to_owned),
            labels: Vec::new(),
        }
    }

    fn names(count: usize, name: Option<&str>, taken: &[&str]) -> Result<Vec<Option<String>>, Code> {
        let taken = taken.iter().map(|name| WorkspaceName::parse(name).unwrap()).collect();
        let copies = copies(&request(count, name), &taken).map_err(|failure| failure.code)?;
        Ok(copies.into_iter().map(|copy| copy.name.map(|name| name.to_string())).collect())
    }

    /// One copy has the name itself, several have it with numbers, and none that is taken.
    #[test]
    fn copies_are_called_as_asked() {
        assert_eq!(names(2, None, &["x"]), Ok(vec![None, None]));
        assert_eq!(names(1, Some("x"), &["x-1"]), Ok(vec![Some("x".to_owned())]));
        assert_eq!(names(2, Some("x"), &["x"]), Ok(vec![Some("x-1".to_owned()), Some("x-2".to_owned())]));
        assert_eq!(names(1, Some("x"), &["x"]), Err(Code::NameTaken));
        assert_eq!(names(3, Some("x"), &["x-3"]), Err(Code::NameTaken));
        assert_eq!(names(2, Some(&"x".repeat(63)), &[]), Err(Code::InvalidArgument));
    }

    /// Neither none nor more than the bound.
    #[test]
    fn the_count_is_bounded() {
        assert_eq!(names(0, None, &[]), Err(Code::InvalidArgument));
        assert_eq!(names(FORKS_MAX + 1, None, &[]), Err(Code::InvalidArgument));
        assert_eq!(names(FORKS_MAX, None, &[]).map(|names| names.len()), Ok(FORKS_MAX));
    }

    /// A copy is found by what its source is found by, and by more.
    #[test]
    fn labels_are_inherited() {
        let source = Labels::parse([("team", "a"), ("try", "0")]).unwrap();
        let all = labels(&source, &["try=1".to_owned(), "new=".to_owned()]).unwrap();
        assert_eq!(all, Labels::parse([("team", "a"), ("try", "1"), ("new", "")]).unwrap());
        assert!(labels(&source, &["nonsense".to_owned()]).is_err());
    }
}
