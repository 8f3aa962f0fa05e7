//! Making one layer of two: what gives back the space of a snapshot that was deleted in the middle of a chain.
//!
//! The new file is written beside the old ones, and one transaction says that it takes their place. Whatever happens
//! before leaves everything as it was, and a file that nobody needs.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pyro_store::{
    ClaimError, FileLock, HeadPair, LayerId, LockMode, RecordError, Replaced, StoreError, WorkspaceId,
};
use pyro_vmm::ScratchError;

use crate::failure::chain;
use crate::{Code, Failure, Pyro};

/// Which layers may become one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Merging<'a> {
    /// Those that this workspace needs; those of all without.
    pub(crate) workspace: Option<&'a WorkspaceId>,
    /// Those of which both together take no more.
    pub(crate) bytes_max: u64,
    /// Whether the caller holds the workspace's start lock.
    pub(crate) holds_start: bool,
}

/// What was made one.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// Pairs of layers.
    pub(crate) pairs: u64,
    /// Bytes that are free now, or will be when the VMs end that still use the old files.
    pub(crate) bytes: u64,
    /// Pairs that can be made one when their workspace is stopped: its VM writes one of the two.
    pub(crate) waiting: u64,
    /// Others make or open layers all the time: some pairs were not tried.
    pub(crate) was_busy: bool,
    /// Why others could not be.
    pub(crate) failures: Vec<Failure>,
}

/// Two layers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Pair {
    /// That nobody writes.
    Sealed(LayerId, LayerId),
    /// Of which a workspace writes the upper one.
    Head(HeadPair),
}

impl Pair {
    fn layers(&self) -> (&LayerId, &LayerId) {
        match self {
            Pair::Sealed(lower, upper) => (lower, upper),
            Pair::Head(pair) => (&pair.lower, &pair.head),
        }
    }
}

/// What became of a pair.
enum Outcome {
    /// One, of so many bytes.
    One(u64),
    /// It was no pair any more.
    Changed,
    /// Others make or open layers.
    Busy,
    /// Its workspace runs, or starts.
    Waiting,
}

impl Pyro {
    /// Merges pair after pair of layers until none is left, or others are in the way all the time; a pair that fails
    /// stays as it was. `on_pair` is told before each how many have been.
    pub(crate) fn merge_layers(
        &self,
        merging: &Merging<'_>,
        mut on_pair: impl FnMut(u64),
    ) -> Result<Merged, Failure> {
        let (mut merged, mut tried) = (Merged::default(), BTreeSet::new());
        loop {
            let untried = self.pairs(merging)?.into_iter().filter(|pair| !tried.contains(pair));
            let Some((pair, bytes)) = untried
                .filter_map(|pair| self.worth(&pair).map(|bytes| (pair, bytes)))
                .find(|(_, bytes)| *bytes <= merging.bytes_max)
            else {
                return Ok(merged);
            };
            on_pair(merged.pairs);
            let outcome = match &pair {
                Pair::Sealed(lower, upper) => self.merge(lower, upper, |merged| {
                    self.store.replace_layers(&self.config.directories, lower, upper, merged)
                }),
                Pair::Head(head) => self.merge_head(head, merging.holds_start),
            };
            match outcome {
                Ok(Outcome::One(written)) => {
                    merged.pairs += 1;
                    merged.bytes += bytes.saturating_sub(written);
                }
                Ok(Outcome::Changed) => {}
                Ok(Outcome::Waiting) => merged.waiting += 1,
                Ok(Outcome::Busy) => {
                    merged.was_busy = true;
                    return Ok(merged);
                }
                Err(failure) => merged.failures.push(failure),
            }
            tried.insert(pair);
        }
    }

    fn pairs(&self, merging: &Merging<'_>) -> Result<Vec<Pair>, Failure> {
        let sealed = self.store.mergeable()?.into_iter().map(|(lower, upper)| Pair::Sealed(lower, upper));
        let mut pairs: Vec<Pair> =
            sealed.chain(self.store.mergeable_heads()?.into_iter().map(Pair::Head)).collect();
        if let Some(workspace) = merging.workspace {
            let own = self.store.layers_of(workspace)?;
            pairs.retain(|pair| own.contains(pair.layers().1));
        }
        Ok(pairs)
    }

    /// Bytes that two layers take; `None` where nothing is won by making them one: the lower is a template's disk
    /// too, which stays.
    fn worth(&self, pair: &Pair) -> Option<u64> {
        let read = |layer: &LayerId| std::fs::metadata(self.config.directories.layer(layer)).ok();
        let bytes = |file: &Metadata| file.blocks().saturating_mul(512);
        let (lower, upper) = pair.layers();
        let lower = read(lower).filter(|file| file.nlink() == 1)?;
        Some(bytes(&lower).saturating_add(bytes(&read(upper)?)))
    }

    /// Merges what a workspace writes with what is below, while nobody runs it or starts it: its clients wait.
    fn merge_head(&self, pair: &HeadPair, holds_start: bool) -> Result<Outcome, Failure> {
        let directories = &self.config.directories;
        let lock = directories.workspace(&pair.workspace).start_lock();
        let starting = (!holds_start).then(|| FileLock::try_take(&lock, LockMode::Exclusive));
        if matches!(starting, Some(Err(_))) {
            return Ok(Outcome::Waiting);
        }
        let claim = match self.store.claim_workspace(directories, &pair.workspace) {
            Ok(claim) => claim,
            Err(ClaimError::Held(_)) => return Ok(Outcome::Waiting),
            Err(ClaimError::Record(RecordError::Gone(_))) => return Ok(Outcome::Changed),
            Err(error) => return Err(error.into()),
        };
        // From here on nobody writes it.
        let head = self.store.workspace(&pair.workspace)?.map(|record| record.head);
        if head.as_ref() != Some(&pair.head) {
            return Ok(Outcome::Changed);
        }
        self.merge(&pair.lower, &pair.head, |merged| {
            self.store.replace_head(directories, &claim, pair, merged)
        })
    }

    fn merge(
        &self,
        lower: &LayerId,
        upper: &LayerId,
        replace: impl FnOnce(&LayerId) -> Result<Replaced, StoreError>,
    ) -> Result<Outcome, Failure> {
        let directories = &self.config.directories;
        let id = LayerId::random()
            .map_err(|error| Failure::new(Code::System, "no random numbers can be had").because(error))?;
        let path = directories.layer(&id);
        let written = {
            // A file without a record would be taken for a leftover.
            let _birth = pyro_store::birth_lock(directories)
                .map_err(|error| Failure::new(Code::StateUnusable, chain(&error)).fix(STATE_REMEDY))?;
            pyro_vmm::merge_layers(&directories.layer(lower), &directories.layer(upper), &path)
        };
        let written = written.map_err(|error| failed(&path, error))?;
        // Whether an error was recorded is not known: the file is removed by whoever finds it without a record.
        let replaced = replace(&id)?;
        if replaced != Replaced::Done {
            let _ = std::fs::remove_file(&path);
        }
        Ok(match replaced {
            Replaced::Done => Outcome::One(written),
            Replaced::Changed => Outcome::Changed,
            Replaced::Busy => Outcome::Busy,
        })
    }
}

const STATE_REMEDY: &str = "make the state directory writable, or point PYRO_STATE_DIR at one that is";

/// Two layers could not be made one; nothing has changed by it.
fn failed(path: &Path, error: ScratchError) -> Failure {
    let _ = std::fs::remove_file(path);
    let (code, fix) = match &error {
        ScratchError::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => (
            Code::NoSpace,
            "free some space and collect again: both layers are written once more before they go",
        ),
        ScratchError::File { .. } | ScratchError::Read { .. } => (Code::StateUnusable, STATE_REMEDY),
        _ => (Code::LayerDamaged, "nothing was changed; bring the layer's file back from a backup"),
    };
    Failure::new(code, "two layers of a workspace's disk could not be made one")
        .because(chain(&error))
        .fix(fix)
}
