//! What a patch does, in numbers.

use crate::render::Rendered;
use crate::stat::Lines;

/// What happens to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It comes.
    Added,
    /// Its contents or its mode change.
    Modified,
    /// It goes.
    Deleted,
    /// It goes from a file to a symbolic link, or back.
    TypeChanged,
}

/// Counts of paths, and of what a patch cannot carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// All paths that are in the patch.
    pub total: u64,
    /// Those that come.
    pub added: u64,
    /// Those that change.
    pub modified: u64,
    /// Those that go.
    pub deleted: u64,
    /// Those that become something else.
    pub type_changed: u64,
    /// Those whose change is shown in lines, or lies in the header alone.
    pub text_patched: u64,
    /// Those that are carried as bytes.
    pub non_text: u64,
    /// What the patch could not carry.
    pub inexpressible: u64,
    /// Paths that git would refuse.
    pub refused: u64,
}

impl Summary {
    /// Counts a path that was rendered; one that does not change is not counted.
    pub fn count(&mut self, rendered: &Rendered) {
        let Some(kind) = rendered.kind else { return };
        self.total += 1;
        match kind {
            ChangeKind::Added => self.added += 1,
            ChangeKind::Modified => self.modified += 1,
            ChangeKind::Deleted => self.deleted += 1,
            ChangeKind::TypeChanged => self.type_changed += 1,
        }
        match rendered.stat.lines {
            Lines::Text { .. } => self.text_patched += 1,
            Lines::Bytes { .. } => self.non_text += 1,
        }
    }

    /// Counts something that the patch cannot carry ([`crate::Inexpressible`]).
    pub fn count_inexpressible(&mut self) {
        self.inexpressible += 1;
    }

    /// Counts a path that git refuses ([`crate::Refused`]).
    pub fn count_refused(&mut self) {
        self.refused += 1;
    }

    /// Whether the patch says all there was to say.
    pub fn is_complete(&self) -> bool {
        self.inexpressible == 0 && self.refused == 0
    }
}
