//! What a directory holds, in the order it is sent: a dozen bytes and a name for each entry. It knows paths
//! and kinds, and reads nothing.

use super::super::SourceError;
use crate::limits::{SOURCE_ENTRIES_MAX, SOURCE_NAMES_BYTES_MAX};

/// Where an entry is in an inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

/// What an entry was when it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    Symlink,
}

#[derive(Debug)]
struct Found {
    /// In a directory of the inventory, or in the root.
    parent: Option<Place>,
    name_offset: u32,
    name_bytes: u8,
    kind: Kind,
}

/// Entries, a directory before what is in it.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    entries: Vec<Found>,
    names: Vec<u8>,
}

impl Inventory {
    pub(super) fn add(
        &mut self,
        parent: Option<Place>,
        name: &[u8],
        kind: Kind,
    ) -> Result<Place, SourceError> {
        let name_offset = u32::try_from(self.names.len()).ok();
        let place =
            u32::try_from(self.entries.len()).ok().filter(|count| u64::from(*count) < SOURCE_ENTRIES_MAX);
        let has_room = self.names.len() + name.len() <= SOURCE_NAMES_BYTES_MAX;
        let (Some(name_offset), Some(place), Ok(name_bytes), true) =
            (name_offset, place, u8::try_from(name.len()), has_room)
        else {
            return Err(SourceError::TooMany { what: format!("more than {SOURCE_ENTRIES_MAX} entries") });
        };
        self.names.extend_from_slice(name);
        self.entries.push(Found { parent, name_offset, name_bytes, kind });
        Ok(Place(place))
    }

    /// Drops an entry if it was the last one added.
    pub(super) fn drop_if_last(&mut self, place: Place) -> bool {
        let is_last = self.entries.len().checked_sub(1) == Some(place.0 as usize);
        if is_last && let Some(dropped) = self.entries.pop() {
            self.names.truncate(dropped.name_offset as usize);
        }
        is_last
    }

    pub(super) fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// All entries, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, Kind)> + '_ {
        self.entries.iter().zip(0..).map(|(found, place)| (Place(place), found.kind))
    }

    /// The path of an entry, relative to the root.
    pub(super) fn path(&self, place: Place) -> Vec<u8> {
        let mut names = Vec::new();
        let mut next = Some(place);
        while let Some(found) = next.and_then(|place| self.entries.get(place.0 as usize)) {
            let start = found.name_offset as usize;
            names.push(self.names.get(start..start + usize::from(found.name_bytes)).unwrap_or_default());
            next = found.parent;
        }
        names.reverse();
        names.join(&b'/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths come back as they were found, and a dropped directory leaves nothing behind.
    #[test]
    fn paths_are_rebuilt() {
        let mut inventory = Inventory::default();
        let a = inventory.add(None, b"a", Kind::Directory).unwrap();
        let b = inventory.add(Some(a), b"bb", Kind::Directory).unwrap();
        assert!(!inventory.drop_if_last(a));
        assert!(inventory.drop_if_last(b));
        let c = inventory.add(Some(a), b"c\xff", Kind::File).unwrap();
        assert_eq!(inventory.path(c), b"a/c\xff");
        assert_eq!(inventory.count(), 2);
        assert_eq!(inventory.iter().collect::<Vec<_>>(), [(a, Kind::Directory), (c, Kind::File)]);
    }
}
