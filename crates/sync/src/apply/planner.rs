//! Takes the stream of changes in and compares each with the host. Reads the host, writes nothing to it.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use pyro_patch::{Refused, classify};
use pyro_proto::tree::{Change, Contents, Item, Node, NodeKind, Record, TreePath};

use super::decision::{Decision, Replacement};
use super::error::ApplyError;
use super::executable::{by_name, leads_outside};
use super::host::{Fingerprint, HostTree};
use super::plan::{
    Action, ActionKind, Conflict, ConflictKind, Executable, LeftOut, LeftOutReason, Plan, Step, StepChange,
};
use super::spool::Spool;
use crate::changes::{ChangeReader, ChangesError, WholeChange};

/// What one plan may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyOptions {
    /// Paths whose changes are wanted, each with all below it; all when there is none.
    pub paths: Vec<TreePath>,
    /// Largest contents of a file that were asked for.
    pub file_bytes_max: u64,
    /// Sum of all contents to write.
    pub bytes_max: u64,
    /// Number of changes.
    pub changes_max: usize,
    /// Where the directory is in what its owner knows as one tree: names are judged from that tree's root.
    pub prefix: TreePath,
    /// Directory for a temporary file with what is to be written.
    pub spool_directory: PathBuf,
}

/// A plan in the making.
#[derive(Debug)]
pub struct Planner {
    pub(super) plan: Plan,
    options: ApplyOptions,
    reader: ChangeReader,
    has_ended: bool,
    seen: HashSet<TreePath>,
    /// Directories that the plan makes.
    pub(super) made: HashSet<TreePath>,
    /// Paths that the plan empties.
    removed: HashSet<TreePath>,
    /// Directories that are to go once they are empty, with what is to take their place.
    pending: BTreeMap<TreePath, (Fingerprint, Option<Replacement>)>,
}

impl HostTree {
    /// Begins a plan of changes to this directory.
    pub fn planner(self, options: ApplyOptions) -> Result<Planner, ApplyError> {
        let spool = Spool::new(&options.spool_directory, options.bytes_max)?;
        let plan = Plan {
            tree: self,
            spool,
            steps: Vec::new(),
            actions: Vec::new(),
            conflicts: Vec::new(),
            executables: Vec::new(),
            links_outside: Vec::new(),
            left_out: Vec::new(),
            git_left_out: 0,
            already: 0,
            unselected: 0,
        };
        let reader = ChangeReader::new(options.file_bytes_max);
        Ok(Planner {
            plan,
            options,
            reader,
            has_ended: false,
            seen: HashSet::new(),
            made: HashSet::new(),
            removed: HashSet::new(),
            pending: BTreeMap::new(),
        })
    }
}

impl Planner {
    /// Takes a record of the stream. After an error, this is only to be dropped.
    pub fn take(&mut self, record: &Record) -> Result<(), ApplyError> {
        if self.has_ended {
            return Err(ChangesError::Malformed("records behind the end").into());
        }
        self.has_ended = record.item == Item::End;
        match self.reader.take(record)? {
            Some(whole) => self.take_change(whole),
            None => Ok(()),
        }
    }

    /// The plan, once the stream has ended.
    pub fn finish(mut self) -> Result<Plan, ApplyError> {
        if !self.has_ended {
            return Err(ChangesError::Malformed("it stops before its end").into());
        }
        // Inner ones first: an outer one may be empty only without them.
        while let Some((path, (fingerprint, replacement))) = self.pending.pop_last() {
            self.finish_directory(path, fingerprint, replacement)?;
        }
        let plan = &mut self.plan;
        plan.actions.sort_by(|one, other| one.path.cmp(&other.path));
        plan.conflicts.sort_by(|one, other| one.path.cmp(&other.path));
        plan.left_out.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(self.plan)
    }

    fn take_change(&mut self, whole: WholeChange) -> Result<(), ApplyError> {
        check(&whole)?;
        let path = whole.change.path.clone();
        if !self.seen.insert(path.clone()) {
            return Err(ChangesError::Malformed("a path comes twice").into());
        }
        if self.seen.len() > self.options.changes_max {
            return Err(ApplyError::TooManyChanges { changes_max: self.options.changes_max });
        }
        let whole_path: Vec<&[u8]> = self.options.prefix.names().chain(path.names()).collect();
        if classify(&whole_path.join(&b'/'), false) == Some(Refused::GitDirectory) {
            self.plan.git_left_out += 1;
            return Ok(());
        }
        if !self.is_selected(&whole.change) {
            self.plan.unselected += 1;
            return Ok(());
        }
        match self.decide(whole)? {
            Decision::Already => self.plan.already += 1,
            Decision::Conflict(kind) => self.plan.conflicts.push(Conflict { path, kind }),
            Decision::LeaveOut(reason) => self.plan.left_out.push(LeftOut { path, reason }),
            Decision::Delete(fingerprint) => {
                self.removed.insert(path.clone());
                self.plan.actions.push(Action { path: path.clone(), kind: ActionKind::Delete });
                self.plan.steps.push(Step { path, expected: Some(fingerprint), change: StepChange::Delete });
            }
            Decision::DeleteDirectory(fingerprint, replacement) => {
                self.pending.insert(path, (fingerprint, replacement));
            }
            Decision::Replace(expected, replacement) => self.add(path, expected, replacement),
        }
        Ok(())
    }

    fn is_selected(&self, change: &Change) -> bool {
        let is_new_directory =
            change.before.is_none() && matches!(&change.after, Some(Node { kind: NodeKind::Directory, .. }));
        self.options.paths.is_empty()
            || self.options.paths.iter().any(|wanted| {
                // A new directory is needed for what is wanted in it.
                change.path.is_within(wanted) || (is_new_directory && wanted.is_within(&change.path))
            })
    }

    fn add(&mut self, path: TreePath, expected: Option<Fingerprint>, replacement: Replacement) {
        if let StepChange::Symlink { target } = &replacement.change
            && leads_outside(path.names().count().saturating_sub(1), target)
        {
            self.plan.links_outside.push(path.clone());
        }
        if let StepChange::Directory { .. } = replacement.change {
            self.made.insert(path.clone());
        }
        let by_place = || match replacement.change {
            StepChange::File { .. } | StepChange::Symlink { .. } => {
                by_name(self.options.prefix.names().chain(path.names()))
            }
            _ => None,
        };
        if let Some(reason) = replacement.executable.or_else(by_place) {
            self.plan.executables.push(Executable { path: path.clone(), reason });
        }
        self.plan.actions.push(Action { path: path.clone(), kind: replacement.kind });
        self.plan.steps.push(Step { path, expected, change: replacement.change });
    }

    /// Decides about a directory that is to go, when all below it is decided.
    fn finish_directory(
        &mut self,
        path: TreePath,
        fingerprint: Fingerprint,
        replacement: Option<Replacement>,
    ) -> Result<(), ApplyError> {
        let names = self.plan.tree.names(&path)?;
        let is_emptied =
            names.iter().all(|name| path.join(name).is_ok_and(|inner| self.removed.contains(&inner)));
        if !is_emptied {
            match replacement {
                Some(_) => self.plan.conflicts.push(Conflict { path, kind: ConflictKind::Type }),
                None => self.plan.left_out.push(LeftOut { path, reason: LeftOutReason::NotEmpty }),
            }
            return Ok(());
        }
        self.removed.insert(path.clone());
        self.plan.steps.push(Step {
            path: path.clone(),
            expected: Some(fingerprint),
            change: StepChange::DeleteDirectory,
        });
        match replacement {
            Some(replacement) => self.add(path, None, replacement),
            None => self.plan.actions.push(Action { path, kind: ActionKind::Delete }),
        }
        Ok(())
    }
}

/// Refuses changes that the contract has no room for.
fn check(whole: &WholeChange) -> Result<(), ChangesError> {
    let change = &whole.change;
    for (node, contents) in [(&change.before, &whole.before), (&change.after, &whole.after)] {
        match node.as_ref().map(|node| &node.kind) {
            Some(NodeKind::HardLink { .. }) => {
                return Err(ChangesError::Malformed("a second name in a change"));
            }
            Some(NodeKind::Symlink { target }) if target.is_empty() || target.contains(&0) => {
                return Err(ChangesError::Malformed("a symbolic link to nothing"));
            }
            Some(NodeKind::File { .. }) if contents.is_none() && change.contents != Contents::TooLarge => {
                let is_both_files = [&change.before, &change.after]
                    .iter()
                    .all(|node| matches!(node, Some(Node { kind: NodeKind::File { .. }, .. })));
                if change.contents != Contents::Same || !is_both_files {
                    return Err(ChangesError::Malformed("a file without its contents"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
