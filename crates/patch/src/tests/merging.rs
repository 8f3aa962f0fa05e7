//! Merges against `git merge-file`.

use std::ffi::OsStr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::git::{Held, directory, git, place};
use crate::{FileMode, Merge, merge};

/// Lines that differ from each other, as most of a program's do, so that there is one way to see an edit.
fn base() -> impl Strategy<Value = Vec<String>> {
    (3usize..20).prop_map(|lines| (0..lines).map(|line| format!("line {line}\n")).collect())
}

fn edited(base: Vec<String>, side: &'static str) -> impl Strategy<Value = String> {
    vec((any::<prop::sample::Index>(), 0usize..3, 0usize..3, any::<bool>()), 0..4).prop_map(move |edits| {
        let mut lines = base.clone();
        for (number, (index, gone, come, shared)) in edits.into_iter().enumerate() {
            let at = index.index(lines.len() + 1);
            let end = (at + gone).min(lines.len());
            let by = if shared { "both" } else { side };
            lines.splice(at..end, (0..come).map(|line| format!("{by} {number} {line}\n")));
        }
        lines.concat()
    })
}

fn triple() -> impl Strategy<Value = (String, String, String)> {
    base().prop_flat_map(|base| (Just(base.concat()), edited(base.clone(), "ours"), edited(base, "theirs")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// A clean merge is git's clean merge, byte for byte; a conflict is one of git's too.
    #[test]
    fn merges_are_gits((base, ours, theirs) in triple()) {
        let root = directory();
        for (name, text) in [("base", &base), ("ours", &ours), ("theirs", &theirs)] {
            place(root.path(), name.as_bytes(), &Held { mode: FileMode::Regular, bytes: text.clone().into_bytes() });
        }
        let arguments = ["merge-file", "-p", "ours", "base", "theirs"].map(OsStr::new);
        let output = git(root.path(), &arguments);
        match merge(base.as_bytes(), ours.as_bytes(), theirs.as_bytes()) {
            Merge::Clean(bytes) => {
                prop_assert_eq!(output.status.code(), Some(0), "{}|{}|{}", base, ours, theirs);
                prop_assert_eq!(bytes, output.stdout, "{}|{}|{}", base, ours, theirs);
            }
            Merge::Conflict(_) => prop_assert_ne!(output.status.code(), Some(0), "{}|{}|{}", base, ours, theirs),
        }
    }

    /// Merging any bytes ends, and never loses a side that alone has changed.
    #[test]
    fn merging_is_total(base in vec(any::<u8>(), 0..40), ours in vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(merge(&base, &ours, &base), Merge::Clean(ours.clone()));
        prop_assert_eq!(merge(&base, &base, &ours), Merge::Clean(ours.clone()));
        prop_assert_eq!(merge(&base, &ours, &ours), Merge::Clean(ours));
    }
}
