//! What is left out, compared with what git itself leaves out.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::model::{ModelContent, send, sent};
use super::super::{GitRules, Options, SourceError};

fn git(directory: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("git")
        .args(["-c", "core.hooksPath=/dev/null", "-c", "protocol.file.allow=always"])
        .args(["-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1"), ("HOME", "/nonexistent")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn temporary() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = fs::canonicalize(directory.path()).unwrap();
    (directory, path)
}

fn write(root: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn rules() -> Options {
    Options { ignore: Some(GitRules::default()), ..Options::default() }
}

/// What is sent of a directory without `.git`, files alone.
fn files(root: &Path, options: Options) -> BTreeSet<Vec<u8>> {
    let model = sent(root, options);
    let is_git = |path: &[u8]| path == b".git" || path.starts_with(b".git/");
    let files = model.nodes.into_iter().filter(|(_, node)| node.content != ModelContent::Directory);
    files.map(|(path, _)| path).filter(|path| !is_git(path)).collect()
}

/// What git has there or would add.
fn listed(root: &Path) -> BTreeSet<Vec<u8>> {
    let listed = git(root, &["ls-files", "-co", "--exclude-standard", "-z"]);
    let names = listed.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(<[u8]>::to_vec)
        .filter(|name| fs::symlink_metadata(root.join(OsStr::from_bytes(name))).is_ok())
        .collect()
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[ab]{1,2}",
        3 => "[ab]\\.[co]",
        1 => "[A-B !#{},\\[\\]\\\\*?-]{1,3}",
        1 => "[éab]{1,2}",
    ]
    .prop_filter("a name", |name| !matches!(name.as_str(), "." | ".."))
}

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec(name(), 1..4).prop_map(|names| names.join("/"))
}

fn pattern() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        6 => name(),
        3 => "[ab*?]{1,3}".prop_filter("git reads `**` behind a letter in two ways", |text| !text.contains("**")),
        1 => Just("**".to_owned()),
        1 => "\\[[!^]?[]ab-]?[a-c.-]{1,3}\\]",
        1 => Just("[[:alpha:]]*".to_owned()),
        1 => Just("[[:nope:]]".to_owned()),
        1 => "\\\\[ab*!#]",
        1 => Just("*.o".to_owned()),
        1 => Just("[^b]".to_owned()),
        1 => Just("{a,b}".to_owned()),
    ];
    let start = prop_oneof![4 => Just(""), 1 => Just("/"), 2 => Just("!"), 1 => Just("!/"), 1 => Just("#")];
    let end = prop_oneof![5 => Just(""), 2 => Just("/"), 1 => Just("  "), 1 => Just("/**"), 1 => Just("\r"), 1 => Just("\\ ")];
    (start, proptest::collection::vec(segment, 1..4), end)
        .prop_map(|(start, segments, end)| format!("{start}{}{end}", segments.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// What is left out is what git leaves out: patterns near and far, and tracked files in spite of them.
    #[test]
    fn ignoring_is_as_git_does_it(
        paths in proptest::collection::vec(path(), 1..25),
        ignore_files in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<bool>(), proptest::collection::vec(pattern(), 1..6)),
            0..4,
        ),
        excludes in proptest::collection::vec(pattern(), 0..3),
        user in proptest::collection::vec(pattern(), 0..3),
        tracked in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        version in 2u8..5,
        ignores_case in any::<bool>(),
    ) {
        let (_guard, root) = temporary();
        let (_other, elsewhere) = temporary();
        git(&root, &["init", "-q"]);
        let mut made = Vec::new();
        for path in &paths {
            // Two tracked names that differ in case are one to git then, on a disk that knows better.
            let path = if ignores_case { &path.to_lowercase() } else { path };
            let path = root.join(path);
            if fs::create_dir_all(path.parent().unwrap()).is_ok() && fs::write(&path, "x").is_ok() {
                made.push(path);
            }
        }
        prop_assume!(!made.is_empty());
        for index in &tracked {
            git(&root, &["--literal-pathspecs", "add", "-f", "--", index.get(&made).to_str().unwrap()]);
        }
        for (index, is_top, patterns) in &ignore_files {
            let directory = if *is_top { &root } else { index.get(&made).parent().unwrap() };
            fs::write(directory.join(".gitignore"), patterns.join("\n")).unwrap();
        }
        fs::create_dir_all(root.join(".git/info")).unwrap();
        fs::write(root.join(".git/info/exclude"), excludes.join("\n") + "\n").unwrap();
        let user_excludes = elsewhere.join("user");
        fs::write(&user_excludes, user.join("\n")).unwrap();
        git(&root, &["config", "core.excludesFile", user_excludes.to_str().unwrap()]);
        git(&root, &["config", "core.ignoreCase", if ignores_case { "true" } else { "false" }]);
        if !tracked.is_empty() {
            git(&root, &["update-index", "--index-version", &version.to_string()]);
        }
        prop_assert_eq!(files(&root, rules()), listed(&root));
    }
}

/// A directory inside a repository is under the rules above it, and the index counts for it.
#[test]
fn rules_come_from_above() {
    let (_guard, root) = temporary();
    git(&root, &["init", "-q"]);
    write(&root, &[(".gitignore", "*.o\n/sub/anchored\n"), ("sub/.gitignore", "!kept.o\n/deep/x\n")]);
    write(&root, &[("sub/deep/a.o", ""), ("sub/deep/kept.o", ""), ("sub/deep/x", ""), ("sub/deep/y", "")]);
    write(
        &root,
        &[("sub/deep/tracked.o", ""), ("sub/anchored", ""), ("sub/build/tracked", ""), ("sub/build/x", "")],
    );
    git(&root, &["add", "-f", "sub/deep/tracked.o", "sub/build/tracked"]);
    fs::write(root.join(".git/info/exclude"), "build\n").unwrap();
    for directory in ["sub", "sub/deep"] {
        let directory = root.join(directory);
        assert_eq!(files(&directory, rules()), listed(&directory));
    }
    assert_eq!(sent(&root.join("sub/deep"), rules()).paths(), ["kept.o", "tracked.o", "y"]);
    // What was named is taken, though git ignores it.
    assert_eq!(sent(&root.join("sub/build"), rules()).paths(), ["tracked", "x"]);
}

/// A worktree has its own index and shares the patterns of its repository; `.git` itself is taken.
#[test]
fn worktrees_are_repositories() {
    let (_guard, root) = temporary();
    let (_other, elsewhere) = temporary();
    git(&root, &["init", "-q"]);
    write(&root, &[("a", "")]);
    git(&root, &["add", "a"]);
    git(&root, &["commit", "-qm", "a"]);
    fs::write(root.join(".git/info/exclude"), "*.o\n").unwrap();
    let tree = elsewhere.join("tree");
    git(&root, &["worktree", "add", "-q", tree.to_str().unwrap()]);
    write(&tree, &[("b.o", ""), ("c.o", ""), ("d", "")]);
    git(&tree, &["add", "-f", "b.o"]);
    assert_eq!(files(&tree, rules()), listed(&tree));
    assert_eq!(sent(&tree, rules()).paths(), [".git", "a", "b.o", "d"]);
    fs::remove_dir_all(root.join(".git/worktrees")).unwrap();
    let (error, _) = send(&tree, rules());
    assert!(matches!(error, Err(SourceError::Git(super::GitError::NoRepository { .. }))));
}

/// A repository inside another is under its own rules.
#[test]
fn nested_repositories_have_their_own_rules() {
    let (_guard, root) = temporary();
    git(&root, &["init", "-q"]);
    write(
        &root,
        &[(".gitignore", "*.o\n"), ("a.o", ""), ("inner/a.o", ""), ("inner/b.x", ""), ("inner/c.x", "")],
    );
    git(&root.join("inner"), &["init", "-q"]);
    write(
        &root,
        &[
            ("inner/.gitignore", "*.x\n"),
            ("inner/.git/left.o", ""),
            ("plain/.git/x.o", ""),
            ("plain/a.o", ""),
        ],
    );
    git(&root.join("inner"), &["add", "-f", "b.x"]);
    let paths = sent(&root, rules()).paths();
    let has = |path: &str| paths.iter().any(|own| own == path);
    assert!(has("inner/a.o") && has("inner/b.x") && !has("inner/c.x") && !has("a.o") && !has("plain/a.o"));
    assert!(has("inner/.git/left.o") && has(".git/HEAD"));
}

/// A submodule is kept whatever the patterns say, because it is tracked.
#[test]
fn submodules_are_kept() {
    let (_guard, root) = temporary();
    let (_other, other) = temporary();
    for repository in [&root, &other] {
        git(repository, &["init", "-q"]);
        write(repository, &[("a", "")]);
        git(repository, &["add", "a"]);
        git(repository, &["commit", "-qm", "a"]);
    }
    git(&root, &["submodule", "add", "-q", other.to_str().unwrap(), "sub"]);
    write(&root, &[(".gitignore", "sub\n"), ("sub/new", "")]);
    let paths = sent(&root, rules()).paths();
    assert!(
        ["sub", "sub/.git", "sub/a", "sub/new"].iter().all(|path| paths.iter().any(|own| own == path)),
        "{paths:?}"
    );
}

/// Without a repository the patterns of the directory hold, and those of the user.
#[test]
fn patterns_hold_without_a_repository() {
    let (_guard, root) = temporary();
    write(
        &root,
        &[
            (".gitignore", "*.o\n"),
            ("d/.gitignore", "!b.o\n"),
            ("a.o", ""),
            ("d/a.o", ""),
            ("d/b.o", ""),
            ("u", ""),
        ],
    );
    write(&root, &[("excludes", "u\n")]);
    let mut options = rules();
    options.ignore = Some(GitRules { user_excludes: Some(root.join("excludes")), home: None });
    assert_eq!(sent(&root, options).paths(), [".gitignore", "d", "d/.gitignore", "d/b.o", "excludes"]);
}

/// A directory that holds nothing but what is ignored goes with it; an empty one stays.
#[test]
fn emptied_directories_go() {
    let (_guard, root) = temporary();
    write(&root, &[(".gitignore", "*.o\nskip/\n"), ("a/b/c.o", ""), ("d/c.o", ""), ("skip/x", "")]);
    fs::create_dir_all(root.join("d/empty")).unwrap();
    fs::create_dir_all(root.join("skip/empty")).unwrap();
    assert_eq!(sent(&root, rules()).paths(), [".gitignore", "d", "d/empty"]);
}

/// What is left out need not be readable, nor a file.
#[test]
fn ignored_fifos_are_no_trouble() {
    let (_guard, root) = temporary();
    write(&root, &[(".gitignore", "fifo\n")]);
    let fifo = root.join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(sent(&root, rules()).paths(), [".gitignore"]);
    assert!(send(&root, Options::default()).0.is_err());
}

/// A `.gitignore` that is a symlink is not followed, in the directory or above it.
#[test]
fn linked_patterns_are_not_followed() {
    let (_guard, root) = temporary();
    git(&root, &["init", "-q"]);
    write(&root, &[("all", "*\n"), ("d/a", "")]);
    std::os::unix::fs::symlink("all", root.join(".gitignore")).unwrap();
    assert_eq!(files(&root, rules()), listed(&root));
    assert_eq!(sent(&root.join("d"), rules()).paths(), ["a"]);
}

/// A damaged index is an error that names it, before anything is sent.
#[test]
fn damaged_indexes_are_named() {
    let (_guard, root) = temporary();
    git(&root, &["init", "-q"]);
    write(&root, &[("a", ""), ("b", "")]);
    git(&root, &["add", "."]);
    let index = root.join(".git/index");
    let whole = fs::read(&index).unwrap();
    for damaged in [&whole[..whole.len() / 2], &whole[..30], b"", b"not an index, but long enough to be one"]
    {
        fs::write(&index, damaged).unwrap();
        let (error, model) = send(&root, rules());
        let error = error.unwrap_err();
        assert!(error.to_string().contains(".git/index is damaged"), "{error}");
        assert!(error.hint().is_some() && model.order.is_empty());
    }
    fs::write(&index, &whole).unwrap();
    git(&root, &["update-index", "--split-index"]);
    let error = send(&root, rules()).0.unwrap_err();
    assert!(error.to_string().contains("split in two"), "{error}");
}

/// A repository with the longer hashes is read as well as any.
#[test]
fn sha256_repositories_are_read() {
    let (_guard, root) = temporary();
    git(&root, &["init", "-q", "--object-format=sha256"]);
    write(&root, &[(".gitignore", "*.o\n"), ("a.o", ""), ("b.o", "")]);
    git(&root, &["add", "-f", "b.o"]);
    assert_eq!(files(&root, rules()), listed(&root));
    assert_eq!(files(&root, rules()).len(), 2);
}

/// A sparse index keeps what is in its directories.
#[test]
fn sparse_indexes_are_read() {
    let (_guard, root) = temporary();
    git(&root, &["init", "-q"]);
    write(&root, &[("in/a.o", ""), ("out/deep/b.o", ""), ("c", "")]);
    git(&root, &["add", "."]);
    git(&root, &["commit", "-qm", "a"]);
    git(&root, &["sparse-checkout", "set", "--cone", "--sparse-index", "in"]);
    write(&root, &[(".gitignore", "*.o\n"), ("in/new.o", "")]);
    assert_eq!(files(&root, rules()), listed(&root));
}
