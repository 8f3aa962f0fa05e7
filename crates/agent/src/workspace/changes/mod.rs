//! What differs between the workspace and its baseline, found by looking at what was changed alone.

mod aliases;
mod compare;
#[cfg(test)]
mod tests;
mod upper;
mod walk;

use std::os::fd::OwnedFd;

use pyro_proto::agent::{Changes, Tally};
use pyro_proto::tree::TreePath;

use self::aliases::Aliases;
use self::upper::RawUpper;
use self::walk::{Hint, Walk};
use super::error::WorkspaceError;
use super::outlet::Outlet;

/// The three views of one tree.
#[derive(Debug)]
pub(crate) struct Views {
    /// The baseline.
    pub(crate) base: OwnedFd,
    /// The tree as it is now.
    pub(crate) merged: OwnedFd,
    /// What the overlay holds of it; `None` while nothing was changed.
    pub(crate) upper: Option<OwnedFd>,
    /// Whether the overlay has copied up files with several names.
    pub(crate) has_aliases: bool,
}

/// What a host wants to know of.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    paths: Vec<TreePath>,
    /// Whether contents are sent.
    pub(crate) contents: bool,
    /// The largest file whose contents are sent.
    pub(crate) file_bytes_max: u64,
}

impl Wanted {
    /// Reads a request.
    pub(crate) fn parse(changes: Changes) -> Result<Wanted, WorkspaceError> {
        let parse = |path: Vec<u8>| {
            let quoted = path.escape_ascii().to_string();
            TreePath::parse(path).map_err(|error| WorkspaceError::Invalid(format!("\"{quoted}\" {error}")))
        };
        let paths = changes.paths.into_iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Wanted { paths, contents: changes.contents, file_bytes_max: changes.file_bytes_max })
    }

    /// Whether a change at `path` is told.
    fn tells(&self, path: &TreePath) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|wanted| path.is_within(wanted))
    }

    /// Whether something at or below `path` may be told.
    fn visits(&self, path: &TreePath) -> bool {
        self.tells(path) || self.paths.iter().any(|wanted| wanted.is_within(path))
    }
}

/// Sends every change, names in the order of their bytes, a directory before what is in it.
pub(crate) fn changes(views: Views, wanted: &Wanted, mut outlet: Outlet) -> Result<Tally, WorkspaceError> {
    let Views { base, merged, upper, has_aliases } = views;
    let aliases = match has_aliases {
        true => Aliases::find(&base, &outlet)?,
        false => Some(Aliases::default()),
    };
    let hint = match (upper, &aliases) {
        (_, None) => Hint::All,
        (None, _) => Hint::Nothing,
        (Some(upper), _) => Hint::Names(RawUpper::new(upper)),
    };
    let mut walk = Walk::new(wanted, aliases.unwrap_or_default(), &mut outlet);
    walk.directory(&TreePath::root(), Some(base), Some(merged), hint)?;
    let tally = walk.tally;
    outlet.finish()?;
    Ok(tally)
}
