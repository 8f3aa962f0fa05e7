//! What git ignores (gitignore(5)): patterns of a directory and those above it, of the repository and of the
//! user, and the index, because what is tracked is not ignored. It reads what git has written, runs nothing
//! of git's, and needs no repository: patterns hold without one.

mod bracket;
mod index;
mod pattern;
mod repository;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use pattern::Patterns;
use repository::Repository;

/// How git's rules are found.
#[derive(Clone, Debug, Default)]
pub struct GitRules {
    /// The user's own file of patterns, for repositories that name no other.
    pub user_excludes: Option<PathBuf>,
    /// What `~` stands for in a repository's configuration.
    pub home: Option<PathBuf>,
}

/// Where git looks for the user's own patterns. The only function here that reads the environment.
pub fn user_excludes() -> Option<PathBuf> {
    ignore::gitignore::gitconfig_excludes_path()
}

/// Git's rules cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// A file of git's cannot be read.
    #[error("{path} cannot be read", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An index that breaks the format, or ends early.
    #[error("the git index {path} is damaged: {what}", path = path.display())]
    IndexDamaged {
        /// Which.
        path: PathBuf,
        /// How.
        what: &'static str,
    },
    /// An index in a form that is not read.
    #[error("the git index {path} {what}", path = path.display())]
    IndexForm {
        /// Which.
        path: PathBuf,
        /// Its form.
        what: &'static str,
    },
    /// A `.git` file that leads nowhere.
    #[error("{path} leads to no repository", path = path.display())]
    NoRepository {
        /// Which.
        path: PathBuf,
    },
}

impl GitError {
    /// What its reader can do about it.
    pub(super) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            GitError::IndexDamaged { .. } => "let git write a new one: remove it and run git reset",
            GitError::IndexForm { .. } => {
                "let git write a plain one: git update-index --no-split-index --index-version 2"
            }
            GitError::NoRepository { .. } => "run git worktree repair, or remove the file",
            GitError::Read { .. } => return None,
        })
    }
}

/// Whether git ignores something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ignored {
    /// It does not.
    No,
    /// A directory that it ignores, but for what is tracked in it.
    Untracked,
    /// It does.
    Whole,
}

/// The rules that hold in one directory. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    repository: Rc<Repository>,
    innermost: Option<Rc<Level>>,
}

/// A directory's own patterns.
#[derive(Debug)]
struct Level {
    /// The directory, relative to the repository's top.
    base: Vec<u8>,
    patterns: Patterns,
    outer: Option<Rc<Level>>,
}

impl Scope {
    /// The rules around a directory that is to be walked: of the repository it is in, without its own
    /// patterns. That something above the directory may be ignored does not count: it was named.
    pub(super) fn of_directory(directory: &Path, rules: &GitRules) -> Result<Scope, GitError> {
        let (repository, above) = Repository::around(directory, rules)?;
        let mut scope = Scope { repository: Rc::new(repository), innermost: None };
        for (base, patterns) in above {
            scope = scope.with_level(base, &patterns);
        }
        Ok(scope)
    }

    /// The rules of a repository inside the walked directory, if there is one at `path`; else these.
    pub(super) fn of_nested(&self, walked: &Path, path: &[u8]) -> Result<Scope, GitError> {
        Ok(match self.repository.nested(walked, path)? {
            Some(nested) => Scope { repository: Rc::new(nested), innermost: None },
            None => self.clone(),
        })
    }

    /// These rules, with a directory's own patterns. Paths are relative to the walked directory.
    pub(super) fn with_patterns(&self, path: &[u8], text: &[u8]) -> Scope {
        self.with_level(self.repository.path(path).into_owned(), text)
    }

    fn with_level(&self, base: Vec<u8>, text: &[u8]) -> Scope {
        let patterns = Patterns::parse(text, self.repository.ignores_case);
        if patterns.is_empty() {
            return self.clone();
        }
        let level = Level { base, patterns, outer: self.innermost.clone() };
        Scope { repository: Rc::clone(&self.repository), innermost: Some(Rc::new(level)) }
    }

    /// What becomes of an entry in a directory that is itself `around`.
    pub(super) fn judge(&self, path: &[u8], is_directory: bool, around: Ignored) -> Ignored {
        let path = self.repository.path(path);
        if self.repository.tracked.contains(&path) {
            return Ignored::No;
        }
        let is_ignored = around != Ignored::No || self.is_ignored(&path, is_directory);
        match is_ignored {
            false => Ignored::No,
            true if is_directory && self.repository.tracked.has_below(&path) => Ignored::Untracked,
            true => Ignored::Whole,
        }
    }

    /// The nearest patterns decide; the repository's and the user's come last.
    fn is_ignored(&self, path: &[u8], is_directory: bool) -> bool {
        let mut level = self.innermost.as_ref();
        while let Some(own) = level {
            let below = match own.base.is_empty() {
                true => Some(path),
                false => path.strip_prefix(own.base.as_slice()).and_then(|rest| rest.strip_prefix(b"/")),
            };
            if let Some(is_ignored) = below.and_then(|below| own.patterns.judge(below, is_directory)) {
                return is_ignored;
            }
            level = own.outer.as_ref();
        }
        let [excludes, user] = [&self.repository.excludes, &self.repository.user_excludes];
        excludes.judge(path, is_directory).or_else(|| user.judge(path, is_directory)).unwrap_or(false)
    }
}

impl Repository {
    /// A path of the walked directory as this repository has it.
    fn path<'a>(&self, path: &'a [u8]) -> Cow<'a, [u8]> {
        let below = path.get(self.cut_bytes..).unwrap_or_default();
        match (self.prefix.is_empty(), below.is_empty()) {
            (true, _) => Cow::Borrowed(below),
            (false, true) => Cow::Owned(self.prefix.clone()),
            (false, false) => Cow::Owned([self.prefix.as_slice(), below].join(&b'/')),
        }
    }
}

/// A file of git's in words.
fn unread(path: &Path) -> impl FnOnce(io::Error) -> GitError + '_ {
    |source| GitError::Read { path: path.to_owned(), source }
}
