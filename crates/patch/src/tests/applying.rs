//! What git makes is read and applied, and what is applied is what git applies.

use std::fs;

use proptest::prelude::*;

use super::git::{Held, apply, diff, directory, found, place, side};
use super::sides;
use crate::{Applied, ApplyError, FileMode, Patch, RenderOptions, apply_file, render};

const BYTES_MAX: usize = 1 << 20;

/// Applies all sections to what is at one path.
fn applied(patch: &Patch<'_>, before: Option<&Held>) -> Result<Option<Held>, ApplyError> {
    let mut held = before.cloned();
    for section in &patch.sections {
        held = match apply_file(section, held.as_ref().map(|held| &held.bytes[..]), BYTES_MAX)? {
            Applied::Gone => None,
            Applied::Bytes { bytes, mode, .. } => {
                let mode = mode.or(held.map(|held| held.mode)).unwrap_or(FileMode::Regular);
                Some(Held { mode, bytes })
            }
        };
    }
    Ok(held)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What is rendered is read again, says the same path, and leads from one side to the other.
    #[test]
    fn rendered_patches_are_read_and_applied(path in sides::path(), (before, after) in sides::change()) {
        let rendered = render(&path, side(before.as_ref()), side(after.as_ref()), &RenderOptions::default()).unwrap();
        if before == after {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(&rendered.patch).into_owned();
        let patch = Patch::parse(&rendered.patch);
        prop_assert!(patch.is_ok(), "{:?} {}", patch, shown);
        let patch = patch.unwrap();
        for section in &patch.sections {
            let named = section.operation.source().or(section.operation.destination());
            prop_assert_eq!(named, Some(&path[..]), "{}", shown);
        }
        prop_assert_eq!(applied(&patch, before.as_ref()), Ok(after), "{}", shown);
    }

    /// Patches that git itself makes are read, and lead where git says.
    #[test]
    fn patches_of_git_are_read_and_applied((before, after) in sides::change()) {
        if before == after {
            return Ok(());
        }
        let root = directory();
        for (name, held) in [("a", &before), ("b", &after)] {
            fs::create_dir(root.path().join(name)).unwrap();
            if let Some(held) = held {
                place(&root.path().join(name), b"name x", held);
            }
        }
        let text = diff(root.path());
        let shown = String::from_utf8_lossy(&text).into_owned();
        let patch = Patch::parse(&text);
        prop_assert!(patch.is_ok(), "{:?} {}", patch, shown);
        prop_assert_eq!(applied(&patch.unwrap(), before.as_ref()), Ok(after), "{}", shown);
    }

    /// Where the file has moved on, a hunk is found or not found just as git finds it.
    #[test]
    fn moved_hunks_are_found_as_git_finds_them(
        mut before in sides::text(),
        after in sides::text(),
        other in sides::text(),
        above in sides::text(),
    ) {
        let regular = |bytes: &[u8]| Held { mode: FileMode::Regular, bytes: bytes.to_vec() };
        // Git takes a last line without its line feed for the beginning of any line, and loses the rest.
        if !before.is_empty() && !before.ends_with(b"\n") {
            before.push(b'\n');
        }
        if before == after {
            return Ok(());
        }
        let patch = render(b"f", Some(regular(&before).side()), Some(regular(&after).side()), &RenderOptions::default());
        let text = patch.unwrap().patch;
        let patch = Patch::parse(&text).unwrap();
        for moved in [[&above[..], &before].concat(), [&before[..], &above].concat(), other] {
            let moved = regular(&moved);
            let root = directory();
            place(root.path(), b"f", &moved);
            let shown = String::from_utf8_lossy(&text).into_owned();
            match apply(root.path(), &text, false) {
                Ok(()) => prop_assert_eq!(applied(&patch, Some(&moved)), Ok(found(root.path(), b"f")), "{}", shown),
                Err(_) => prop_assert!(applied(&patch, Some(&moved)).is_err(), "{}", shown),
            }
        }
    }
}

/// Git's binary deltas and renames, copies and modes are read and applied.
#[test]
fn deltas_and_renames_of_git_are_applied() {
    let root = directory();
    let before: Vec<u8> = (0..20_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut after = before.clone();
    after.splice(500..510, *b"something else");
    let regular = |bytes: &[u8]| Held { mode: FileMode::Regular, bytes: bytes.to_vec() };
    place(root.path(), b"a/old name", &regular(&before));
    place(root.path(), b"b/new\tname", &regular(&after));
    let text = diff(root.path());
    assert!(text.windows(6).any(|part| part == b"delta "), "{}", text.escape_ascii());
    let patch = Patch::parse(&text).unwrap();
    assert_eq!(patch.sections[0].operation.destination(), Some(&b"b/new\tname"[..]));
    assert_eq!(patch.sections[0].operation.source(), Some(&b"a/old name"[..]));
    assert_eq!(applied(&patch, Some(&regular(&before))), Ok(Some(regular(&after))));
    assert_eq!(applied(&patch, Some(&regular(b"other"))), Err(ApplyError::WrongBytes));
}

/// A patch is applied to nothing but what it was made for.
#[test]
fn misfits_are_refused() {
    let one = |text: &'static str| Patch::parse(text.as_bytes()).unwrap();
    let held = |bytes: &[u8]| Held { mode: FileMode::Regular, bytes: bytes.to_vec() };
    let create = one("--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a\n");
    assert_eq!(applied(&create, Some(&held(b"a\n"))), Err(ApplyError::Exists));
    let delete = one("--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n");
    assert_eq!(applied(&delete, Some(&held(b"a\nb\n"))), Err(ApplyError::HunkMisfit { hunk: 1 }));
    assert_eq!(applied(&delete, None), Err(ApplyError::Missing));
    assert_eq!(applied(&delete, Some(&held(b"a\n"))), Ok(None));
    let change = one("--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n");
    assert_eq!(applied(&change, Some(&held(b"a\nb\nC\n"))), Err(ApplyError::HunkMisfit { hunk: 1 }));
    assert_eq!(
        apply_file(&change.sections[0], Some(b"a\nb\nc\n"), 3),
        Err(ApplyError::TooLarge { bytes_max: 3 })
    );
}

/// A binary part that inflates to more than it says, or than is allowed, makes nothing.
#[test]
fn binary_parts_are_bounded() {
    let zeros = vec![0; 1 << 16];
    let before = Held { mode: FileMode::Regular, bytes: b"\0".to_vec() };
    let after = Held { mode: FileMode::Regular, bytes: zeros };
    let text =
        render(b"x", Some(before.side()), Some(after.side()), &RenderOptions::default()).unwrap().patch;
    let patch = Patch::parse(&text).unwrap();
    let apply = |patch: &Patch<'_>, bytes_max| apply_file(&patch.sections[0], Some(&before.bytes), bytes_max);
    assert!(apply(&patch, 1 << 16).is_ok());
    assert_eq!(apply(&patch, 1000), Err(ApplyError::TooLarge { bytes_max: 1000 }));
    let lying = String::from_utf8(text).unwrap().replacen("literal 65536", "literal 600", 1).into_bytes();
    assert_eq!(apply(&Patch::parse(&lying).unwrap(), 1000), Err(ApplyError::Damaged));
}
