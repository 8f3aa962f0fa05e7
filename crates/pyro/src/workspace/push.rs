//! Host files on their way into a workspace.

use std::path::{Path, PathBuf};

use pyro_proto::{agent, shim};
use pyro_sync::source::{self, Options, SinkClosed, SourceError, SourceKind, TreeSink};

use super::Workspace;
use super::create::{Seed, SeedRules};
use super::guest_path::GuestPath;
use super::transfer::{Pieces, Progress};
use crate::failure::chain;
use crate::{Code, Failure};

/// A directory or archive of the host that was looked through and can be sent.
#[derive(Debug)]
pub struct Source(source::Source);

/// A push that is on the workspace's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// `directory` or `archive`.
    pub mode: &'static str,
    /// Where it came from.
    pub source: PathBuf,
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

impl Source {
    /// Opens a directory or archive; of a directory everything that cannot be taken is found now.
    pub fn open(seed: &Seed) -> Result<Source, Failure> {
        let ignore = match &seed.rules {
            SeedRules::Everything => None,
            SeedRules::Gitignore(rules) => Some(rules.clone()),
        };
        let options = Options { ignore, ..Options::default() };
        let mut source = source::Source::open(&seed.path, options).map_err(unusable)?;
        source.scan().map_err(unusable)?;
        Ok(Source(source))
    }

    /// `directory` or `archive`.
    pub fn kind(&self) -> &'static str {
        match self.0.kind() {
            SourceKind::Directory => "directory",
            SourceKind::Archive => "archive",
        }
    }

    /// Where it is: absolute, without symlinks.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The source as what feeds a call.
    pub(super) fn into_stream(
        mut self,
        progress: &Progress,
    ) -> impl FnOnce(Pieces) -> Result<(), Failure> + Send + 'static {
        let progress = progress.clone();
        move |pieces| {
            let sent = self.0.send(&mut Feed(pieces), &mut |now| progress.set(now.bytes, now.bytes_total));
            sent.map(drop).or_else(|error| match error {
                // Whoever closed the call knows why.
                SourceError::SinkClosed(_) => Ok(()),
                error => Err(unusable(error)),
            })
        }
    }
}

impl Workspace {
    /// Puts a source below a directory of the workspace: all of it, or nothing.
    pub async fn push(
        &mut self,
        source: Source,
        directory: &GuestPath,
        progress: &Progress,
    ) -> Result<Pushed, Failure> {
        let (mode, path) = (source.kind(), source.path().to_owned());
        let push = shim::Transfer::Push(agent::Push { directory: directory.to_bytes() });
        let tally = self.connection.send_tree(push, source.into_stream(progress)).await?;
        Ok(Pushed { mode, source: path, entries: tally.entries, bytes: tally.bytes })
    }
}

/// The way from a source's thread to the task that sends.
pub(super) struct Feed(pub(super) Pieces);

impl TreeSink for Feed {
    fn send(&mut self, bytes: Vec<u8>) -> Result<(), SinkClosed> {
        self.0.blocking_send(bytes).map_err(|_| SinkClosed)
    }
}

/// A source that cannot be taken, in words and with what to do.
pub(super) fn unusable(error: SourceError) -> Failure {
    let code = match &error {
        SourceError::Archive(_) => Code::ArchiveRefused,
        _ => Code::SourceUnusable,
    };
    let hint = error.hint().unwrap_or("check the source");
    Failure::new(code, chain(&error)).fix(format!("{hint}; nothing was changed"))
}
