//! Trees on their way into a workspace: seeds and pushes, whole or not at all.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::Machine;
use crate::support::tree::{Tree, assert_same, inode, unpack, write};

/// A tree with everything that a tree can have.
fn everything(root: &Path) {
    write(root, "plain", "text\n");
    write(root, "empty", "");
    write(root, "deep/er/file", "x");
    for name in [&b"with space"[..], b"line\nfeed", b"latin\xe9", b"-dash", b"\xff"] {
        write(root, std::ffi::OsStr::from_bytes(name), name);
    }
    write(root, "executable", "#!/bin/sh\n");
    fs::set_permissions(root.join("executable"), fs::Permissions::from_mode(0o755)).unwrap();
    write(root, "secret", "s");
    fs::set_permissions(root.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    write(root, "setuid", "u");
    fs::set_permissions(root.join("setuid"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::create_dir(root.join("hollow")).unwrap();
    fs::create_dir(root.join("sticky")).unwrap();
    fs::set_permissions(root.join("sticky"), fs::Permissions::from_mode(0o1777)).unwrap();
    symlink("plain", root.join("link")).unwrap();
    symlink("/nowhere at all", root.join("dangling")).unwrap();
    fs::hard_link(root.join("plain"), root.join("second name")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"end", 5_000_000).unwrap();
    fs::create_dir_all(root.join(".git/refs")).unwrap();
    write(root, ".git/HEAD", "ref: refs/heads/main\n");
    let mut old = Command::new("touch");
    old.args(["-h", "-d", "2001-02-03 04:05:06.789", "plain", "link", "deep/er"]).current_dir(root);
    assert!(old.status().unwrap().success());
}

/// Compares a workspace with a directory, names, bytes, modes, links, times and holes.
fn assert_seeded(machine: &Machine, workspace: &crate::support::Workspace<'_>, seed: &Path) {
    let guest = machine.root().join("guest");
    unpack(&workspace.tar(), &guest);
    assert_same(&Tree::whole(seed), &Tree::whole(&guest), "the seed is the guest's tree");
    assert_eq!(inode(&guest.join("plain")), inode(&guest.join("second name")), "two names of one file");
    let told = workspace.shell("stat -c '%Y' plain link deep/er; date -d @$(stat -c %.9Y plain) +%N; du -k sparse | cut -f1; stat -c %s sparse; stat -c '%u %g' plain");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[..3], ["981173106"; 3], "{told}");
    assert_eq!(lines[3], "789000000");
    assert!(lines[4].parse::<u32>().unwrap() < 100, "holes are holes: {told}");
    assert_eq!(lines[5..], ["5000003", "0 0"]);
}

#[test]
fn a_directory_arrives_as_it_is() {
    // Promise: modes, times, symlinks, empty directories, hard links, holes, odd names and `.git` arrive.
    let machine = Machine::new();
    let seed = machine.root().join("seed");
    everything(&seed);
    let workspace = machine.seeded(&seed);
    assert_seeded(&machine, &workspace, &seed);
    assert_eq!(workspace.patch(), b"", "a seed is no change");
}

#[test]
fn an_archive_arrives_as_it_is() {
    // Promise: every kind of archive arrives with all that it has.
    let machine = Machine::new();
    let seed = machine.root().join("seed");
    everything(&seed);
    for (name, flag) in [("a.tar", ""), ("a.tar.gz", "-z"), ("a.tar.xz", "-J")] {
        let archive = machine.root().join(name);
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&seed).args(["-S", "--format=pax", "-cf"]).arg(&archive);
        if !flag.is_empty() {
            tar.arg(flag);
        }
        assert!(tar.arg(".").status().unwrap().success());
        let workspace = machine.seeded(&archive);
        assert_seeded(&machine, &workspace, &seed);
        fs::remove_dir_all(machine.root().join("guest")).unwrap();
        let told = workspace.call("status", ["--json"]).finish().exits(0).json();
        assert_eq!(told["workspace_seed"]["mode"], "archive");
    }
}

#[test]
fn what_git_ignores_is_left_out_when_asked() {
    // Promise: `--seed-ignore gitignore` has git's rules: tracked files stay, ignored ones go.
    let machine = Machine::new();
    let seed = machine.root().join("seed");
    write(&seed, ".gitignore", "*.log\n/target/\n!keep.log\n");
    write(&seed, "a.log", "");
    write(&seed, "keep.log", "");
    write(&seed, "tracked.log", "");
    write(&seed, "target/out", "");
    write(&seed, "src/.gitignore", "generated\n");
    write(&seed, "src/generated", "");
    write(&seed, "src/main.rs", "");
    for arguments in [&["init", "-q"][..], &["add", "-f", "tracked.log"]] {
        assert!(Command::new("git").args(arguments).current_dir(&seed).status().unwrap().success());
    }
    let workspace = machine.workspace(&["--seed-path", seed.to_str().unwrap(), "--seed-ignore", "gitignore"]);
    let listed = workspace.shell("find . -path ./.git -prune -o -type f -print | sort");
    assert_eq!(listed, "./.gitignore\n./keep.log\n./src/.gitignore\n./src/main.rs\n./tracked.log\n");
}

#[test]
fn a_seed_that_cannot_be_taken_makes_nothing() {
    // Promise: what cannot be read is named before anything is made.
    let machine = Machine::new();
    let root = machine.root();
    let seed = root.join("seed");
    write(&seed, "ok", "");
    assert!(Command::new("mkfifo").arg(seed.join("a pipe")).status().unwrap().success());
    write(root, "file", "just a file\n");
    write(root, "cut.tar.gz", &b"\x1f\x8b\x08\x00 and no more"[..]);
    write(root, "pack.zip", &b"PK\x03\x04"[..]);
    for (source, words) in [
        ("seed", &["a pipe", "nothing was changed"][..]),
        ("missing", &["missing"]),
        ("file", &["neither a directory nor an archive"]),
        ("cut.tar.gz", &["nothing was changed"]),
        ("pack.zip", &[".tar.gz"]),
    ] {
        let source = root.join(source);
        let told = machine
            .pyro(["workspace", "create", "debian:12", "--seed-path", source.to_str().unwrap()])
            .finish();
        told.exits(125).explains(words);
    }
    assert_eq!(machine.pyro(["workspace", "list", "--id-only"]).finish().exits(0).out(), "");
    assert_eq!(fs::read_dir(root.join("state/workspaces")).unwrap().count(), 0);
}

#[test]
fn a_push_that_fails_changes_nothing() {
    // Promise: a push is atomic: a type conflict, a bad archive, a full disk leave the tree exactly as it was.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    workspace.shell("mkdir -p d/sub link_target; echo old > d/file; echo f > d/sub/f; ln -s link_target link; touch -d 2001-01-01 d d/file .");
    let tree = || workspace.shell("find . -printf '%p %m %y %l %s ' -exec stat -c %.9Y {} \\;; cat d/file");
    let before = tree();
    let root = machine.root();
    let push = |name: &str, dest: &str| {
        workspace.call("sync push", [root.join(name).to_str().unwrap(), "--dest", dest]).finish()
    };
    write(root, "one/file", "new\n");
    write(root, "one/sub", "a file where a directory is\n");
    push("one", "d").exits(125).explains(&["sub", "nothing was changed"]);
    write(root, "two/file/inside", "a directory where a file is\n");
    push("two", "d").exits(125).explains(&["file", "nothing was changed"]);
    push("one", "../x").exits(2).explains(&["`..`"]);
    push("one", "/etc").exits(2).explains(&["not below /workspace"]);
    workspace.shell("ln -s /etc out");
    let before_out = tree();
    push("one", "out").exits(2);
    assert_eq!(tree(), before_out);
    workspace.shell("rm out; touch -d 2001-01-01 .");
    push("one", "d/file").exits(125).explains(&["nothing was changed"]);
    for (name, entry) in [("dots.tar", "../evil"), ("absolute.tar", "/evil")] {
        let status = Command::new("tar")
            .arg("-C")
            .arg(root.join("one"))
            .arg("-P")
            .arg("--transform")
            .arg(format!("s,^file$,{entry},"))
            .arg("-cf")
            .arg(root.join(name))
            .arg("file")
            .status()
            .unwrap();
        assert!(status.success());
        push(name, ".").exits(125).explains(&["evil", "nothing was changed"]);
    }
    let whole = root.join("whole.tar");
    let big = root.join("big");
    (0..20).for_each(|file| write(&big, format!("d/file_{file}"), vec![b'x'; 10_000]));
    assert!(
        Command::new("tar").arg("-C").arg(&big).arg("-cf").arg(&whole).arg(".").status().unwrap().success()
    );
    let bytes = fs::read(&whole).unwrap();
    for cut in [1_000, bytes.len() / 2, bytes.len() - 11_000] {
        fs::write(root.join("cut.tar"), &bytes[..cut]).unwrap();
        push("cut.tar", ".").exits(125);
    }
    assert_eq!(tree(), before);
    write(root, "three/file", "new\n");
    push("three", "d").exits(0);
    assert_eq!(workspace.shell("cat d/file"), "new\n");
}

#[test]
fn a_push_replaces_links_and_never_follows_them() {
    // Promise: what is pushed lands where it says, whatever links the guest has planted.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    workspace
        .shell("ln -s /etc/passwd note; mkdir inside; ln -s inside way; sha256sum /etc/passwd > /root/sum");
    let source = machine.root().join("source");
    write(&source, "note", "pushed\n");
    workspace.call("sync push", [source.to_str().unwrap()]).finish().exits(0);
    assert_eq!(workspace.shell("sha256sum -c --quiet /root/sum; test ! -L note; cat note"), "pushed\n");
    workspace.call("sync push", [source.to_str().unwrap(), "--dest", "way"]).finish().exits(0);
    assert_eq!(workspace.shell("cat inside/note"), "pushed\n");
}

#[test]
fn a_full_guest_disk_refuses_a_push_and_stays_usable() {
    // Promise: disk full in the guest: a clear error, the tree as it was, and the workspace works on.
    let machine = Machine::alone();
    let workspace = machine.workspace(&[]);
    workspace.shell("echo old > file; fallocate -l 1G /root/ballast; while fallocate -l $(( $(df --output=avail -k / | tail -1) * 1024 - 8000000 )) /root/more 2>/dev/null; do break; done; df -k / | tail -1");
    let source = machine.root().join("source");
    write(&source, "file", "new\n");
    (0..30).for_each(|file| write(&source, format!("big_{file}"), vec![b'x'; 1_000_000]));
    let told = workspace.call("sync push", [source.to_str().unwrap()]).finish();
    told.exits(125).explains(&["disk is full"]);
    assert_eq!(workspace.shell("ls -A; cat file"), "file\nold\n");
    workspace.shell("rm /root/ballast /root/more");
    workspace.call("sync push", [source.to_str().unwrap()]).finish().exits(0);
    assert_eq!(workspace.shell("cat file; ls | wc -l"), "new\n31\n");
}

#[test]
fn a_large_tree_and_a_large_file_stream() {
    // Promise: size costs no memory: the client and the supervisor stay small.
    let machine = Machine::alone();
    let seed = machine.root().join("seed");
    fs::create_dir(&seed).unwrap();
    let mut file = fs::File::create(seed.join("large")).unwrap();
    let block: Vec<u8> =
        (0..1_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    (0..300).for_each(|_| std::io::Write::write_all(&mut file, &block).unwrap());
    drop(file);
    let running = machine
        .pyro(["workspace", "create", "debian:12", "--id-only", "--seed-path", seed.to_str().unwrap()])
        .start();
    let shim = running.shim();
    let mut peak = 0;
    let pid = running.pid();
    while let Ok(now) = std::panic::catch_unwind(|| crate::support::Process::peak_kib(pid)) {
        peak = peak.max(now);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let finished = running.finish();
    let workspace = machine.adopt(finished.exits(0).out().trim());
    assert!(peak > 0 && peak < 100_000, "the client took {peak} KiB");
    let of_shim = crate::support::Process::peak_kib(shim.pid);
    assert!(of_shim < 100_000, "the supervisor took {of_shim} KiB");
    let sum = Command::new("sha256sum").arg(seed.join("large")).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    assert_eq!(workspace.shell("sha256sum large").split(' ').next(), sum.split(' ').next());
}
