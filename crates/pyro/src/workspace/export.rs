//! A file or directory of a workspace, copied to the host.

use std::path::{Path, PathBuf};

use pyro_proto::tree::{Entry, Item, NodeKind, Record, TreePath};
use pyro_sync::apply::{ExecutableReason, by_name, leads_outside};
use pyro_sync::landing::{ArtifactType, Landing, LandingError, LandingOptions};

use super::Workspace;
use super::apply::place_in;
use super::guest_path::GuestPath;
use super::transfer::malformed;
use crate::failure::chain;
use crate::limits::{EXPORT_BYTES_MAX, EXPORT_ENTRIES_MAX};
use crate::{Code, Failure};

/// Something that is on the host now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Where.
    pub output: PathBuf,
    /// `file`, `directory` or `symlink`.
    pub artifact_type: &'static str,
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Devices, pipes and sockets, which stay in the guest: the first of them, and how many more.
    pub left_out: Vec<String>,
}

impl Workspace {
    /// Copies a file, link or directory to a path of the host where nothing is yet: whole, or not at all. A
    /// symbolic link that leads out of the workspace is refused.
    pub async fn export(&mut self, path: &GuestPath, output: &Path) -> Result<Exported, Failure> {
        self.export_if(path, output, |_| Ok(())).await
    }

    /// The same for who may not put down what this host runs by itself: `tree` is what the output is a part of. One such
    /// entry, or a link that leads out of the output, refuses the whole; files lose the permission to be executed.
    pub async fn export_harmless(
        &mut self,
        path: &GuestPath,
        output: &Path,
        tree: &Path,
    ) -> Result<Exported, Failure> {
        let place = place_in(Some(tree), output)?;
        self.export_if(path, output, |entry| harmless(&place, entry)).await
    }

    async fn export_if(
        &mut self,
        path: &GuestPath,
        output: &Path,
        judge: impl Fn(&mut Entry) -> Result<(), Failure>,
    ) -> Result<Exported, Failure> {
        let output = std::path::absolute(output).map_err(|error| {
            Failure::new(Code::TargetUnusable, format!("{} cannot be used", output.display())).because(error)
        })?;
        let options = LandingOptions { bytes_max: EXPORT_BYTES_MAX, entries_max: EXPORT_ENTRIES_MAX };
        let mut landing = Landing::new(&output, options).map_err(|error| refused(path, error))?;
        if let NodeKind::Symlink { target } = &self.stat(path).await?.node.kind {
            path.behind(target)?;
        }
        self.export_entries(path, u32::MAX, Some(u64::MAX), |mut record| {
            if let Item::Entry(entry) = &mut record.item {
                judge(entry)?;
            }
            landing.take(&record).map_err(|error| refused(path, error))
        })
        .await?;
        let end = Record { item: Item::End, bytes: Vec::new() };
        landing.take(&end).map_err(|error| refused(path, error))?;
        let landed = landing.finish().map_err(|error| refused(path, error))?;
        let mut left_out: Vec<String> = landed
            .specials_named
            .iter()
            .map(|path| String::from_utf8_lossy(path.as_bytes()).into_owned())
            .collect();
        let more = landed.specials.saturating_sub(left_out.len() as u64);
        if more > 0 {
            left_out.push(format!("and {more} more"));
        }
        let artifact_type = match landed.artifact_type {
            ArtifactType::File => "file",
            ArtifactType::Directory => "directory",
            ArtifactType::Symlink => "symlink",
        };
        Ok(Exported { output, artifact_type, entries: landed.entries, bytes: landed.bytes, left_out })
    }
}

/// Refuses an entry that the host would run by itself where it is put.
fn harmless(place: &TreePath, entry: &mut Entry) -> Result<(), Failure> {
    let names: Vec<&[u8]> = place.names().chain(entry.path.names()).collect();
    let why = match &entry.node.kind {
        _ if names.iter().any(|name| name.eq_ignore_ascii_case(b".git")) => Some("git"),
        NodeKind::Symlink { target }
            if leads_outside(entry.path.names().count().saturating_sub(1), target) =>
        {
            Some("link that leads out")
        }
        NodeKind::Directory => None,
        _ => by_name(names.iter().copied()).map(ExecutableReason::word),
    };
    let Some(why) = why else {
        if let NodeKind::File { .. } = entry.node.kind {
            entry.node.mode &= !0o7111;
        }
        return Ok(());
    };
    let name = String::from_utf8_lossy(&names.join(&b'/')).into_owned();
    Err(Failure::new(Code::ExecutableFiles, format!("{name} is not exported"))
        .because(format!("this machine may run it by itself ({why})"))
        .fix("export something else, or have a person run `pyro workspace export` for it"))
}

fn refused(path: &GuestPath, error: LandingError) -> Failure {
    let text = chain(&error);
    match error {
        LandingError::Exists(_) => {
            Failure::new(Code::TargetUnusable, text).fix("remove it first, or choose another --output")
        }
        LandingError::NoParent(_) | LandingError::NoName(_) => Failure::new(Code::TargetUnusable, text)
            .fix("make the directory first, or choose another --output"),
        LandingError::Malformed(_) => malformed(&text),
        LandingError::Special => Failure::new(Code::TypeConflict, format!("{path} cannot be exported"))
            .because(text)
            .fix("export a file, a link or a directory"),
        LandingError::TooManyBytes { .. } | LandingError::TooManyEntries { .. } => {
            Failure::new(Code::TargetUnusable, format!("{path} is too large to be exported"))
                .because(text)
                .fix("export a part of it")
        }
        LandingError::Host { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            Failure::new(Code::NoSpace, text)
                .fix("free some space, or choose another --output; nothing was left")
        }
        LandingError::Host { .. } => {
            Failure::new(Code::TargetUnusable, text).fix("choose another --output; nothing was left")
        }
    }
}
