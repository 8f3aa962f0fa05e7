//! One change against the host: what the guest had, what it has, and what the host has now.

use std::io::Read;

use pyro_patch::{Merge, merge};
use pyro_proto::tree::{Contents, Node, NodeKind, TreePath};

use super::error::{ApplyError, failed};
use super::executable::{ExecutableReason, by_name};
use super::host::{Fingerprint, HostNode, is_same};
use super::limits::MERGED_BYTES_MAX;
use super::plan::{ActionKind, ConflictKind, LeftOutReason, StepChange};
use super::planner::Planner;
use crate::changes::{FileContents, WholeChange};

/// What becomes of a change.
#[derive(Debug)]
pub(super) enum Decision {
    /// The host has it.
    Already,
    /// Both have changed.
    Conflict(ConflictKind),
    /// The host cannot or need not have it.
    LeaveOut(LeftOutReason),
    /// The file or link on the host goes.
    Delete(Fingerprint),
    /// The directory on the host goes when it is empty, and something may take its place.
    DeleteDirectory(Fingerprint, Option<Replacement>),
    /// Something comes, in the place of what is there if anything is.
    Replace(Option<Fingerprint>, Replacement),
}

/// What comes.
#[derive(Debug)]
pub(super) struct Replacement {
    pub(super) kind: ActionKind,
    pub(super) change: StepChange,
    pub(super) executable: Option<ExecutableReason>,
}

/// How the host's node compares with one side of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    Same,
    Differs,
    OtherKind,
}

impl Planner {
    /// Decides about a change.
    pub(super) fn decide(&mut self, mut whole: WholeChange) -> Result<Decision, ApplyError> {
        let path = whole.change.path.clone();
        let is_special = |node: &Option<Node>| matches!(node, Some(Node { kind: NodeKind::Special, .. }));
        if is_special(&whole.change.after) {
            return Ok(Decision::LeaveOut(LeftOutReason::Special));
        }
        // The host never had one, so what takes its place is new.
        let before = if is_special(&whole.change.before) { None } else { whole.change.before.clone() };
        let host = self.look(&path)?;
        let Some(after) = whole.change.after.clone() else {
            return match before {
                Some(before) => self.decide_deletion(&path, &host, &before, &mut whole),
                None => Ok(Decision::Already),
            };
        };
        match (&host, &before) {
            (HostNode::Blocked | HostNode::Covered, _) => return Ok(Decision::Conflict(ConflictKind::Type)),
            (HostNode::Absent, Some(_)) | (HostNode::Orphaned, _) => {
                return Ok(Decision::Conflict(ConflictKind::Missing));
            }
            (HostNode::Special, Some(_)) => return Ok(Decision::Conflict(ConflictKind::Type)),
            (HostNode::Special, None) => return Ok(Decision::Conflict(ConflictKind::Exists)),
            _ => {}
        }
        if whole.change.contents == Contents::TooLarge {
            return Ok(Decision::Conflict(ConflictKind::TooLarge));
        }
        match (host, before) {
            (HostNode::Absent, _) => {
                let replacement = self.replacement(&path, ActionKind::Add, None, &after, &mut whole)?;
                Ok(Decision::Replace(None, replacement))
            }
            (host, None) => Ok(match self.compare(&path, &host, &after, whole.after.as_mut())? {
                Match::Same => mode_only(&path, &host, None, &after),
                _ => Decision::Conflict(ConflictKind::Exists),
            }),
            (host, Some(before)) => self.decide_change(&path, &host, &before, &after, &mut whole),
        }
    }

    fn decide_deletion(
        &mut self,
        path: &TreePath,
        host: &HostNode,
        before: &Node,
        whole: &mut WholeChange,
    ) -> Result<Decision, ApplyError> {
        let fingerprint = match host {
            HostNode::Absent | HostNode::Orphaned | HostNode::Covered => return Ok(Decision::Already),
            HostNode::Blocked | HostNode::Special => return Ok(Decision::Conflict(ConflictKind::Type)),
            HostNode::Directory(fingerprint)
            | HostNode::File(fingerprint)
            | HostNode::Symlink(fingerprint, _) => *fingerprint,
        };
        if whole.change.contents == Contents::TooLarge {
            return Ok(Decision::Conflict(ConflictKind::TooLarge));
        }
        Ok(match self.compare(path, host, before, whole.before.as_mut())? {
            Match::Same if before.kind == NodeKind::Directory => Decision::DeleteDirectory(fingerprint, None),
            Match::Same => Decision::Delete(fingerprint),
            Match::Differs => Decision::Conflict(ConflictKind::Content),
            Match::OtherKind => Decision::Conflict(ConflictKind::Type),
        })
    }

    /// Both sides of the change and the host have something here.
    fn decide_change(
        &mut self,
        path: &TreePath,
        host: &HostNode,
        before: &Node,
        after: &Node,
        whole: &mut WholeChange,
    ) -> Result<Decision, ApplyError> {
        let is_file = |node: &Node| matches!(node.kind, NodeKind::File { .. });
        if whole.change.contents == Contents::Same && is_file(before) && is_file(after) {
            return Ok(match host {
                HostNode::File(_) => mode_only(path, host, Some(before), after),
                _ => Decision::Conflict(ConflictKind::Type),
            });
        }
        if self.compare(path, host, after, whole.after.as_mut())? == Match::Same {
            return Ok(mode_only(path, host, Some(before), after));
        }
        let matched = self.compare(path, host, before, whole.before.as_mut())?;
        let old = match host {
            HostNode::Directory(old) | HostNode::File(old) | HostNode::Symlink(old, _) => *old,
            _ => return Ok(Decision::Conflict(ConflictKind::Type)),
        };
        match matched {
            Match::Same => {
                let kept = (is_file(before) && is_file(after)).then_some((before.mode, old.mode));
                let replacement = self.replacement(path, ActionKind::Modify, kept, after, whole)?;
                Ok(match host {
                    HostNode::Directory(_) => Decision::DeleteDirectory(old, Some(replacement)),
                    _ => Decision::Replace(Some(old), replacement),
                })
            }
            Match::Differs if is_file(before) && is_file(after) => {
                self.decide_merge(path, &old, before, after, whole)
            }
            Match::Differs => Ok(Decision::Conflict(ConflictKind::Content)),
            Match::OtherKind => Ok(Decision::Conflict(ConflictKind::Type)),
        }
    }

    fn decide_merge(
        &mut self,
        path: &TreePath,
        old: &Fingerprint,
        before: &Node,
        after: &Node,
        whole: &mut WholeChange,
    ) -> Result<Decision, ApplyError> {
        let conflict = Ok(Decision::Conflict(ConflictKind::Content));
        let (Some(base), Some(theirs)) = (&mut whole.before, &mut whole.after) else { return conflict };
        if [base.len(), theirs.len(), old.size].iter().any(|bytes| *bytes > MERGED_BYTES_MAX) {
            return conflict;
        }
        let mut ours = Vec::new();
        let file = self.plan.tree.open_file(path, old)?;
        file.take(MERGED_BYTES_MAX).read_to_end(&mut ours).map_err(|error| failed("read", path, error))?;
        let base = base.read().map_err(ApplyError::Spool)?;
        let theirs = theirs.read().map_err(ApplyError::Spool)?;
        let Merge::Clean(merged) = merge(&base, &ours, &theirs) else { return conflict };
        if merged == ours {
            return Ok(mode_only(path, &HostNode::File(*old), Some(before), after));
        }
        let contents = self.plan.spool.keep(&mut &merged[..])?;
        let mode = merged_mode(old.mode, before.mode, after.mode);
        let executable = reason_for(path, after.mode, mode);
        let change = StepChange::File { contents, mode, kept_mode: old.mode & 0o777 };
        Ok(Decision::Replace(Some(*old), Replacement { kind: ActionKind::Merge, change, executable }))
    }

    /// The host's node, in the light of directories that the plan makes.
    fn look(&self, path: &TreePath) -> Result<HostNode, ApplyError> {
        let node = self.plan.tree.look(path)?;
        let is_parent_made = || path.split().is_some_and(|(parent, _)| self.made.contains(&parent));
        match node {
            HostNode::Orphaned | HostNode::Blocked | HostNode::Covered if is_parent_made() => {
                Ok(HostNode::Absent)
            }
            node => Ok(node),
        }
    }

    fn compare(
        &self,
        path: &TreePath,
        host: &HostNode,
        node: &Node,
        contents: Option<&mut FileContents>,
    ) -> Result<Match, ApplyError> {
        let is_equal = match (host, &node.kind) {
            (HostNode::Directory(_), NodeKind::Directory) => true,
            (HostNode::Symlink(_, host), NodeKind::Symlink { target }) => host == target,
            (HostNode::File(fingerprint), NodeKind::File { bytes }) => match contents {
                Some(contents) if fingerprint.size == *bytes => {
                    let mut file = self.plan.tree.open_file(path, fingerprint)?;
                    let mut contents = contents.reader().map_err(ApplyError::Spool)?;
                    is_same(&mut file, &mut contents).map_err(|error| failed("read", path, error))?
                }
                _ => false,
            },
            _ => return Ok(Match::OtherKind),
        };
        Ok(if is_equal { Match::Same } else { Match::Differs })
    }

    /// What puts a side of a change in its place. `kept` has the modes of the baseline's file and the host's,
    /// when a file takes the place of a file.
    fn replacement(
        &mut self,
        path: &TreePath,
        kind: ActionKind,
        kept: Option<(u32, u32)>,
        after: &Node,
        whole: &mut WholeChange,
    ) -> Result<Replacement, ApplyError> {
        let (change, executable) = match &after.kind {
            NodeKind::File { .. } => {
                let contents = match &mut whole.after {
                    Some(contents) => {
                        self.plan.spool.keep(&mut contents.reader().map_err(ApplyError::Spool)?)?
                    }
                    None => self.plan.spool.keep(&mut std::io::empty())?,
                };
                let (mode, kept_mode) = match kept {
                    Some((before, host)) => (merged_mode(host, before, after.mode), host & 0o777),
                    None => (after.mode & 0o777, 0),
                };
                (StepChange::File { contents, mode, kept_mode }, reason_for(path, after.mode, mode))
            }
            NodeKind::Symlink { target } => {
                (StepChange::Symlink { target: target.clone() }, by_name(path.names()))
            }
            _ => (StepChange::Directory { mode: after.mode & 0o777 }, None),
        };
        Ok(Replacement { kind, change, executable })
    }
}

/// The contents are as they should be; the mode may not be.
fn mode_only(path: &TreePath, host: &HostNode, before: Option<&Node>, after: &Node) -> Decision {
    let (old, is_file) = match host {
        HostNode::File(old) => (*old, true),
        HostNode::Directory(old) => (*old, false),
        _ => return Decision::Already,
    };
    let mode = match before {
        Some(before) if is_file == matches!(before.kind, NodeKind::File { .. }) => {
            merged_mode(old.mode, before.mode, after.mode)
        }
        // Both have made it: what the guest can execute, so can the host.
        _ if is_file => old.mode & 0o777 | after.mode & 0o111,
        _ => old.mode & 0o777,
    };
    if mode == old.mode & 0o777 {
        return Decision::Already;
    }
    let is_made_executable = is_file && mode & 0o111 & !old.mode != 0;
    let executable = if is_made_executable { reason_for(path, after.mode, mode) } else { None };
    let change = StepChange::Mode { mode };
    Decision::Replace(Some(old), Replacement { kind: ActionKind::Mode, change, executable })
}

/// The host's permissions with what the guest has changed of them.
fn merged_mode(host: u32, before: u32, after: u32) -> u32 {
    (host & !(before & !after) | after & !before) & 0o777
}

/// Why a file that is written counts as one that the host runs.
fn reason_for(path: &TreePath, guest_mode: u32, mode: u32) -> Option<ExecutableReason> {
    by_name(path.names()).or(match (guest_mode & 0o6000, mode & 0o111) {
        (0, 0) => None,
        (0, _) => Some(ExecutableReason::ExecutableBit),
        _ => Some(ExecutableReason::SetId),
    })
}
