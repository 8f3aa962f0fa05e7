//! Requests that are called off: what they had begun is gone, and everything else goes on.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::support::mcp::value_of;
use crate::support::{Machine, Mcp, Process, remains_of, wait_until};

/// How many processes of a workspace's guest have this word on their command line.
fn running(mcp: &mut Mcp, workspace: &str, word: &str) -> usize {
    // What looks does not have the word itself.
    let (head, tail) = word.split_at(1);
    let command = format!("cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -c -x '[{head}]{tail}'");
    let found = mcp.tool("workspace_exec", json!({ "workspace_id": workspace, "command": command }));
    found["stdout"].as_str().unwrap().trim().parse().unwrap()
}

#[test]
fn a_command_that_is_called_off_is_gone() {
    // Promise: cancelling a call kills its command in the guest with all that it started; nobody answers any more; the
    // next call is served.
    let machine = Machine::new();
    let mut mcp = machine.mcp_client(&[]);
    let made = mcp.tool("workspace_create", json!({ "empty": true }));
    let workspace = made["workspace_id"].as_str().unwrap().to_owned();
    let guard = machine.adopt(&workspace);
    let command = "setsid sleep 4711 & trap '' TERM; sleep 4711 & echo begun; wait";
    let arguments = json!({ "workspace_id": workspace, "command": command, "timeout_seconds": 1000 });
    let id = mcp.begin("workspace_exec", arguments);
    mcp.wait_for_news(id, "begun");
    wait_until("both of it run", || running(&mut mcp, &workspace, "4711") == 2);
    mcp.cancel(id);
    wait_until("the command is gone", || running(&mut mcp, &workspace, "4711") == 0);
    mcp.ask("ping", json!({}));
    assert!(!mcp.has_answered(id));
    // It is in the history as what it was.
    let logged = mcp.tool("workspace_logs", json!({ "workspace_id": workspace, "sequence": 1 }));
    assert_ne!(logged["entries"][0]["state"], "running", "{logged}");
    mcp.finish();
    drop(guard);
}

#[test]
fn a_creation_that_is_called_off_leaves_nothing() {
    // Promise: a creation, even one that makes a template first, leaves no workspace, process or half a template; the
    // same creation works afterwards.
    let machine = Machine::with_own_environment();
    let mut mcp = machine.mcp_client(&[]);
    let id = mcp.begin("workspace_create", json!({ "empty": true, "name": "half" }));
    mcp.wait_for_news(id, "booting it once");
    mcp.cancel(id);
    wait_until("the VM of the template is gone", || {
        Process::all().iter().all(|process| process.pid == mcp.pid() || !process.concerns(machine.root()))
    });
    assert_eq!(mcp.tool("workspace_list", json!({}))["count"], 0);
    let made = mcp.tool("workspace_create", json!({ "empty": true, "name": "half" }));
    let workspace = machine.adopt(made["workspace_id"].as_str().unwrap());
    assert_eq!(workspace.shell("echo whole"), "whole\n");
    assert!(!mcp.has_answered(id));
    mcp.finish();
}

#[test]
fn a_pull_that_is_called_off_leaves_nothing() {
    // Promise: a pull ends with the call that needed it, or with the server: no program of it runs on, nothing is
    // half-installed, and standard output has had nothing but messages.
    let machine = Machine::for_pulls();
    let pullers = || -> Vec<Process> {
        let mut all = Process::all();
        all.retain(|process| {
            process.concerns(machine.root()) && process.words.iter().any(|word| word.contains("mmdebstrap"))
        });
        all
    };
    let installed = || {
        let listed = machine.pyro(["env", "list", "--json"]).finish().exits(0).json();
        let environments = listed["environments"].as_array().unwrap().clone();
        environments.iter().any(|one| one["installed"] == true)
    };
    let halves = || -> Vec<PathBuf> {
        let place = machine.cache().join("environments/linux-x86_64");
        let entries = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_none_or(|suffix| suffix != "lock")).collect()
    };
    let mut mcp = machine.mcp_client(&["--profile", "vm-run"]);
    let id = mcp.begin("vm_run", json!({ "command": "true" }));
    mcp.wait_for_news(id, "packages");
    wait_until("the archive tool runs", || !pullers().is_empty());
    mcp.cancel(id);
    wait_until("the archive tool and all it had made are gone", || {
        pullers().is_empty() && halves().is_empty()
    });
    mcp.ask("ping", json!({}));
    assert!(!mcp.has_answered(id) && !installed());

    let id = mcp.begin("vm_run", json!({ "command": "true" }));
    mcp.wait_for_news(id, "packages");
    wait_until("the archive tool runs", || !pullers().is_empty());
    mcp.finish();
    assert_eq!(remains_of(machine.root()), [""; 0]);
    assert_eq!(halves(), [""; 0].map(PathBuf::from));
    assert!(!installed());
}

#[test]
fn time_that_is_up_is_an_answer() {
    // Promise: a command that takes longer than it may is killed, and its end is an answer like any other.
    let machine = Machine::new();
    let mut mcp = machine.mcp_client(&["--profile", "vm-run"]);
    let answer = mcp.call("vm_run", json!({ "command": "echo begun; sleep 1000", "timeout_seconds": 5 }));
    let ran = value_of(&answer);
    assert_eq!((&ran["exit_code"], &ran["stdout"]), (&124.into(), &"begun\n".into()), "{ran}");
    mcp.finish();
}
