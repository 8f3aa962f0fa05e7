//! Messages that are none, and requests that cannot be met: each is answered, and the next one is served.

use serde_json::{Value, json};

use crate::support::mcp::refusal_of;
use crate::support::{Machine, Mcp, Process};

/// Memory of a server, whatever its client sends: some for itself, some for the longest message.
pub(super) const MEMORY_KIB_MAX: u64 = 150_000;

/// The code of a request that was refused by the protocol.
fn code(answer: &Value) -> i64 {
    answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {answer}"))
}

fn still_serves(mcp: &mut Mcp) {
    assert_eq!(mcp.ask("ping", json!({}))["result"], json!({}));
}

#[test]
fn what_is_no_request_is_refused_by_its_id() {
    // Promise: a line that is no message gets the error that JSON-RPC has for it, under its id, and ends nothing.
    let machine = Machine::empty();
    let mut mcp = machine.mcp_client(&[]);
    mcp.write(b"{\"jsonrpc\":\"2.0\",\"id\":1000,\"method\":\n");
    mcp.write(b"\xff\xfe\n\n");
    mcp.write(b"[{\"jsonrpc\":\"2.0\",\"id\":1001,\"method\":\"ping\"}]\n");
    still_serves(&mut mcp);
    let nameless = |code: i64| {
        let heard = mcp.messages();
        let is_it = |one: &&Value| one["id"].is_null() && one["error"]["code"] == code;
        heard.iter().filter(is_it).count()
    };
    assert_eq!((nameless(-32700), nameless(-32600)), (2, 1));
    for (wrong, expected) in [
        (json!({ "jsonrpc": "1.0", "id": 2000, "method": "ping" }), -32600),
        (json!({ "id": "two", "method": "ping" }), -32600),
        (json!({ "jsonrpc": "2.0", "id": 2002, "method": 7 }), -32600),
        (json!({ "jsonrpc": "2.0", "id": 2003, "method": "no/such" }), -32601),
        (json!({ "jsonrpc": "2.0", "id": 2004, "method": "tools/call" }), -32602),
        (json!({ "jsonrpc": "2.0", "id": 2005, "method": "tools/call", "params": {} }), -32602),
        (json!({ "jsonrpc": "2.0", "id": 2006, "method": "tools/call", "params": { "name": 7 } }), -32602),
        (
            json!({ "jsonrpc": "2.0", "id": 2007, "method": "tools/call", "params": { "name": "vm_run", "arguments": "x" } }),
            -32602,
        ),
        (
            json!({ "jsonrpc": "2.0", "id": 2008, "method": "tools/list", "params": { "cursor": "x" } }),
            -32602,
        ),
        (json!({ "jsonrpc": "2.0", "id": 2009, "method": "prompts/get", "params": { "name": "x" } }), -32602),
        (
            json!({ "jsonrpc": "2.0", "id": 2010, "method": "resources/read", "params": { "uri": "file:///etc/passwd" } }),
            -32002,
        ),
    ] {
        mcp.send(&wrong);
        assert_eq!(code(&mcp.answer(wrong["id"].clone())), expected, "{wrong}");
    }
    // What nobody asked for is not answered.
    mcp.send(&json!({ "jsonrpc": "2.0", "method": "notifications/no-such", "params": 7 }));
    mcp.send(&json!({ "jsonrpc": "2.0", "id": 3000, "result": {} }));
    mcp.cancel(4000);
    still_serves(&mut mcp);
    assert!(mcp.messages().iter().all(|message| message["id"] != 3000));
    mcp.finish();
}

#[test]
fn tools_and_arguments_that_are_not_there_are_named() {
    // Promise: a call that cannot be met says what does not fit, and what to do; nothing is run.
    let machine = Machine::empty();
    let mut mcp = machine.mcp_client(&[]);
    let unknown = mcp.call("vm_walk", json!({}));
    assert_eq!(code(&unknown), -32602);
    assert!(unknown["error"]["message"].as_str().unwrap().contains("vm_walk"), "{unknown}");
    let larger = mcp.call("snapshot_list", json!({ "workspace_id": "x" }));
    assert_eq!(code(&larger), -32602);
    assert!(larger["error"]["message"].as_str().unwrap().contains("--profile workspace-full"), "{larger}");
    for (tool, arguments, words) in [
        ("vm_run", json!({ "command": "true", "colour": "red" }), "colour"),
        ("vm_run", json!({ "command": 7 }), "`command`"),
        ("vm_run", json!({}), "command"),
        ("vm_run", json!({ "command": "true", "timeout_seconds": -1 }), "`timeout_seconds`"),
        ("vm_run", json!({ "command": "true", "environment": "plan9" }), "plan9"),
        ("workspace_create", json!({ "vcpu_count": 2 }), "workspace-full"),
        ("workspace_status", json!({ "workspace_id": "nobody" }), "nobody"),
    ] {
        let (code, text) = refusal_of(&mcp.call(tool, arguments.clone()));
        assert!(text.contains(words), "{arguments}: {code}: {text}");
    }
    mcp.finish();
    let mut mcp = machine.mcp_client(&["--profile", "vm-run"]);
    assert_eq!(code(&mcp.call("workspace_list", json!({}))), -32602);
    assert_eq!(mcp.ask("prompts/list", json!({}))["result"]["prompts"], json!([]));
    mcp.finish();
}

#[test]
fn a_message_that_is_too_long_costs_no_memory() {
    // Promise: a message of 100 MB is refused under its id without being kept, and the next one is served.
    let machine = Machine::empty();
    let mut mcp = machine.mcp_client(&[]);
    let piece = vec![b'a'; 1 << 20];
    mcp.write(b"{\"jsonrpc\":\"2.0\",\"method\":\"tools/call\",\"params\":{\"name\":\"vm_run\",\"arguments\":{\"command\":\"");
    (0..100).for_each(|_| mcp.write(&piece));
    mcp.write(b"\"}},\"id\":\"long\"}\n");
    let refused = mcp.answer("long");
    assert_eq!(code(&refused), -32600);
    assert!(refused["error"]["message"].as_str().unwrap().contains("workspace_sync_push"), "{refused}");
    still_serves(&mut mcp);
    let peak = Process::peak_kib(mcp.pid());
    assert!(peak < MEMORY_KIB_MAX, "{peak} KiB");
    mcp.finish();
}
