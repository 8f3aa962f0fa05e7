//! What of the host a model reaches: the project, what a person allowed beside it, and nothing else.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use crate::support::tree::{Tree, assert_same, write};
use crate::support::{Machine, Mcp, Workspace};

/// A project with links out of it, and directories beside it.
fn lay_out(machine: &Machine) -> [std::path::PathBuf; 3] {
    let places = ["project", "beside", "secret"].map(|name| machine.root().join(name));
    for place in &places {
        write(place, "file", format!("{}\n", place.display()));
    }
    let [project, _, secret] = &places;
    symlink(secret, project.join("link")).unwrap();
    symlink(secret.join("new"), project.join("dangling")).unwrap();
    places
}

fn refused(mcp: &mut Mcp, tool: &str, arguments: serde_json::Value) {
    let (code, text) = mcp.refusal(tool, arguments.clone());
    assert_eq!(code, "path-outside", "{tool} {arguments}: {text}");
    assert!(text.contains("--allow-path"), "{text}");
}

/// Every way to a directory that is not the project's.
fn ways_to(place: &Path) -> Vec<String> {
    let name = place.file_name().unwrap().to_str().unwrap();
    vec![format!("../{name}"), format!("./x/../../{name}"), place.to_str().unwrap().to_owned()]
}

fn whole(machine: &Machine, places: &[&str]) -> Vec<Tree> {
    places.iter().map(|place| Tree::whole(&machine.root().join(place))).collect()
}

#[test]
fn only_the_project_is_read_and_written() {
    // Promise: no path that a model writes, absolute, with `..` or through a link, reads or writes the host outside of the
    // project; `--allow-path` adds one directory and no other.
    let machine = Machine::new();
    let [project, beside, secret] = lay_out(&machine);
    let before = whole(&machine, &["beside", "secret"]);
    let mut mcp = machine.mcp_for(&project);
    let made = mcp.tool("workspace_create", json!({ "empty": true }));
    let workspace = machine.adopt(made["workspace_id"].as_str().unwrap());
    let id = &workspace.id;
    workspace.shell("echo new > new");
    let mut outside = ways_to(&secret);
    outside.extend(ways_to(&beside));
    outside.extend(["link", "/", "/etc", "..", "link/file"].map(str::to_owned));
    for path in &outside {
        refused(&mut mcp, "workspace_create", json!({ "seed_path": path }));
        refused(&mut mcp, "workspace_sync_push", json!({ "workspace_id": id, "source_path": path }));
    }
    outside.retain(|path| path != "/");
    for path in
        outside.iter().map(|path| format!("{path}/new")).chain(["dangling".to_owned(), "/".to_owned()])
    {
        refused(
            &mut mcp,
            "workspace_export",
            json!({ "workspace_id": id, "path": "new", "output_path": path }),
        );
        refused(&mut mcp, "workspace_apply", json!({ "workspace_id": id, "to": path }));
    }
    assert_eq!(mcp.tool("workspace_list", json!({}))["count"], 1, "nothing was made");
    mcp.finish();

    let allowing = ["--profile", "workspace-full", "--project-path", "project", "--allow-path", "beside"];
    let mut mcp = machine.mcp_client(&allowing);
    let from_beside = ways_to(&beside).pop().unwrap();
    let made = mcp.tool("workspace_create", json!({ "seed_path": from_beside }));
    let seeded = machine.adopt(made["workspace_id"].as_str().unwrap());
    assert_eq!(seeded.shell("cat file"), format!("{}\n", beside.display()));
    drop(seeded);
    mcp.tool("workspace_sync_push", json!({ "workspace_id": id, "source_path": from_beside, "dest": "in" }));
    assert_eq!(workspace.shell("cat in/file"), format!("{}\n", beside.display()));
    let output = beside.join("out");
    mcp.tool("workspace_export", json!({ "workspace_id": id, "path": "new", "output_path": output }));
    assert_eq!(fs::read_to_string(&output).unwrap(), "new\n");
    mcp.tool("workspace_apply", json!({ "workspace_id": id, "to": from_beside, "paths": ["new"] }));
    assert_eq!(fs::read_to_string(beside.join("new")).unwrap(), "new\n");
    refused(&mut mcp, "workspace_create", json!({ "seed_path": secret }));
    refused(&mut mcp, "workspace_apply", json!({ "workspace_id": id, "to": secret }));
    mcp.finish();
    assert_same(&before[1], &whole(&machine, &["secret"])[0], "nothing was written there");
}

#[test]
fn what_the_host_runs_is_a_person_s_to_take() {
    // Promise: an apply never writes hooks or CI files, whatever a model asks; it names them, and writes nothing else
    // either until it is told which paths to take.
    let machine = Machine::new();
    let project = machine.root().join("project");
    write(&project, "code", "old\n");
    for arguments in [&["init", "-q"][..], &["add", "."]] {
        let done = std::process::Command::new("git").args(arguments).current_dir(&project).status();
        assert!(done.unwrap().success());
    }
    let mut mcp = machine.mcp_for(&project);
    let made = mcp.tool("workspace_create", json!({}));
    let workspace: Workspace<'_> = machine.adopt(made["workspace_id"].as_str().unwrap());
    let id = &workspace.id;
    workspace.shell("echo new > code; printf '#!/bin/sh\\ntouch /tmp/owned\\n' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit; mkdir -p .husky .github/workflows; cp .git/hooks/pre-commit .husky/pre-commit; echo 'on: push' > .github/workflows/ci.yml; git config core.hooksPath .husky");
    let before = Tree::whole(&project);
    let told = mcp.call("workspace_apply", json!({ "workspace_id": id }));
    let applied = &told["result"]["structuredContent"];
    assert_eq!(applied["applied"], false, "{told}");
    let named = applied["executables"].to_string();
    assert!(named.contains(".husky/pre-commit") && named.contains(".github/workflows/ci.yml"), "{named}");
    assert!(crate::support::mcp::text_of(&told).contains("--allow-executable"), "{told}");
    assert_same(&before, &Tree::whole(&project), "nothing was written");
    let (code, _) = mcp.refusal("workspace_apply", json!({ "workspace_id": id, "allow_executable": true }));
    assert_eq!(code, "invalid-argument");
    let told = mcp.tool("workspace_apply", json!({ "workspace_id": id, "paths": ["code"] }));
    assert_eq!((&told["applied"], &told["written"]), (&true.into(), &1.into()), "{told}");
    assert_eq!(fs::read_to_string(project.join("code")).unwrap(), "new\n");
    assert!(!project.join(".git/hooks/pre-commit").exists() && !project.join(".husky").exists());
    mcp.finish();
}

#[test]
fn no_place_in_the_project_gets_around_that() {
    // Promise: what the host runs by itself is known by where it is in the project, whichever directory of it a model names;
    // git's own directory is written by nothing, and no link that leads out is put down.
    let machine = Machine::new();
    let project = machine.root().join("project");
    for place in [".github", ".vscode", ".claude", "src"] {
        write(&project.join(place), "file", "old\n");
    }
    let done = std::process::Command::new("git").args(["init", "-q"]).current_dir(&project).status();
    assert!(done.unwrap().success());
    let mut mcp = machine.mcp_for(&project);
    let made = mcp.tool("workspace_create", json!({ "seed_path": ".git", "with_ignored": true }));
    let git = machine.adopt(made["workspace_id"].as_str().unwrap());
    git.shell("printf '[core]\\n\\tfsmonitor = touch /tmp/owned\\n' >> config");
    let made = mcp.tool("workspace_create", json!({ "empty": true }));
    let evil = machine.adopt(made["workspace_id"].as_str().unwrap());
    evil.shell("mkdir workflows sub; echo x | tee workflows/x.yml tasks.json settings.json plain sub/Makefile >/dev/null; chmod +x plain; ln -s /etc sub/out");
    let before = Tree::whole(&project);
    let (code, _) = mcp.refusal("workspace_apply", json!({ "workspace_id": git.id, "to": ".git" }));
    assert_eq!(code, "path-outside");
    for (to, path, why) in [
        (".github", "workflows", "ci"),
        (".vscode", "tasks.json", "editor"),
        (".claude", "settings.json", "agent"),
        ("src", "sub", "link that leads out"),
    ] {
        let told = mcp.tool("workspace_apply", json!({ "workspace_id": evil.id, "to": to, "paths": [path] }));
        assert_eq!(told["applied"], false, "{told}");
        assert!(told["executables"].to_string().contains(why), "{told}");
    }
    for (path, output, expected) in [
        ("plain", ".git/hooks/pre-commit", "path-outside"),
        ("plain", ".envrc", "executable-files"),
        ("plain", ".mcp.json", "executable-files"),
        ("plain", ".claude/settings.json", "executable-files"),
        ("workflows", ".github/workflows", "executable-files"),
        ("sub", "src/sub", "executable-files"),
        ("sub/out", "src/out", "path-outside"),
    ] {
        let arguments = json!({ "workspace_id": evil.id, "path": path, "output_path": output });
        assert_eq!(mcp.refusal("workspace_export", arguments).0, expected, "{path} to {output}");
    }
    assert_same(&before, &Tree::whole(&project), "nothing was written");
    mcp.tool(
        "workspace_export",
        json!({ "workspace_id": evil.id, "path": "plain", "output_path": "src/plain" }),
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(project.join("src/plain")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o111, 0, "it cannot be executed");
    mcp.finish();
}
