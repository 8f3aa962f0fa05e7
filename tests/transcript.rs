//! The first run, line for line: what a newcomer is told to type, and what then stands there. `...` is what
//! differs from machine to machine.

use crate::support::tree::write;
use crate::support::{Machine, accelerator, assert_matches, execution_mode, transport};

#[test]
fn verify_the_host() {
    // Promise: step 1 of the first run.
    let machine = Machine::new();
    let told = machine.pyro(["doctor"]).finish();
    let text = told.exits(0).out();
    let fixed: Vec<&str> = text.lines().take_while(|line| !line.starts_with("- issue ")).collect();
    let expected = format!(
        "Platform: linux-x86_64
        Runtime: PASS
        KVM: exists=... readable=... writable=... usable=...
        Environment cache: {}/environments
        Capabilities: vm_boot=yes guest_exec=yes guest_network=no
        Networking: tun=... ip_forward=...
        Accelerator: {} ({})
        Transport: {} (asked for)
        VMM: qemu ... (...qemu-system-x86_64)
        Disk: ... GiB free in ...",
        machine.cache().display(),
        accelerator(),
        if accelerator() == "kvm" { "a guest has run on it" } else { "asked for" },
        transport()
    );
    assert_matches(&expected, &fixed.join("\n"));
    for issue in text.lines().skip(fixed.len()) {
        assert!(issue.starts_with("- issue ") && issue.contains(" fix: "), "{issue}");
    }
    assert_eq!(told.err(), "");
}

#[test]
fn inspect_the_catalog() {
    // Promise: step 2 of the first run.
    let machine = Machine::empty();
    let expected = "Catalog version: 2.8.0
        debian:12 [not installed] Debian 12 environment with Git preinstalled for common agent workflows.
        debian:12-base [not installed] Minimal Debian 12 environment for shell and core Unix tooling.
        debian:12-build [not installed] Debian 12 environment with Git and common build tools preinstalled.";
    assert_matches(expected, &machine.pyro(["env", "list"]).finish().exits(0).out());
    let machine = Machine::new();
    let expected =
        expected.replacen("[not installed]", "[installed]", 1).replace("[not installed]", "[...installed]");
    assert_matches(&expected, &machine.pyro(["env", "list"]).finish().exits(0).out());
}

#[test]
fn pull_the_default_environment() {
    // Promise: step 3 of the first run.
    let machine = Machine::new();
    let told = machine.pyro(["env", "pull", "debian:12"]).finish();
    let err = "[pull] phase=install environment=debian:12
        [pull] phase=ready environment=debian:12";
    assert_matches(err, &told.exits(0).err());
    let cache = machine.cache().display().to_string();
    let out = format!(
        "Pulled: debian:12
        Version: 1.0.0
        Distribution: debian 12
        Installed: yes
        Cache dir: {cache}/environments
        Default packages: bash, coreutils, git
        Install dir: {cache}/environments/linux-x86_64/debian_12-1.0.0
        Install manifest: {cache}/environments/linux-x86_64/debian_12-1.0.0/environment.json
        Kernel image: {cache}/environments/linux-x86_64/debian_12-1.0.0/vmlinux
        Rootfs image: {cache}/environments/linux-x86_64/debian_12-1.0.0/rootfs.ext4
        Source: ... bookworm ..."
    );
    assert_matches(&out, &told.out());
}

#[test]
fn run_one_command_in_a_guest() {
    // Promise: step 4 of the first run, with the template ready.
    let machine = Machine::new();
    machine.run(["true"]).finish().exits(0);
    let told = machine.pyro(["run", "debian:12", "--", "git", "--version"]).finish();
    let err = format!(
        "[run] phase=create environment=debian:12
        [run] phase=start vm_id=...
        [run] phase=execute vm_id=...
        [run] environment=debian:12 execution_mode={} accelerator={} exit_code=0 duration_ms=...",
        execution_mode(),
        accelerator()
    );
    assert_matches(&err, &told.exits(0).err());
    assert_matches("git version ...", &told.out());
    let ids: Vec<String> = told
        .err()
        .lines()
        .filter_map(|line| line.split_once("vm_id=").map(|(_, id)| id.to_owned()))
        .collect();
    assert!(ids.len() == 2 && ids[0] == ids[1] && ids[0].len() == 12, "{ids:?}");
}

#[test]
fn a_workspace_from_create_to_export() {
    // Promise: step 5 of the first run, from `workspace create` to `workspace export`.
    let (machine, mode) = (Machine::new(), execution_mode());
    let (repo, changes) = (machine.root().join("repo"), machine.root().join("changes"));
    write(&repo, "src/note.txt", "hello from the seed\n");
    write(&changes, "note.txt", "hello from synced workspace\n");
    let told =
        machine.pyro(["workspace", "create", "debian:12", "--seed-path", repo.to_str().unwrap()]).finish();
    let block = format!(
        "Workspace ID: ...
        Environment: debian:12
        State: started
        Workspace: /workspace
        Workspace seed: directory from {}
        Execution mode: {mode}
        Accelerator: {}
        Resources: 1 vCPU / 1024 MiB
        Command count: 0",
        repo.canonicalize().unwrap().display(),
        accelerator()
    );
    assert_matches(&block, &told.exits(0).out());
    let out = told.out();
    let id = out.lines().next().unwrap().strip_prefix("Workspace ID: ").unwrap();
    let workspace = machine.adopt(id);

    let pushed = workspace.call("sync push", [changes.to_str().unwrap(), "--dest", "src"]).finish();
    let line = format!(
        "[workspace-sync] workspace_id={id} mode=directory source={} destination=/workspace/src entry_count=1 bytes_written=28 execution_mode={mode}",
        changes.canonicalize().unwrap().display()
    );
    assert_matches(&line, &pushed.exits(0).err());
    assert_eq!(pushed.out(), "");

    let ran = workspace.call("exec", ["--", "cat", "src/note.txt"]).finish();
    ran.exits(0).says("hello from synced workspace\n");
    let line = format!(
        "[workspace-exec] workspace_id={id} sequence=1 cwd=/workspace execution_mode={mode} exit_code=0 duration_ms=..."
    );
    assert_matches(&line, &ran.err());

    let diff = workspace.call("diff", [""; 0]).finish();
    let line = format!(
        "[workspace-diff] workspace_id={id} total=1 added=0 modified=1 deleted=0 type_changed=0 text_patched=1 non_text=0"
    );
    assert_matches(&line, &diff.exits(0).err());
    let patch = "diff --git a/src/note.txt b/src/note.txt
        index ... 100644
        --- a/src/note.txt
        +++ b/src/note.txt
        @@ -1 +1 @@
        -hello from the seed
        +hello from synced workspace";
    assert_matches(patch, &diff.out());

    let kept = workspace.call("snapshot create", ["checkpoint"]).finish();
    let line = "[workspace-snapshot-create] snapshot_name=checkpoint kind=named entry_count=... bytes_written=... write_ms=... standstill_ms=...";
    assert_matches(line, &kept.exits(0).err());
    assert_eq!(kept.out(), "");

    let reset = workspace.call("reset", ["--snapshot", "checkpoint"]).finish();
    let line = "[workspace-reset] destination=/workspace entry_count=... bytes_written=...";
    assert_matches(line, &reset.exits(0).err());
    let block = format!("Workspace reset from snapshot: checkpoint (named)\n{block}\nReset count: 1");
    assert_matches(&block, &reset.out());

    let output = machine.root().join("note.txt");
    let exported = workspace.call("export", ["src/note.txt", "--output", output.to_str().unwrap()]).finish();
    let line = format!(
        "[workspace-export] workspace_id={id} workspace_path=/workspace/src/note.txt output_path={} artifact_type=file entry_count=1 bytes_written=28 execution_mode={mode}",
        output.display()
    );
    assert_matches(&line, &exported.exits(0).err());
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "hello from synced workspace\n");
}

#[test]
fn a_shell_as_it_is_told() {
    // Promise: step 5 of the first run, the shell's lines.
    let (machine, mode) = (Machine::new(), execution_mode());
    let workspace = machine.workspace(&[]);
    let id = &workspace.id;
    let opened = workspace.call("shell open", [""; 0]).finish();
    let line = format!(
        "[workspace-shell-open] workspace_id={id} shell_id=... state=running cwd=/workspace cols=120 rows=30 execution_mode={mode}"
    );
    assert_matches(&line, &opened.exits(0).err());
    assert_eq!(opened.out(), "");
    let err = opened.err();
    let shell = err.split("shell_id=").nth(1).unwrap().split(' ').next().unwrap();
    let shell = workspace.shell_of(shell);
    shell.wait_for("# $");

    let written = shell.call("write", ["--input", "pwd"]).finish();
    let line = format!(
        "[workspace-shell-write] workspace_id={id} shell_id={} state=running cwd=/workspace cols=120 rows=30 execution_mode={mode}",
        shell.id
    );
    assert_matches(&line, &written.exits(0).err());
    assert_eq!(written.out(), "");
    // A person who types is slower than any shell.
    shell.wait_for("^/workspace$");

    let read = shell.call("read", [""; 0]).finish();
    let line = format!(
        "[workspace-shell-read] workspace_id={id} shell_id={} state=running cursor=0 next_cursor=... truncated=False execution_mode={mode}",
        shell.id
    );
    assert_matches(&line, &read.exits(0).err());
    assert!(read.out().contains("/workspace\r\n"), "{:?}", read.out());
}

#[test]
fn services_to_the_last_line() {
    // Promise: step 5 of the first run, from the first `service start` to its end.
    let (machine, mode) = (Machine::new(), execution_mode());
    let workspace = machine.workspace(&[]);
    let id = &workspace.id;
    for name in ["web", "worker"] {
        let file = format!(".{name}-ready");
        let script = format!("touch {file} && while true; do sleep 60; done");
        let started = workspace.start(name, &["--ready-file", &file], &["sh", "-lc", &script]).finish();
        let line = format!(
            "[workspace-service-start] workspace_id={id} service={name} state=running cwd=/workspace ready_type=file execution_mode={mode}"
        );
        assert_matches(&line, &started.exits(0).err());
        assert_eq!(started.out(), "");
    }
    let block = format!(
        "Workspace: {id}
        Services: 2 total, 2 running
        - web [running] cwd=/workspace readiness=file
        - worker [running] cwd=/workspace readiness=file"
    );
    let listed = workspace.call("service list", [""; 0]).finish();
    assert_matches(&block, &listed.exits(0).out());
    let block = format!(
        "Workspace: {id}
        Service: web
        State: running
        Command: sh -lc 'touch .web-ready && while true; do sleep 60; done'
        Cwd: /workspace
        Readiness: file /workspace/.web-ready
        Execution mode: {mode}"
    );
    let status = workspace.call("service status", ["web"]).finish();
    assert_matches(&block, &status.exits(0).out());
    let block = format!("Workspace: {id}\nService: web\nState: running");
    let logs = workspace.call("service logs", ["web", "--tail-lines", "50"]).finish();
    assert_matches(&block, &logs.exits(0).out());
    for told in [&listed, &status, &logs] {
        assert_eq!(told.err(), "");
    }
    for name in ["web", "worker"] {
        let stopped = workspace.call("service stop", [name]).finish();
        let line = format!(
            "[workspace-service-stop] workspace_id={id} service={name} state=stopped execution_mode={mode} exit_code=143"
        );
        assert_matches(&line, &stopped.exits(0).err());
        assert_eq!(stopped.out(), "");
    }
    // What the services made is a change; what pyro keeps of them is none.
    let changed = workspace.call("diff", ["--stat"]).finish();
    assert!(changed.exits(0).err().contains(" total=2 added=2 "), "{}", changed.err());
}
