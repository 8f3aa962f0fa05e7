//! The Landlock ruleset: built in the parent, enforced in the child.
//!
//! Everything the kernel's ABI can handle is handled, so what no rule allows is refused: files, TCP, device
//! ioctls, signals and abstract sockets outside the jail.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::fs::{FileType, Mode, OFlags};

use crate::error::JailError;
use crate::spec::{Access, Grant, Spec};

/// Rights asked for; the kernel's own ABI decides which of them exist.
const ASKED: ABI = ABI::V8;

/// Builds the ruleset of a spec; `None` where the kernel has no Landlock.
pub(crate) fn build(spec: &Spec) -> Result<Option<OwnedFd>, JailError> {
    let mut rules = handle_everything().map_err(refused)?;
    for path in &spec.execute {
        let file = open_path(path)?.ok_or_else(|| missing(path))?;
        rules = allow(rules, &file, AccessFs::ReadFile | AccessFs::Execute)?;
    }
    for path in &spec.read {
        if let Some(file) = open_path(path)? {
            rules = allow(rules, &file, AccessFs::ReadFile | AccessFs::ReadDir)?;
        }
    }
    for Grant { file, access } in &spec.grants {
        rules = allow(rules, file, rights(*access))?;
    }
    Ok(rules.into())
}

fn handle_everything() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ASKED))?
        .handle_access(AccessNet::from_all(ASKED))?
        .scope(Scope::from_all(ASKED))?
        .create()
}

fn rights(access: Access) -> BitFlags<AccessFs> {
    match access {
        Access::Read => AccessFs::ReadFile.into(),
        Access::ReadWrite => {
            AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev
        }
    }
}

/// Adds one rule; rights that only directories have are left out for files, as the kernel demands.
fn allow(
    rules: RulesetCreated,
    file: &OwnedFd,
    rights: impl Into<BitFlags<AccessFs>>,
) -> Result<RulesetCreated, JailError> {
    let stat = rustix::fs::fstat(file).map_err(|e| JailError::Descriptor(e.into()))?;
    let mut rights = rights.into();
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        rights &= AccessFs::from_file(ASKED);
    }
    rules.add_rule(PathBeneath::new(file.as_fd(), rights)).map_err(refused)
}

/// Opens a path only to name it; `None` when there is no such file.
fn open_path(path: &Path) -> Result<Option<OwnedFd>, JailError> {
    match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(error) => Err(JailError::Open { path: path.to_owned(), source: error.into() }),
    }
}

fn missing(path: &Path) -> JailError {
    let source = io::Error::from(io::ErrorKind::NotFound);
    JailError::Open { path: PathBuf::from(path), source }
}

fn refused(error: RulesetError) -> JailError {
    JailError::Ruleset(io::Error::other(error))
}
