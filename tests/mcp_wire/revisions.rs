//! Who is served, and how a connection begins: the revision with a handshake, and the one without.

use serde_json::{Value, json};

use crate::support::Machine;
use crate::support::mcp::{STATELESS, WITH_HANDSHAKE};

/// What every request of the revision without a handshake carries.
fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": STATELESS,
        "io.modelcontextprotocol/clientInfo": { "name": "tests", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

#[test]
fn both_revisions_are_spoken() {
    // Promise: clients with a handshake and clients without are served alike, by a server that says who it is.
    let machine = Machine::empty();
    let mut mcp = machine.mcp(&[]);
    let hello = mcp.shake_hands();
    assert_eq!(hello["protocolVersion"], WITH_HANDSHAKE);
    assert_eq!(hello["serverInfo"]["name"], "pyro");
    let version = machine.pyro(["--version"]).finish().exits(0).out();
    assert_eq!(format!("pyro {}", hello["serverInfo"]["version"].as_str().unwrap()), version.trim());
    assert!(hello["instructions"].as_str().unwrap().contains("workspace_create"));
    let with_handshake = mcp.ask("tools/list", json!({}))["result"]["tools"].clone();
    mcp.finish();

    let mut mcp = machine.mcp(&[]);
    let discovered = mcp.ask("server/discover", json!({ "_meta": meta() }))["result"].clone();
    let versions = discovered["supportedVersions"].as_array().unwrap();
    assert!(
        versions.contains(&STATELESS.into()) && versions.contains(&WITH_HANDSHAKE.into()),
        "{discovered}"
    );
    let tools = mcp.ask("tools/list", json!({ "_meta": meta() }))["result"]["tools"].clone();
    assert_eq!(tools, with_handshake);
    let params = json!({ "name": "workspace_list", "arguments": {}, "_meta": meta() });
    let called = mcp.ask("tools/call", params)["result"].clone();
    assert_eq!(called["structuredContent"]["count"], 0, "{called}");
    mcp.finish();

    // A revision that is nobody's is answered with those that there are.
    let mut mcp = machine.mcp(&[]);
    let mut odd = meta();
    odd["io.modelcontextprotocol/protocolVersion"] = json!("2031-01-01");
    let refused = mcp.ask("tools/list", json!({ "_meta": odd }));
    assert_eq!(refused["error"]["code"], -32022, "{refused}");
    assert!(
        refused["error"]["data"]["supported"].as_array().unwrap().contains(&STATELESS.into()),
        "{refused}"
    );
    mcp.finish();
}

#[test]
fn a_client_may_go_before_it_has_begun() {
    // Promise: a client that only looks, says nothing, or begins with notifications is no failure: the server ends
    // with 0 and has nothing to say.
    let machine = Machine::empty();
    let mut mcp = machine.mcp(&[]);
    mcp.ask("server/discover", json!({ "_meta": meta() }));
    mcp.close();
    let told = |mcp: crate::support::Mcp| {
        let text = mcp.told();
        mcp.finish();
        text
    };
    assert_eq!(told(mcp), "");
    assert_eq!(told(machine.mcp(&[])), "");
    let mut mcp = machine.mcp(&[]);
    mcp.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    mcp.send(&json!({ "jsonrpc": "2.0", "method": "notifications/roots/list_changed" }));
    mcp.cancel(7);
    mcp.ask("ping", json!({}));
    assert_eq!(mcp.shake_hands()["serverInfo"]["name"], "pyro");
    mcp.finish();
}

#[test]
fn lists_are_the_same_for_every_client() {
    // Promise: the tools of a profile are a fixed, sorted list, whoever asks, however often.
    let machine = Machine::empty();
    for (profile, count) in [("vm-run", 1), ("workspace-core", 16), ("workspace-full", 43)] {
        let list = || {
            let mut mcp = machine.mcp_client(&["--profile", profile]);
            let lists =
                ["tools/list", "tools/list"].map(|list| mcp.ask(list, json!({}))["result"].to_string());
            mcp.finish();
            lists
        };
        let [first, again] = list();
        assert_eq!(first, again);
        assert_eq!(list(), [first.clone(), first.clone()]);
        let tools: Value = serde_json::from_str(&first).unwrap();
        let tools = tools["tools"].as_array().unwrap();
        let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert!(names.is_sorted() && names.len() == count, "{names:?}");
    }
}
