//! What is taken out of a workspace: diffs, exports, files, and changes applied to a directory of the host.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::Machine;
use crate::support::tree::{Tree, assert_same, write};

#[test]
fn diffs_show_paths_and_numbers() {
    // Promise: path filters, `--stat`, and a size cap that is announced, never silent.
    let machine = Machine::new();
    let seed = machine.root().join("seed");
    write(&seed, "a/one", "1\n");
    write(&seed, "b/two", "2\n");
    let workspace = machine.seeded(&seed);
    assert_eq!(workspace.patch(), b"");
    workspace.shell("echo 1a >> a/one; echo 2b >> b/two; head -c 100000 /dev/zero > big; mkdir hollow; mkfifo pipe; touch a/one");
    let told = workspace.call("diff", ["--stat"]).finish();
    assert!(
        told.exits(0).out().contains("a/one | ") && told.out().contains("3 files changed"),
        "{}",
        told.out()
    );
    told.explains(&["hollow: an empty directory", "pipe: a device, pipe or socket"]);
    let told = workspace.call("diff", ["b"]).finish();
    assert!(told.exits(0).out().contains("+2b") && !told.out().contains("a/one"));
    let told = workspace.call("diff", ["--max-file-bytes", "1000"]).finish();
    assert!(!told.exits(0).out().contains("big"));
    told.explains(&["not in the patch: big: larger than", "left_out=3"]);
    let told = workspace.call("diff", ["--json"]).finish().exits(0).json();
    assert_eq!((&told["total"], &told["added"], &told["modified"]), (&3.into(), &1.into(), &2.into()));
    assert!(told["patch"].as_str().unwrap().contains("+1a"));
    workspace.call("diff", ["../x"]).finish().exits(2);
    workspace.call("diff", ["--nonsense"]).finish().exits(2);
}

#[test]
fn commits_in_the_guest_are_no_part_of_the_patch() {
    // Promise: changes inside `.git` are left out and counted; the work tree's changes stay in the patch.
    let machine = Machine::new();
    let seed = machine.root().join("seed");
    write(&seed, "file", "old\n");
    let git = |arguments: &[&str]| {
        let status = std::process::Command::new("git").args(arguments).current_dir(&seed).status().unwrap();
        assert!(status.success());
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-qm", "one"]);
    let workspace = machine.seeded(&seed);
    workspace.shell("git config user.name T; git config user.email t@example.com; echo new > file; mkdir d; git mv file d/file; git commit -qam two; git mv d e; git commit -qam three");
    let told = workspace.call("diff", [""; 0]).finish();
    told.exits(0).explains(&["changes inside .git are not in the patch"]);
    assert!(told.out().contains("b/e/file") && !told.out().contains(".git/"));
    assert_eq!(workspace.shell("git status --porcelain; git log --oneline | wc -l"), "3\n");
}

#[test]
fn exports_land_whole_and_nowhere_else() {
    // Promise: files, directories and links come out as they are; nothing is overwritten, nothing leads out.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    workspace.shell("mkdir -p d/sub; echo a > d/a; chmod 750 d/a; ln -s a d/link; ln d/a d/second; echo deep > d/sub/f; ln -s /etc/passwd leak; ln -s ../../etc/shadow leak2; ln -s d inner; chmod u+s d/a; mkfifo d/pipe");
    let root = machine.root();
    let export = |path: &str, output: &str| {
        workspace.call("export", [path, "--output", root.join(output).to_str().unwrap()]).finish()
    };
    let told = export("d", "out");
    told.exits(0).explains(&["artifact_type=directory", "not exported: ", "pipe"]);
    assert_eq!(fs::read_to_string(root.join("out/sub/f")).unwrap(), "deep\n");
    assert_eq!(fs::read_link(root.join("out/link")).unwrap().to_str(), Some("a"));
    assert_eq!(
        fs::metadata(root.join("out/a")).unwrap().permissions().mode() & 0o7777,
        0o750,
        "setuid stays in the guest"
    );
    assert_eq!(
        crate::support::tree::inode(&root.join("out/a")),
        crate::support::tree::inode(&root.join("out/second"))
    );
    export("d", "out").exits(125).explains(&["is already there", "--output"]);
    export("inner/a", "a").exits(0).explains(&["artifact_type=file"]);
    for path in ["leak", "leak2"] {
        export(path, "stolen").exits(2).explains(&["out of the workspace"]);
    }
    export("leak/x", "stolen").exits(2).explains(&["out of the workspace"]);
    export("missing", "stolen").exits(125).explains(&["missing"]);
    export("../etc", "stolen").exits(2);
    export("/etc/passwd", "stolen").exits(2).explains(&["not below /workspace"]);
    export("d/pipe", "stolen").exits(125);
    export("d/a", "no/such/directory/a").exits(125);
    assert!(!root.join("stolen").exists());
    assert_eq!(
        fs::read_dir(root)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'))
            .count(),
        0
    );
}

#[test]
fn files_are_listed_read_and_written() {
    // Promise: single files go in and out; directories, pipes and links that lead out are refused in words.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    workspace.shell("mkdir d; printf 'a\\377b' > d/bin; ln -s d/bin link; ln -s /etc/passwd leak; mkfifo pipe; truncate -s 10G huge; printf x > odd\"$(printf '\\nname')\"");
    let told = workspace.call("file list", [""; 0]).finish();
    assert!(
        told.exits(0).out().contains("/workspace/d\n")
            && told.out().contains("link -> d/bin")
            && told.out().contains("odd\\nname"),
        "{}",
        told.out()
    );
    assert!(!told.out().contains("/workspace/d/bin"));
    let told = workspace.call("file list", ["--recursive", "--json", "d"]).finish().exits(0).json();
    assert_eq!(
        (&told["count"], &told["entries"][0]["path"], &told["entries"][0]["size_bytes"]),
        (&1.into(), &"/workspace/d/bin".into(), &3.into())
    );
    assert_eq!(workspace.call("file read", ["link"]).finish().exits(0).stdout, b"a\xffb");
    let told = workspace.call("file read", ["--max-bytes", "5", "huge"]).finish();
    assert_eq!(told.exits(0).stdout, [0; 5]);
    told.explains(&["the first 5 of 10737418240 bytes"]);
    let told = workspace.call("file read", ["--json", "huge"]).finish().exits(0).json();
    assert_eq!((&told["truncated"], &told["size_bytes"]), (&true.into(), &10_737_418_240u64.into()));
    workspace.call("file read", ["d"]).finish().exits(125).explains(&["is a directory"]);
    workspace.call("file read", ["pipe"]).finish().exits(125).explains(&["pipe"]);
    workspace.call("file read", ["leak"]).finish().exits(2).explains(&["out of the workspace"]);
    workspace.call("file read", ["missing"]).finish().exits(125);

    workspace.call("file write", ["new/deep/file", "--text", "hello\n"]).finish().exits(0);
    assert_eq!(workspace.shell("cat new/deep/file; stat -c %a new/deep/file"), "hello\n644\n");
    workspace.shell("chmod 755 new/deep/file");
    workspace.call("file write", ["new/deep/file"]).input("from stdin").finish().exits(0);
    assert_eq!(workspace.shell("cat new/deep/file; stat -c %a new/deep/file"), "from stdin755\n");
    workspace.call("file write", ["d", "--text", "x"]).finish().exits(125).explains(&["directory"]);
    workspace.call("file write", ["leak", "--text", "x"]).finish().exits(125).explains(&["symbolic link"]);
    workspace.call("file write", ["../x", "--text", "x"]).finish().exits(2);
    workspace.call("file write", ["d/bin/x", "--text", "x"]).finish().exits(125);
    workspace.call("file write", ["x", "--input", "/no/such"]).finish().exits(125);
}

#[test]
fn patches_go_in_whole_or_not_at_all() {
    // Promise: a patch is preflighted whole; one that does not apply, or names what is outside, changes nothing.
    let machine = Machine::new();
    let seed = machine.root().join("seed");
    write(&seed, "a", "1\n2\n3\n");
    write(&seed, "dir/b", "b\n");
    write(&seed, "gone/c", "c\n");
    let workspace = machine.seeded(&seed);
    let other = machine.seeded(&seed);
    other.shell("sed -i s/2/two/ a; chmod +x a; rm -r gone; mkdir new; echo n > new/file; rm dir/b; ln -s ../a dir/b; head -c 300 /dev/urandom > new/bin; mkdir -p deep/er; : > deep/er/empty");
    let patch = other.patch();
    let told = workspace.call("patch apply", [""; 0]).input(patch.clone()).finish();
    told.exits(0).explains(&["[workspace-patch-apply]", "total=6"]);
    assert_eq!(workspace.patch(), patch);
    let tree = |workspace: &crate::support::Workspace<'_>| workspace.shell("find . | sort; cat a");
    assert_eq!(tree(&workspace), tree(&other));
    let before = tree(&workspace);
    for (bad, code, words) in [
        (&patch[..], 125, "does not apply"),
        (b"no patch at all\n", 125, "cannot be read"),
        (b"--- a/../../x\n+++ b/../../x\n@@ -0,0 +1 @@\n+x\n", 125, "x"),
        (b"--- a/a\n+++ b/a\n@@ -1,1 +1,1 @@\n-not there\n+x\n--- /dev/null\n+++ b/fresh\n@@ -0,0 +1 @@\n+x\n", 125, "does not apply to a"),
        (b"diff --git a/.git/hooks/x b/.git/hooks/x\nnew file mode 100755\n--- /dev/null\n+++ b/.git/hooks/x\n@@ -0,0 +1 @@\n+x\n", 125, ".git"),
    ] {
        let told = workspace.call("patch apply", [""; 0]).input(bad).finish();
        told.exits(code).explains(&[words, "nothing was changed"]);
        assert_eq!(tree(&workspace), before);
    }
}

#[test]
fn changes_are_applied_to_a_directory() {
    // Promise: `apply` brings everything back, also what a patch cannot carry, and tells what it does.
    let machine = Machine::new();
    let seed = machine.root().join("seed");
    write(&seed, "src/main.c", "int main;\n");
    write(&seed, "old", "old\n");
    let workspace = machine.seeded(&seed);
    workspace.shell("echo more >> src/main.c; rm old; mkdir hollow; printf 'b\\000n' > bin; ln -s src link; chmod 600 src/main.c");
    let to = seed.to_str().unwrap();
    let before = Tree::whole(&seed);
    let told = workspace.call("apply", ["--to", to, "--dry-run"]).finish();
    told.exits(0).explains(&["dry run", "applied=no"]);
    assert!(told.out().contains("src/main.c") && told.out().contains("old"), "{}", told.out());
    assert_same(&before, &Tree::whole(&seed), "a dry run changes nothing");
    workspace.call("apply", ["--to", to, "bin"]).finish().exits(0);
    assert!(seed.join("bin").exists() && seed.join("old").exists());
    workspace.call("apply", ["--to", to]).finish().exits(0).explains(&["applied=yes"]);
    let guest = machine.root().join("guest");
    crate::support::tree::unpack(&workspace.tar(), &guest);
    assert_same(&Tree::whole(&guest), &Tree::whole(&seed), "the directory is the guest's tree");
    workspace.call("apply", ["--to", to]).finish().exits(0).explains(&["conflicts=0", "written=0"]);
    let other = machine.root().join("other");
    write(&other, "sub/file", "x\n");
    let workspace = machine.seeded(&other);
    workspace.shell("rm -r sub; echo now a file > sub");
    for _ in 0..2 {
        let told = workspace.call("apply", ["--to", other.to_str().unwrap()]).finish();
        told.exits(0).explains(&["conflicts=0"]);
        assert_eq!(fs::read_to_string(other.join("sub")).unwrap(), "now a file\n");
    }
    workspace.call("apply", ["--to", "/no/such/directory"]).finish().exits(125);
}

#[test]
fn conflicts_and_executables_stop_an_apply() {
    // Promise: what moved on in the directory is merged or refused; what the host may run is named first.
    let machine = Machine::new();
    let seed = machine.root().join("seed");
    let lines: String = (0..20).map(|line| format!("line {line}\n")).collect();
    write(&seed, "text", &lines);
    write(&seed, "both", "base\n");
    let workspace = machine.seeded(&seed);
    workspace.shell("sed -i 's/line 1$/guest 1/' text; echo guest > both");
    write(&seed, "text", lines.replace("line 18\n", "host 18\n"));
    write(&seed, "both", "host\n");
    let to = seed.to_str().unwrap();
    let before = Tree::whole(&seed);
    let told = workspace.call("apply", ["--to", to]).finish();
    told.exits(1).explains(&["nothing was written", "conflicts=1"]);
    assert!(told.out().contains("conflict") && told.out().contains("both"), "{}", told.out());
    assert_same(&before, &Tree::whole(&seed), "a conflict changes nothing");
    workspace.call("apply", ["--to", to, "text"]).finish().exits(0).explains(&["merged=1"]);
    assert_eq!(
        fs::read_to_string(seed.join("text")).unwrap(),
        lines.replace("line 1\n", "guest 1\n").replace("line 18\n", "host 18\n")
    );

    workspace.shell("echo guest > both; mkdir -p .github/workflows .git/hooks; echo x > .github/workflows/ci.yml; echo x > .git/hooks/pre-commit; echo 'all:' > Makefile; echo '#!' > run; chmod +x run");
    let told = workspace.call("apply", ["--to", to, ".github", ".git", "Makefile", "run"]).finish();
    told.exits(1).explains(&["--allow-executable"]);
    for name in [".github/workflows/ci.yml", "Makefile", "run"] {
        assert!(told.out().contains(name) && !seed.join(name).exists(), "{name}: {}", told.out());
    }
    workspace
        .call("apply", ["--to", to, "--allow-executable", ".github", ".git", "Makefile", "run"])
        .finish()
        .exits(0);
    assert!(seed.join("run").exists() && !seed.join(".git/hooks/pre-commit").exists());
}

#[test]
fn an_apply_stays_in_its_directory() {
    // Promise: symlinks on either side lead nothing out of the directory.
    let machine = Machine::new();
    let (seed, outside) = (machine.root().join("seed"), machine.root().join("outside"));
    write(&seed, "d/file", "old\n");
    write(&outside, "file", "canary\n");
    let workspace = machine.seeded(&seed);
    workspace.shell("echo new > d/file; echo new > d/second");
    fs::remove_dir_all(seed.join("d")).unwrap();
    symlink(&outside, seed.join("d")).unwrap();
    let before = Tree::whole(&outside);
    workspace.call("apply", ["--to", seed.to_str().unwrap()]).finish().exits(1);
    assert_same(&before, &Tree::whole(&outside), "nothing outside was touched");
}
