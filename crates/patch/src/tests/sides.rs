//! Files of all kinds, and edits of them, at random.

use proptest::collection::vec;
use proptest::prelude::*;

use super::git::Held;
use crate::FileMode;
use crate::classify;

fn line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "[ab]{0,2}".prop_map(String::into_bytes),
        2 => vec(any::<u8>().prop_filter("no line feed", |byte| *byte != b'\n' && *byte != 0), 0..6),
        1 => Just(b"\\ No newline at end of file".to_vec()),
        1 => Just(b"--- a/x".to_vec()),
        1 => Just(b"@@ -1 +1 @@".to_vec()),
        1 => Just(b"x\r".to_vec()),
        1 => Just(b"trailing \t ".to_vec()),
    ]
}

fn joined(lines: Vec<Vec<u8>>, ends: bool) -> Vec<u8> {
    let mut text = lines.join(&b'\n');
    if ends && !text.is_empty() {
        text.push(b'\n');
    }
    text
}

pub(super) fn text() -> impl Strategy<Value = Vec<u8>> {
    (vec(line(), 0..24), any::<bool>()).prop_map(|(lines, ends)| joined(lines, ends))
}

/// The text with some of its lines replaced, removed or doubled.
fn edited(text: Vec<u8>) -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let edit = (any::<prop::sample::Index>(), 0usize..3, vec(line(), 0..3));
    (Just(text), vec(edit, 0..4)).prop_map(|(before, edits)| {
        let mut lines: Vec<Vec<u8>> = before.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        for (index, gone, come) in edits {
            let at = index.index(lines.len() + 1);
            let end = (at + gone).min(lines.len());
            lines.splice(at..end, come);
        }
        let after = lines.join(&b'\n');
        (before, after)
    })
}

fn contents() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    prop_oneof![
        8 => text().prop_flat_map(edited),
        2 => (text(), text()),
        2 => (vec(any::<u8>(), 0..400), vec(any::<u8>(), 0..400)),
        1 => (text(), Just(b"bin\0ary".to_vec())),
        1 => text().prop_map(|text| (text.clone(), text)),
        1 => Just((Vec::new(), Vec::new())),
    ]
}

fn mode() -> impl Strategy<Value = FileMode> {
    prop_oneof![3 => Just(FileMode::Regular), 1 => Just(FileMode::Executable)]
}

fn file(bytes: Vec<u8>) -> impl Strategy<Value = Option<Held>> {
    prop_oneof![
        8 => mode().prop_map(move |mode| Some(Held { mode, bytes: bytes.clone() })),
        1 => Just(None),
        1 => vec(1u8..=255, 1..20).prop_map(|bytes| Some(Held { mode: FileMode::Symlink, bytes })),
    ]
}

/// Both sides of a path.
pub(super) fn change() -> impl Strategy<Value = (Option<Held>, Option<Held>)> {
    contents().prop_flat_map(|(before, after)| (file(before), file(after)))
}

/// A path of odd names, though none that git refuses.
pub(super) fn path() -> impl Strategy<Value = Vec<u8>> {
    let letter = prop_oneof![
        5 => prop::sample::select(&b"ab-+"[..]),
        5 => prop::sample::select(&b" \t\n\r\"\\.:~'\x01\x7f\x80\xff$*?"[..]),
        1 => (1u8..=255).prop_filter("no slash", |byte| *byte != b'/'),
    ];
    let name = prop_oneof![
        4 => vec(letter, 1..6),
        1 => Just(b"-- name".to_vec()),
        1 => Just(b" b".to_vec()),
        1 => Just(b"a b".to_vec()),
        1 => Just("é".as_bytes().to_vec()),
    ];
    vec(name, 1..4)
        .prop_map(|names| names.join(&b'/'))
        .prop_filter("a path git takes", |path| classify(path, true).is_none())
}
