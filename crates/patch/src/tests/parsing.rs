//! Patches that people and programs write, and those that no one should.

use proptest::prelude::*;

use crate::{FileMode, Operation, Patch};

fn operation(text: &str) -> Operation {
    let patch = Patch::parse(text.as_bytes()).unwrap();
    patch.sections[0].operation.clone()
}

fn fault(text: &str) -> String {
    Patch::parse(text.as_bytes()).unwrap_err().to_string()
}

/// Mail around a patch, times behind names and a stripped space are all fine.
#[test]
fn plain_diffs_are_read() {
    let text = "From: someone\n\nwords\n--- a/src/x.c\t2024-01-01 10:00:00\n+++ b/src/x.c\t2024-01-01 10:00:01\n@@ -1,3 +1,3 @@ main\n a\n\n-b\n+c\n-- \n2.47\n";
    let patch = Patch::parse(text.as_bytes()).unwrap();
    assert_eq!(patch.sections.len(), 1);
    assert_eq!(patch.sections[0].operation, Operation::Modify { path: b"src/x.c".to_vec() });
    assert_eq!(patch.sections[0].line, 4);
    assert_eq!(
        operation("--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+a\n"),
        Operation::Create { path: b"n".to_vec() }
    );
    assert_eq!(
        operation("--- x\n+++ x.new\n@@ -1 +1 @@\n-a\n+b\n"),
        Operation::Modify { path: b"x".to_vec() }
    );
}

/// Headers without contents say what they say.
#[test]
fn headers_alone_are_read() {
    let text = "diff --git a/x y b/x y\nold mode 100644\nnew mode 100755\ndiff --git a/p b/q\nsimilarity index 100%\nrename from p\nrename to q\ndiff --git a/e b/e\ndeleted file mode 100644\nindex e69de29..0000000\n";
    let patch = Patch::parse(text.as_bytes()).unwrap();
    assert_eq!(patch.sections[0].new_mode, Some(FileMode::Executable));
    assert_eq!(patch.sections[0].operation, Operation::Modify { path: b"x y".to_vec() });
    assert_eq!(patch.sections[1].operation, Operation::Rename { from: b"p".to_vec(), to: b"q".to_vec() });
    assert_eq!(patch.sections[2].operation, Operation::Delete { path: b"e".to_vec() });
}

/// No path leads out of the tree or into `.git`, however it is written.
#[test]
fn paths_are_refused_by_name() {
    for path in
        ["a/../../x", "a/.git/hooks/pre-commit", "a/sub/.GIT/x", "a//../x", "/etc/passwd", "a/git~1/config"]
    {
        let plain = fault(&format!("--- {path}\n+++ {path}\n@@ -1 +1 @@\n-a\n+b\n"));
        assert!(plain.contains("the path"), "{path}: {plain}");
        let git = fault(&format!("diff --git {path} {path}\n--- {path}\n+++ {path}\n@@ -1 +1 @@\n-a\n+b\n"));
        assert!(git.contains("the path"), "{path}: {git}");
    }
    for header in
        ["rename from ../x\nrename to y", "rename from x\nrename to y/.git/z", "copy from /etc/x\ncopy to y"]
    {
        assert!(fault(&format!("diff --git a/x b/y\n{header}\n")).contains("the path"), "{header}");
    }
    assert!(fault("diff --git a/.gitmodules b/.gitmodules\nnew file mode 120000\nindex 0000000..1111111\n--- /dev/null\n+++ b/.gitmodules\n@@ -0,0 +1 @@\n+x\n").contains(".gitmodules"));
}

/// A malformed patch is an error with its line, never a patch of less.
#[test]
fn malformed_patches_are_refused() {
    assert!(fault("").contains("no diff"));
    assert!(fault("just words\n").contains("no diff"));
    let cases = [
        ("@@ -1 +1 @@\n-a\n+b\n", "line 1"),
        ("--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n-b\n", "line 6"),
        ("--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n?b\n", "line 5"),
        ("--- a/x\n+++ b/x\n@@ -1,2 +1,1 @@\n a\n+b\n", "line 5"),
        ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n a\n", "changes nothing"),
        ("diff --git a/x b/y\n", "no name"),
        ("diff --git a/x b/x\nold mode 160000\nnew mode 100644\n", "mode"),
        ("diff --git a/x b/x\nold mode 120000\nnew mode 100644\n", "symbolic"),
        ("diff --git a/x b/x\n--- a/x\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n", "two names"),
        ("diff --git a/x b/x\nnew file mode 100644\n--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+b\n", "new file"),
        ("diff --git a/x b/x\nindex 11..22 100644\nBinary files a/x and b/x differ\n", "--binary"),
        ("diff --git a/x b/x\nindex 11..22 100644\nGIT binary patch\nliteral 3\nzz\n\n", "malformed"),
        (
            "diff --git a/x b/x\nnew file mode 100644\n--- /dev/null\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n",
            "depends",
        ),
    ];
    for (text, what) in cases {
        let fault = fault(text);
        assert!(fault.contains(what), "{text}: {fault}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// No text makes the reader panic, and whatever it reads has paths that git would take.
    #[test]
    fn parsing_is_total(parts in proptest::collection::vec(part(), 0..14)) {
        let text = parts.concat();
        if let Ok(patch) = Patch::parse(&text) {
            for section in &patch.sections {
                for path in [section.operation.source(), section.operation.destination()].into_iter().flatten() {
                    prop_assert_eq!(crate::classify(path, false), None);
                }
                let _ = crate::apply_file(section, Some(b"a\nb\n"), 1000);
                let _ = crate::apply_file(section, None, 1000);
            }
        }
    }
}

fn part() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "diff --git a/x b/x\n",
        "diff --git a/../x b/../x\n",
        "--- a/x\n",
        "--- a/x",
        "+++ b/x\n",
        "--- /dev/null\n",
        "+++ /dev/null\n",
        "@@ -1 +1 @@\n",
        "@@ -1,2 +1,3 @@\n",
        "@@ -0,0 +1 @@\n",
        "@@ -999999999999,999999999999 +1 @@\n",
        "-a\n",
        "+b\n",
        " b\n",
        "\n",
        "\\ No newline at end of file\n",
        "index 0000000..1111111 100644\n",
        "new file mode 100644\n",
        "deleted file mode 120000\n",
        "rename from x\n",
        "rename to \"y\\0",
        "GIT binary patch\n",
        "literal 18446744073709551615\n",
        "delta 3\n",
        "Hcmd;J00001\n",
    ];
    prop_oneof![
        8 => prop::sample::select(known.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..10),
    ]
}
