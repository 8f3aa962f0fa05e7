//! `pyro mcp serve --http`, byte for byte: who is let in, what is refused, and what is left when a client or the server goes.

use std::fs;

use serde_json::{Value, json};

use crate::support::mcp::{STATELESS, WITH_HANDSHAKE};
use crate::support::mcp_http::{Listening, Response};
use crate::support::{Machine, Workspace, remains_of, wait_until};

/// What begins a session.
fn hello() -> Value {
    let params = json!({ "protocolVersion": WITH_HANDSHAKE, "capabilities": {}, "clientInfo": { "name": "tests", "version": "1" } });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params })
}

/// A call of the revision that has no sessions, with what its headers say.
fn call(server: &Listening, tool: &str, arguments: Value) -> Vec<u8> {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": STATELESS,
        "io.modelcontextprotocol/clientInfo": { "name": "tests", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let headers = [("MCP-Protocol-Version", STATELESS), ("Mcp-Method", "tools/call"), ("Mcp-Name", tool)];
    server.request("/mcp", &body.to_string(), &headers)
}

/// The value of a call that must succeed.
fn called(server: &Listening, tool: &str, arguments: Value) -> Value {
    let response = Response::read(server.send(&call(server, tool, arguments)));
    let result = response.message()["result"].clone();
    assert!(response.status == 200 && result["isError"] != true, "{response:?}");
    result["structuredContent"].clone()
}

#[test]
fn only_who_may_is_let_in() {
    // Promise: without the token, from another web site, under another name, or elsewhere than at its place nobody is
    // served; with it, and from where a person allowed, one is.
    let machine = Machine::empty();
    let options = ["--allow-origin", "https://friend.example", "--allow-host", "pyro.example"];
    let server = machine.mcp_over_http(&options);
    let status = |changes: &[(&str, &str)]| server.post(&hello(), changes).status;
    let welcome = server.post(&hello(), &[]);
    assert_eq!((welcome.status, &welcome.message()["result"]["serverInfo"]["name"]), (200, &"pyro".into()));

    for wrong in ["", "Bearer", "Bearer 0123456789abcdef", &format!("Basic {}", server.token), &server.token]
    {
        let refused = server.post(&hello(), &[("Authorization", wrong)]);
        assert_eq!(refused.status, 401, "{wrong:?}");
        assert!(
            refused.header("www-authenticate").is_some_and(|way| way.starts_with("Bearer")),
            "{refused:?}"
        );
    }
    for stranger in
        ["https://evil.example", "http://friend.example", "https://friend.example.evil.example", "null"]
    {
        assert_eq!(status(&[("Origin", stranger)]), 403, "{stranger}");
    }
    assert_eq!(status(&[("Origin", "https://friend.example")]), 200);
    let port = server.address.rsplit_once(':').unwrap().1;
    for name in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "169.254.169.254"] {
        assert_eq!(status(&[("Host", &format!("{name}:{port}"))]), 403, "{name}");
    }
    for name in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), "pyro.example".to_owned()] {
        assert_eq!(status(&[("Host", &name)]), 200, "{name}");
    }
    // Who asks for what is not there learns nothing of who may.
    for path in ["/", "/mcp/", "/mcp/x", "/.well-known/oauth-protected-resource", "//mcp"] {
        let response = Response::read(server.send(&server.request(path, &hello().to_string(), &[])));
        assert_eq!(response.status, 404, "{path}");
    }
    server.ends();
}

#[test]
fn a_body_that_is_too_long_is_refused() {
    // Promise: a body over 16 MiB is refused, whether it says so or not; one below is read; the next request is served.
    const MIB: usize = 1 << 20;
    let machine = Machine::empty();
    let server = machine.mcp_over_http(&[]);
    let body = |bytes: usize| {
        let mut hello = hello();
        hello["params"]["clientInfo"]["title"] = "a".repeat(bytes).into();
        hello
    };
    assert_eq!(server.post(&body(17 * MIB), &[]).status, 413);
    let text = body(17 * MIB).to_string();
    let chunked = format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
    let headers = [("Transfer-Encoding", "chunked"), ("Content-Length", "")];
    let response = Response::read(server.send(&server.request("/mcp", &chunked, &headers)));
    assert_eq!(response.status, 413);
    assert_eq!(server.post(&body(15 * MIB), &[]).status, 200);
    let peak = crate::support::Process::peak_kib(server.pid());
    assert!(peak < 200_000, "{peak} KiB");
    server.ends();
}

#[test]
fn what_would_be_unsafe_is_not_started() {
    // Promise: a server that others reach needs `--allow-remote`; a token is long, and comes from a file, the environment,
    // or chance; what is no token starts nothing.
    let machine = Machine::empty();
    let refused = |address: &str, options: &[&str], words: &[&str]| {
        machine.serve_http(address, options).finish().exits(2).says("").explains(words);
    };
    for address in ["0.0.0.0:0", "[::]:0"] {
        refused(address, &[], &["--allow-remote", "in the clear"]);
    }
    let token = "0123456789abcdef0123456789abcdef";
    let file = machine.root().join("token");
    let path = file.to_str().unwrap();
    for wrong in ["short", "", "with a blank in the middle of it", "ünlesbar-ünlesbar-ünlesbar"] {
        fs::write(&file, wrong).unwrap();
        refused("127.0.0.1:0", &["--token-file", path], &["token"]);
    }
    refused("127.0.0.1:0", &["--token-file", "/no/such/file"], &["/no/such/file"]);
    let call = machine.serve_http("127.0.0.1:0", &[]).env("PYRO_MCP_TOKEN", "short");
    call.finish().exits(2).says("").explains(&["token"]);
    refused("127.0.0.1:0", &["--allow-origin", "friend.example"], &["origin"]);

    fs::write(&file, format!("{token}\n")).unwrap();
    let from_file = machine.serve_http("127.0.0.1:0", &["--token-file", path]);
    let from_environment = machine.serve_http("127.0.0.1:0", &[]).env("PYRO_MCP_TOKEN", token);
    let remote = machine.serve_http("0.0.0.0:0", &["--allow-remote", "--token-file", path]);
    for (call, is_remote) in [(from_file, false), (from_environment, false), (remote, true)] {
        let running = call.start();
        let mut server = Listening::of(running, token);
        assert!(!server.told().contains(token), "a token that somebody gave is not told");
        if is_remote {
            server.address = server.address.replace("0.0.0.0", "127.0.0.1");
        }
        assert_eq!(server.post(&hello(), &[]).status, 200);
        assert_eq!(server.post(&hello(), &[("Authorization", "Bearer 0123456789abcdef")]).status, 401);
        server.ends();
    }
    let tokens = [(); 2].map(|()| {
        let server = machine.mcp_over_http(&[]);
        let token = server.token.clone();
        server.ends();
        token
    });
    assert!(tokens[0] != tokens[1] && tokens[0].len() == 64, "{tokens:?}");
}

#[test]
fn a_client_that_goes_takes_its_command_along() {
    // Promise: a connection that breaks in the middle of a call kills the command in the guest; a server that is told to
    // end ends in time with 0, and leaves nothing of what ran; workspaces stay.
    let machine = Machine::new();
    let server = machine.mcp_over_http(&["--profile", "workspace-full"]);
    let made = called(&server, "workspace_create", json!({ "empty": true }));
    let workspace: Workspace<'_> = machine.adopt(made["workspace_id"].as_str().unwrap());
    let runs = |what: &str| {
        let found = workspace.exec(["pgrep", "-x", "-f", what]).finish();
        found.status.success()
    };
    let command = |seconds: u64| json!({ "workspace_id": workspace.id, "command": format!("sleep {seconds}"), "timeout_seconds": 1000 });
    let connection = server.send(&call(&server, "workspace_exec", command(4711)));
    wait_until("the command runs", || runs("sleep 4711"));
    drop(connection);
    wait_until("the command is gone", || !runs("sleep 4711"));
    assert_eq!(
        called(&server, "workspace_status", json!({ "workspace_id": workspace.id }))["state"],
        "started"
    );

    // A client of a session may lose a connection; its calls go when it leaves.
    let session = server.post(&hello(), &[]).header("mcp-session-id").unwrap().to_owned();
    let in_session = [("Mcp-Session-Id", session.as_str()), ("MCP-Protocol-Version", WITH_HANDSHAKE)];
    let begun = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(server.post(&begun, &in_session).status, 202);
    let params = json!({ "name": "workspace_exec", "arguments": command(4713) });
    let body = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params }).to_string();
    let connection = server.send(&server.request("/mcp", &body, &in_session));
    wait_until("the command runs", || runs("sleep 4713"));
    assert!((200..300).contains(&server.delete(&session).status));
    wait_until("the command is gone", || !runs("sleep 4713"));
    drop(connection);
    assert_eq!(server.post(&begun, &in_session).status, 404, "the session is over");

    let connections = [
        server.send(&call(&server, "workspace_exec", command(4712))),
        server.send(&call(&server, "vm_run", json!({ "command": "sleep 1000", "timeout_seconds": 1000 }))),
    ];
    wait_until("the command runs", || runs("sleep 4712"));
    wait_until("the VM of the other runs", || vms(&machine) == 2);
    server.ends();
    drop(connections);
    assert_eq!(vms(&machine), 1, "the workspace's alone");
    assert!(!runs("sleep 4712"));
    workspace.call("stop", [""; 0]).finish().exits(0);
    assert_eq!(remains_of(machine.root()), [""; 0]);
}

/// How many VMs a machine has.
fn vms(machine: &Machine) -> usize {
    let shims = crate::support::Process::shims();
    shims.iter().filter(|shim| shim.concerns(machine.root())).count()
}
