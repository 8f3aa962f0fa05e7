//! Trees to start from: real repositories, made here, and this project itself.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::tree::{copy, write};

/// A repository of source files in a few languages.
pub(crate) fn project(root: &Path) {
    for module in 0..12 {
        for file in 0..8 {
            let lines: String =
                (0..40).map(|line| format!("let value_{line} = {};\n", line * file)).collect();
            write(root, format!("src/module_{module}/file_{file}.rs"), lines);
        }
        write(root, format!("docs/page_{module}.md"), format!("# Page {module}\r\n\r\nText.\r\n"));
    }
    write(root, "run.sh", "#!/bin/sh\necho run\n");
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("docs/page_0.md", root.join("README.md")).unwrap();
    commit(root, "everything");
}

/// Names and contents that tools stumble over.
pub(crate) fn odd(root: &Path) {
    let names: [&[u8]; 12] = [
        b"with space",
        b"tab\there",
        b"line\nfeed",
        b"quote\"d",
        b"back\\slash",
        b"-dash",
        b"caf\xc3\xa9",
        b"latin\xe9",
        b"a'b",
        b"deep/er/and/deeper/file",
        b"deep/er/other",
        b"trailing ",
    ];
    for name in names {
        write(root, <std::ffi::OsStr as OsStrExt>::from_bytes(name), [name, b"\nsecond\nthird\n"].concat());
    }
    write(root, "empty", "");
    write(root, "no newline", "the end");
    write(root, "crlf", "one\r\ntwo\r\nthree\r\n");
    write(root, "mixed", "one\r\ntwo\nthree\rfour\n");
    write(root, "binary", (0..=255u8).cycle().take(5000).collect::<Vec<u8>>());
    write(root, "long line", vec![b'x'; 100_000]);
    write(root, "large", "a line of text\n".repeat(20_000));
    fs::create_dir(root.join("hollow")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    symlink("deep/er", root.join("to directory")).unwrap();
    fs::hard_link(root.join("crlf"), root.join("second name")).unwrap();
    commit(root, "odd things");
}

/// A repository whose files come of many commits, packed as git packs them.
pub(crate) fn long_history(root: &Path) {
    const COMMITS: usize = 2_000;
    fs::create_dir(root).unwrap();
    git(root, &["init", "-q", "-b", "main"]);
    // One process makes them all; `git commit` two thousand times would take minutes.
    let mut stream = String::new();
    for commit in 0..COMMITS {
        let (area, file) = (commit % 7, commit % 53);
        let text: String = (0..20 + commit % 30).map(|line| format!("{commit} {line} {area}\n")).collect();
        let message = format!("change {commit}");
        stream.push_str(&format!(
            "commit refs/heads/main\ncommitter T <t@example.com> {} +0000\ndata {}\n{message}\n",
            1_700_000_000 + commit,
            message.len()
        ));
        let mode = if file % 10 == 0 { 100_755 } else { 100_644 };
        stream
            .push_str(&format!("M {mode} inline area_{area}/file_{file}.txt\ndata {}\n{text}\n", text.len()));
    }
    let mut import = Command::new("git");
    import.args(["fast-import", "--quiet"]).current_dir(root).stdin(std::process::Stdio::piped());
    let mut child = import.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), stream.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    git(root, &["checkout", "-q", "-f", "main"]);
}

/// The files of this project that git knows.
pub(crate) fn this_project(root: &Path) {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::create_dir(root).unwrap();
    for name in ["crates", "tests", "docs", "scripts", "bench"] {
        copy(&project.join(name), &root.join(name));
    }
    for name in ["Cargo.toml", "Cargo.lock", "Makefile", "README.md", "deny.toml", "rustfmt.toml"] {
        copy(&project.join(name), &root.join(name));
    }
}

/// Paths of every file, relative.
pub(crate) fn paths(root: &Path) -> Vec<Vec<u8>> {
    let mut paths = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                if path.file_name().is_some_and(|name| name != ".git") {
                    directories.push(path);
                }
            } else {
                paths.push(path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec());
            }
        }
    }
    paths.sort();
    paths
}

fn commit(root: &Path, message: &str) {
    git(root, &["init", "-q", "-b", "main"]);
    git(root, &["add", "-A"]);
    git(root, &["-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-q", "-m", message]);
}

fn git(root: &Path, arguments: &[&str]) {
    let status = Command::new("git").args(arguments).current_dir(root).status().unwrap();
    assert!(status.success(), "git {arguments:?}");
}
