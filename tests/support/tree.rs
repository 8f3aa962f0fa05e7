//! A directory as a value: what is where, to compare two of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

/// Files and links by their paths; what git does not know (empty directories, permissions beyond the executable
/// bit, anything in `.git`) only where it is asked for.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<Vec<u8>, Node>);

#[derive(Clone, PartialEq, Eq)]
enum Node {
    File { mode: u32, bytes: Vec<u8> },
    Symlink { target: Vec<u8> },
    Directory { mode: u32 },
}

impl Tree {
    /// A directory as git sees it.
    pub(crate) fn as_git_sees(root: &Path) -> Tree {
        let mut nodes = BTreeMap::new();
        walk(root, b"", &mut nodes);
        nodes.retain(|path, node| {
            let in_git = path.split(|byte| *byte == b'/').any(|name| name == b".git");
            !in_git && !matches!(node, Node::Directory { .. })
        });
        for node in nodes.values_mut() {
            if let Node::File { mode, .. } = node {
                *mode = if *mode & 0o100 == 0 { 0o644 } else { 0o755 };
            }
        }
        Tree(nodes)
    }

    /// A directory with everything in it.
    pub(crate) fn whole(root: &Path) -> Tree {
        let mut nodes = BTreeMap::new();
        walk(root, b"", &mut nodes);
        Tree(nodes)
    }
}

/// Only what there is of two trees that differ is worth reading.
impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(|(path, node)| (path.escape_ascii().to_string(), node)))
            .finish()
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::File { mode, bytes } => {
                let shown = &bytes[..bytes.len().min(60)];
                write!(f, "file {mode:o} {} bytes {}", bytes.len(), shown.escape_ascii())
            }
            Node::Symlink { target } => write!(f, "link {}", target.escape_ascii()),
            Node::Directory { mode } => write!(f, "directory {mode:o}"),
        }
    }
}

fn walk(directory: &Path, above: &[u8], nodes: &mut BTreeMap<Vec<u8>, Node>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let mut path = above.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(entry.file_name().as_bytes());
        let metadata = entry.metadata().unwrap();
        let mode = metadata.permissions().mode() & 0o7777;
        let node = if metadata.is_dir() {
            walk(&entry.path(), &path, nodes);
            Node::Directory { mode }
        } else if metadata.is_symlink() {
            Node::Symlink { target: fs::read_link(entry.path()).unwrap().as_os_str().as_bytes().to_vec() }
        } else {
            Node::File { mode, bytes: fs::read(entry.path()).unwrap() }
        };
        nodes.insert(path, node);
    }
}

/// Asserts that two trees are the same, and shows what is not.
pub(crate) fn assert_same(expected: &Tree, found: &Tree, what: &str) {
    let mut differences = Vec::new();
    for path in expected.0.keys().chain(found.0.keys().filter(|path| !expected.0.contains_key(*path))) {
        let (a, b) = (expected.0.get(path), found.0.get(path));
        if a != b {
            differences.push(format!("{}: expected {a:?}, found {b:?}", path.escape_ascii()));
        }
    }
    assert!(differences.is_empty(), "{what}:\n{}", differences.join("\n"));
}

/// Unpacks a tar archive of a guest into a new directory, with the host's own `tar`.
pub(crate) fn unpack(archive: &[u8], into: &Path) {
    fs::create_dir(into).unwrap();
    feed(Command::new("tar").arg("-C").arg(into).args(["--no-same-owner", "-xpf", "-"]), archive);
}

/// `git apply` as a person would run it; an empty patch has nothing to apply.
pub(crate) fn git_apply(directory: &Path, patch: &[u8]) {
    if patch.is_empty() {
        return;
    }
    let mut git = Command::new("git");
    git.current_dir(directory).env("GIT_CEILING_DIRECTORIES", directory.parent().unwrap());
    feed(git.args(["apply", "-"]), patch);
}

/// A copy of a directory with everything in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

fn feed(command: &mut Command, input: &[u8]) {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = stdin.write_all(input);
        });
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "{command:?}: {told}\n{}",
            input[..input.len().min(4000)].escape_ascii()
        );
    });
}

/// A file, with the directories above it.
pub(crate) fn write(root: &Path, path: impl AsRef<OsStr>, bytes: impl AsRef<[u8]>) {
    let path = root.join(Path::new(path.as_ref()));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Inode numbers, to see which names are one file.
pub(crate) fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}
