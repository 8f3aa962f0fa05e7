//! What is rendered does in git's hands what it says.

use proptest::prelude::*;

use super::git::{Held, apply, directory, found, place, side};
use super::sides;
use crate::{ChangeKind, FileMode, Lines, Refused, RenderOptions, Side, Summary, render};

fn rendered(path: &[u8], before: Option<&Held>, after: Option<&Held>) -> Vec<u8> {
    render(path, side(before), side(after), &RenderOptions::default()).unwrap().patch
}

fn is_symlink(held: Option<&Held>) -> bool {
    held.is_some_and(|held| held.mode.is_symlink())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// `git apply` leads from one side to the other exactly, and `git apply --reverse` back.
    #[test]
    fn git_applies_what_is_rendered(path in sides::path(), (before, after) in sides::change()) {
        let patch = rendered(&path, before.as_ref(), after.as_ref());
        prop_assert_eq!(patch.is_empty(), before == after);
        if patch.is_empty() {
            return Ok(());
        }
        let root = directory();
        if let Some(before) = &before {
            place(root.path(), &path, before);
        }
        let shown = String::from_utf8_lossy(&patch).into_owned();
        prop_assert_eq!(apply(root.path(), &patch, false), Ok(()), "{}", shown);
        prop_assert_eq!(&found(root.path(), &path), &after, "{}", shown);
        prop_assert_eq!(apply(root.path(), &patch, true), Ok(()), "{}", shown);
        let back = found(root.path(), &path);
        if after.is_none() || is_symlink(before.as_ref()) != is_symlink(after.as_ref()) {
            // Git forgets the mode where it reverses a deletion, with patches of its own too.
            prop_assert_eq!(back.map(|held| held.bytes), before.map(|held| held.bytes), "{}", shown);
        } else {
            prop_assert_eq!(&back, &before, "{}", shown);
        }
    }
}

/// Many paths make one patch, a directory that becomes a file and a file that becomes a directory among them.
#[test]
fn sections_make_one_patch() {
    let regular = |bytes: &[u8]| Held { mode: FileMode::Regular, bytes: bytes.to_vec() };
    let changes: [(&[u8], Option<Held>, Option<Held>); 6] = [
        (b"d", None, Some(regular(b"now a file\n"))),
        (b"d/x", Some(regular(b"in a directory\n")), None),
        (b"f", Some(regular(b"a file\n")), None),
        (b"f/x", None, Some(regular(b"in a directory now\n"))),
        (b"l", Some(regular(b"text")), Some(Held { mode: FileMode::Symlink, bytes: b"f/x".to_vec() })),
        (
            b"bin",
            Some(regular(b"\0one")),
            Some(Held { mode: FileMode::Executable, bytes: b"\0two".to_vec() }),
        ),
    ];
    let root = directory();
    let mut patch = Vec::new();
    for (path, before, after) in &changes {
        patch.extend(rendered(path, before.as_ref(), after.as_ref()));
        if let Some(before) = before {
            place(root.path(), path, before);
        }
    }
    assert_eq!(apply(root.path(), &patch, false), Ok(()));
    for (path, _, after) in &changes {
        // Below a file there is nothing to find.
        assert_eq!(&found(root.path(), path), after);
    }
    assert_eq!(apply(root.path(), &patch, true), Ok(()));
    for (path, before, _) in changes.iter().filter(|change| change.0 != b"l") {
        // Nor is the link's mode right: git reverses no change of type.
        assert_eq!(&found(root.path(), path), before);
    }
}

/// A text too large for a diff is carried as bytes, exactly.
#[test]
fn too_large_a_text_is_carried_whole() {
    let bytes: Vec<u8> = (0..300_000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
    let before = Held { mode: FileMode::Regular, bytes };
    let mut after = before.clone();
    after.bytes.extend_from_slice(b"one more\n");
    let rendered =
        render(b"big", Some(before.side()), Some(after.side()), &RenderOptions::default()).unwrap();
    assert!(matches!(rendered.stat.lines, Lines::Bytes { .. }));
    let root = directory();
    place(root.path(), b"big", &before);
    assert_eq!(apply(root.path(), &rendered.patch, false), Ok(()));
    assert_eq!(found(root.path(), b"big"), Some(after));
}

/// A summary counts each path once, whatever happens to it.
#[test]
fn summaries_count_paths() {
    let text = Side { mode: FileMode::Regular, bytes: b"a\n" };
    let more = Side { mode: FileMode::Regular, bytes: b"a\nb\n" };
    let link = Side { mode: FileMode::Symlink, bytes: b"a" };
    let binary = Side { mode: FileMode::Regular, bytes: b"\0" };
    let mut summary = Summary::default();
    let cases = [
        (None, Some(text)),
        (Some(text), None),
        (Some(text), Some(more)),
        (Some(text), Some(link)),
        (Some(text), Some(binary)),
        (Some(text), Some(text)),
    ];
    for (before, after) in cases {
        summary.count(&render(b"x", before, after, &RenderOptions::default()).unwrap());
    }
    let expected = Summary {
        total: 5,
        added: 1,
        modified: 2,
        deleted: 1,
        type_changed: 1,
        text_patched: 4,
        non_text: 1,
        ..Summary::default()
    };
    assert_eq!(summary, expected);
    let rendered = render(b"x", Some(text), Some(more), &RenderOptions::default()).unwrap();
    assert_eq!(rendered.kind, Some(ChangeKind::Modified));
    assert_eq!(rendered.stat.lines, Lines::Text { inserted: 1, deleted: 0 });
}

/// What git would refuse a whole patch for is never put into one.
#[test]
fn refused_paths_are_not_rendered() {
    let text = Some(Side { mode: FileMode::Regular, bytes: b"a\n" });
    let link = Some(Side { mode: FileMode::Symlink, bytes: b"a" });
    let refused = |path: &[u8], side| render(path, None, side, &RenderOptions::default()).err();
    assert_eq!(refused(b"a/.git/config", text), Some(Refused::GitDirectory));
    assert_eq!(refused(b".gitmodules", link), Some(Refused::GitModulesLink));
    assert_eq!(refused(b"../x", text), Some(Refused::NotRelative));
    assert_eq!(refused(b".gitmodules", text), None);
}
