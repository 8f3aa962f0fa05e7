//! Many calls, and many servers, at once.

use serde_json::{Value, json};

use crate::support::mcp::{refusal_of, value_of};
use crate::support::{Machine, Mcp, Workspace};

fn id_of(made: &Value) -> String {
    made["workspace_id"].as_str().unwrap().to_owned()
}

#[test]
fn no_call_waits_for_another_s_command() {
    // Promise: of twenty calls on five workspaces those that can be answered are, while the others' commands wait.
    const WORKSPACES: usize = 5;
    let machine = Machine::alone();
    let mut mcp = machine.mcp_client(&["--profile", "workspace-full"]);
    let first = mcp.tool("workspace_create", json!({ "empty": true }));
    let copies = mcp.tool(
        "workspace_fork",
        json!({ "workspace_id": id_of(&first), "disk_only": true, "count": WORKSPACES - 1 }),
    );
    let mut ids = vec![id_of(&first)];
    ids.extend(copies["forks"].as_array().unwrap().iter().map(id_of));
    let _guards: Vec<Workspace<'_>> = ids.iter().map(|id| machine.adopt(id)).collect();
    let exec = |mcp: &mut Mcp, id: &str, command: &str| {
        let arguments = json!({ "workspace_id": id, "command": command, "timeout_seconds": 200 });
        mcp.begin("workspace_exec", arguments)
    };
    // Two wait in each for somebody who opens the gate, one only writes, one looks.
    let mut waiting = Vec::new();
    for id in &ids {
        for gate in ["a", "b"] {
            waiting.push(exec(&mut mcp, id, &format!("mkfifo {gate}; echo waiting; cat {gate}")));
        }
    }
    waiting.iter().for_each(|id| mcp.wait_for_news(*id, "waiting"));
    let quick: Vec<u64> = ids.iter().map(|id| exec(&mut mcp, id, "echo quick")).collect();
    let looks: Vec<u64> =
        ids.iter().map(|id| mcp.begin("workspace_status", json!({ "workspace_id": id }))).collect();
    for id in quick {
        assert_eq!(value_of(&mcp.answer(id))["stdout"], "quick\n");
    }
    for id in looks {
        assert_eq!(value_of(&mcp.answer(id))["state"], "started");
    }
    assert!(waiting.iter().all(|id| !mcp.has_answered(*id)), "nobody has opened a gate");
    for id in &ids {
        exec(&mut mcp, id, "echo opened > a; echo opened > b");
    }
    for id in waiting {
        assert_eq!(value_of(&mcp.answer(id))["stdout"], "waiting\nopened\n");
    }
    mcp.finish();
}

#[test]
fn too_many_calls_are_refused() {
    // Promise: the sixty-fifth call at once is refused with what to do; as soon as one has ended the next is served.
    const CALLS_MAX: usize = 64;
    let machine = Machine::new();
    let mut mcp = machine.mcp_client(&["--profile", "workspace-full"]);
    let made = mcp.tool("workspace_create", json!({ "empty": true }));
    let workspace = machine.adopt(&id_of(&made));
    let shell = mcp.tool("shell_open", json!({ "workspace_id": workspace.id }));
    let shell = shell["shell_id"].as_str().unwrap();
    let arguments =
        json!({ "workspace_id": workspace.id, "shell_id": shell, "until": "never", "wait_ms": 600_000 });
    let reading: Vec<u64> = (0..CALLS_MAX).map(|_| mcp.begin("shell_read", arguments.clone())).collect();
    reading.iter().for_each(|id| mcp.wait_for_news(*id, " s"));
    for tool in ["workspace_list", "shell_read"] {
        let arguments = if tool == "shell_read" { arguments.clone() } else { json!({}) };
        let (code, text) = refusal_of(&mcp.call(tool, arguments));
        assert!(
            code == "system" && text.contains("64 calls run already") && text.contains("detach"),
            "{text}"
        );
    }
    // Lists are no calls.
    assert!(mcp.ask("tools/list", json!({}))["result"]["tools"].is_array());
    assert!(reading.iter().all(|id| !mcp.has_answered(*id)));
    mcp.cancel(reading[0]);
    crate::support::wait_until("there is room for one", || {
        mcp.call("workspace_list", json!({}))["result"]["isError"] != true
    });
    mcp.finish();
}

#[test]
fn two_servers_share_one_state() {
    // Promise: servers keep nothing to themselves: two of them work on one workspace at once and lose nothing.
    const EACH: usize = 5;
    let machine = Machine::new();
    let (mut one, mut other) = (machine.mcp_client(&[]), machine.mcp_client(&[]));
    let made = one.tool("workspace_create", json!({ "empty": true, "name": "shared" }));
    let workspace = machine.adopt(&id_of(&made));
    let mut calls = Vec::new();
    for number in 0..EACH {
        for (server, name) in [(&mut one, "one"), (&mut other, "other")] {
            let line = format!("echo {name} {number} >> lines");
            calls.push((
                name,
                server.begin("workspace_exec", json!({ "workspace_id": "shared", "command": line })),
            ));
            let path = format!("{name}/{number}");
            calls.push((
                name,
                server.begin(
                    "workspace_file_write",
                    json!({ "workspace_id": "shared", "path": path, "text": name }),
                ),
            ));
        }
    }
    for (name, id) in calls {
        let server = if name == "one" { &one } else { &other };
        value_of(&server.answer(id));
    }
    let seen = "sort lines | wc -l; find one other -type f | wc -l";
    assert_eq!(workspace.shell(seen), format!("{}\n{}\n", 2 * EACH, 2 * EACH));
    let logs = [&mut one, &mut other]
        .map(|server| server.tool("workspace_logs", json!({ "workspace_id": "shared" })));
    assert_eq!(logs[0]["entries"], logs[1]["entries"]);
    let mut numbers: Vec<u64> = logs[0]["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["sequence"].as_u64().unwrap())
        .collect();
    numbers.dedup();
    assert_eq!(
        numbers,
        (1..=2 * EACH as u64 + 1).collect::<Vec<_>>(),
        "each command has a number of its own"
    );
    // What one of them has left, the other finds; and deletes.
    one.finish();
    assert_eq!(
        other.tool("workspace_delete", json!({ "workspace_id": "shared" }))["deleted"][0],
        made["workspace_id"]
    );
    other.finish();
}
