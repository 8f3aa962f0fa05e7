//! The paths in a repository's index (gitformat-index(5)), versions 2 to 4. Pure, and total: no bytes make it
//! panic, or hold more than a few times as much.

use std::path::PathBuf;

use super::GitError;

/// Signature of an index, and of what belongs to it.
const SIGNATURE: &[u8; 4] = b"DIRC";
/// Times, ids, mode and size before an entry's hash.
const STAT_BYTES: usize = 40;
/// Where in them the mode is.
const MODE_OFFSET: usize = 24;
/// Mode of an entry that stands for a whole directory (sparse index).
const MODE_DIRECTORY: u32 = 0o040000;
/// Flag of an entry that more flags follow.
const FLAG_EXTENDED: u16 = 0x4000;
/// Flags that are a name's length, when it is shorter than this.
const NAME_BYTES_MASK: u16 = 0x0fff;
/// Entries are padded to this before version 4.
const ENTRY_ALIGNMENT: usize = 8;

/// Tracked paths, sorted.
#[derive(Debug, Default)]
pub(super) struct Tracked {
    names: Vec<u8>,
    /// Where each path ends in `names`.
    ends: Vec<usize>,
    /// Whether some entries are directories.
    is_sparse: bool,
}

/// What is wrong with an index.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum IndexError {
    Damaged(&'static str),
    Form(&'static str),
}

impl IndexError {
    pub(super) fn at(self, path: PathBuf) -> GitError {
        match self {
            IndexError::Damaged(what) => GitError::IndexDamaged { path, what },
            IndexError::Form(what) => GitError::IndexForm { path, what },
        }
    }
}

impl Tracked {
    /// Reads an index whose hashes have so many bytes. Like git, it does not check the hash at its end.
    pub(super) fn parse(bytes: &[u8], hash_bytes: usize) -> Result<Tracked, IndexError> {
        let early = IndexError::Damaged("it ends too early");
        let Some(end) = bytes.len().checked_sub(hash_bytes) else { return Err(early) };
        let mut rest = Rest { bytes: bytes.get(..end).unwrap_or_default() };
        if rest.take(4)? != SIGNATURE {
            return Err(IndexError::Damaged("it has no signature"));
        }
        let version = rest.number()?;
        if !(2..=4).contains(&version) {
            return Err(IndexError::Form("has a version that is not known"));
        }
        let count = rest.number()?;
        let mut tracked = Tracked::default();
        let mut name = Vec::new();
        let mut nameless = false;
        for _ in 0..count {
            let is_directory = rest.entry(version, hash_bytes, &mut name)?;
            if name.is_empty() {
                // A split index replaces entries of its other half without naming them.
                nameless = true;
                continue;
            }
            tracked.add(&name, is_directory)?;
        }
        while !rest.bytes.is_empty() {
            let signature = rest.take(4)?;
            let length = rest.number()?;
            rest.take(length as usize)?;
            match signature {
                b"link" => return Err(IndexError::Form("is split in two")),
                b"sdir" => {}
                // Only those in capitals may be left unread.
                [first, ..] if first.is_ascii_uppercase() => {}
                _ => return Err(IndexError::Form("has an extension that is not known")),
            }
        }
        match nameless {
            true => Err(IndexError::Damaged("an entry has no name")),
            false => Ok(tracked),
        }
    }

    fn add(&mut self, name: &[u8], is_directory: bool) -> Result<(), IndexError> {
        let name = match (is_directory, name.strip_suffix(b"/")) {
            (true, Some(_)) => name,
            (false, None) => name,
            _ => return Err(IndexError::Damaged("a name does not fit its mode")),
        };
        if name.first() == Some(&b'/') {
            return Err(IndexError::Damaged("a name is no path"));
        }
        match self.ends.len().checked_sub(1).map(|last| self.get(last)) {
            Some(last) if last > name => return Err(IndexError::Damaged("its names are out of order")),
            // Stages of a conflict.
            Some(last) if last == name => return Ok(()),
            _ => {}
        }
        self.is_sparse |= is_directory;
        self.names.extend_from_slice(name);
        self.ends.push(self.names.len());
        Ok(())
    }

    /// Whether a path is tracked: a file, a submodule, or anything in a directory that is tracked as one.
    pub(super) fn contains(&self, path: &[u8]) -> bool {
        let has = |path: &[u8]| {
            let at = self.position(path);
            at < self.ends.len() && self.get(at) == path
        };
        has(path)
            || (self.is_sparse
                && path
                    .iter()
                    .enumerate()
                    .filter(|(_, byte)| **byte == b'/')
                    .any(|(slash, _)| has(path.get(..=slash).unwrap_or_default())))
    }

    /// Whether something below a directory is tracked.
    pub(super) fn has_below(&self, directory: &[u8]) -> bool {
        let mut prefix = directory.to_vec();
        prefix.push(b'/');
        let at = self.position(&prefix);
        at < self.ends.len() && self.get(at).starts_with(&prefix)
    }

    /// How many paths sort before this one.
    fn position(&self, path: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.get(middle) < path {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    fn get(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(at).copied().unwrap_or(start);
        self.names.get(start..end).unwrap_or_default()
    }
}

/// What is left to read.
struct Rest<'a> {
    bytes: &'a [u8],
}

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], IndexError> {
        let (taken, rest) =
            self.bytes.split_at_checked(count).ok_or(IndexError::Damaged("it ends too early"))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, IndexError> {
        Ok(self.take(4)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn short(&mut self) -> Result<u16, IndexError> {
        Ok(self.take(2)?.iter().fold(0, |number, byte| number << 8 | u16::from(*byte)))
    }

    /// Reads an entry's name over the one before it; says whether it is a directory.
    fn entry(&mut self, version: u32, hash_bytes: usize, name: &mut Vec<u8>) -> Result<bool, IndexError> {
        let length = self.bytes.len();
        let stat = self.take(STAT_BYTES)?;
        let mode = Rest { bytes: stat.get(MODE_OFFSET..).unwrap_or_default() }.number()?;
        self.take(hash_bytes)?;
        let flags = self.short()?;
        if flags & FLAG_EXTENDED != 0 {
            if version < 3 {
                return Err(IndexError::Damaged("an entry has flags of a later version"));
            }
            self.take(2)?;
        }
        match version {
            4 => {
                let cut = self.offset()?;
                let kept = name.len().checked_sub(cut).ok_or(IndexError::Damaged("a name is too short"))?;
                name.truncate(kept);
            }
            _ => name.clear(),
        }
        let end = self.bytes.iter().position(|byte| *byte == 0);
        let end = end.ok_or(IndexError::Damaged("a name has no end"))?;
        name.extend_from_slice(self.take(end)?);
        if name.len().min(usize::from(NAME_BYTES_MASK)) != usize::from(flags & NAME_BYTES_MASK) {
            return Err(IndexError::Damaged("a name has the wrong length"));
        }
        if name.len() > pyro_proto::limits::TREE_PATH_BYTES_MAX + 1 {
            return Err(IndexError::Damaged("a name is too long"));
        }
        match version {
            4 => self.take(1)?,
            _ => {
                let used = length - self.bytes.len();
                self.take(ENTRY_ALIGNMENT - used % ENTRY_ALIGNMENT)?
            }
        };
        Ok(mode == MODE_DIRECTORY)
    }

    /// Reads a number as packs have offsets (gitformat-pack(5)).
    fn offset(&mut self) -> Result<usize, IndexError> {
        let long = IndexError::Damaged("a number is too long");
        let mut value: usize = 0;
        loop {
            let byte = self.take(1)?.first().copied().unwrap_or(0);
            value |= usize::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            value = match value.checked_add(1).filter(|value| *value < 1 << 20) {
                Some(value) => value << 7,
                None => return Err(long),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn index(names: &[&str]) -> Vec<u8> {
        let mut bytes =
            [b"DIRC".as_slice(), &2u32.to_be_bytes(), &(names.len() as u32).to_be_bytes()].concat();
        for name in names {
            let mut entry = vec![0; STAT_BYTES + 20];
            entry.extend_from_slice(&(name.len() as u16).to_be_bytes());
            entry.extend_from_slice(name.as_bytes());
            entry.resize(entry.len() + ENTRY_ALIGNMENT - entry.len() % ENTRY_ALIGNMENT, 0);
            bytes.extend(entry);
        }
        bytes.extend([0; 20]);
        bytes
    }

    /// A path is tracked when the index names it, and not when it merely starts alike.
    #[test]
    fn paths_are_found() {
        let tracked = Tracked::parse(&index(&["a.c", "a/b", "a/c/d", "z"]), 20).unwrap();
        assert!(tracked.contains(b"a/b") && tracked.contains(b"z") && !tracked.contains(b"a"));
        assert!(tracked.has_below(b"a") && tracked.has_below(b"a/c") && !tracked.has_below(b"a/b"));
        assert!(!tracked.has_below(b"z") && !tracked.contains(b"zz"));
    }

    /// An index that is cut anywhere, or out of order, is an error.
    #[test]
    fn damage_is_seen() {
        let whole = index(&["a", "b/c"]);
        for length in 0..whole.len() {
            assert!(Tracked::parse(&whole[..length], 20).is_err(), "{length}");
        }
        assert!(Tracked::parse(&index(&["b", "a"]), 20).is_err());
        assert!(Tracked::parse(&index(&["/b"]), 20).is_err());
        assert!(Tracked::parse(&whole, 32).is_err());
        let mut split = index(&["a"]);
        split.splice(split.len() - 20..split.len() - 20, *b"link\0\0\0\0");
        assert_eq!(Tracked::parse(&split, 20).unwrap_err(), IndexError::Form("is split in two"));
    }

    proptest! {
        /// No bytes make the reader panic.
        #[test]
        fn parsing_is_total(flips in proptest::collection::vec((0usize..200, any::<u8>()), 0..8), version in 2u8..5) {
            let mut bytes = index(&["a", "b/c"]);
            bytes[7] = version;
            for (at, value) in flips {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            if let Ok(tracked) = Tracked::parse(&bytes, 20) {
                tracked.contains(b"a/b");
                tracked.has_below(b"b");
            }
        }
    }
}
