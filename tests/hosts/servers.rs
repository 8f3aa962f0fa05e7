//! Servers, started as hosts start them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::{FILES, cursor_starts, home, host, write};
use crate::support::{Machine, PYRO, executable};

/// A server that answers as one does, and ends when its input does.
const SERVER: &str = r#"
while read -r line; do
  case $line in
    *'"initialize"'*)
      echo '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"hello"}}'
      echo '{"jsonrpc":"2.0","id":"theirs","method":"ping"}'
      echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"pyro","version":"'$VERSION'"}}}' ;;
    *'"cursor":"more"'*) echo '{"jsonrpc":"2.0","id":3,"result":{"tools":[{"name":"c"}]}}' ;;
    *'"tools/list"'*) echo '{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"a"},{"name":"b"}],"nextCursor":"more"}}' ;;
    *'"id":"theirs"'*) case $line in *'"result":{}'*) ;; *) exit 9 ;; esac ;;
  esac
done"#;

/// A program called pyro that is another one.
fn fake(machine: &Machine, name: &str, script: &str) -> PathBuf {
    let path = machine.root().join(name);
    executable(&path, &format!("#!/bin/sh\nVERSION={}\n{script}\n", env!("CARGO_PKG_VERSION")));
    path
}

#[test]
fn what_is_connected_works() {
    // Promise: what `connect` has written passes `doctor`, with this program as the server.
    let machine = Machine::empty();
    for (name, _) in FILES {
        host(&machine, &["connect", name, "--profile", "vm-run"]).finish().exits(0);
        host(&machine, &["doctor", name]).finish().exits(0).tells(", 1 tool\nSetup: PASS\n");
    }
}

#[test]
fn a_server_that_answers_passes() {
    // Promise: `doctor` starts what the host would start, and tells its name, version and number of tools.
    let machine = Machine::empty();
    let server = fake(&machine, "bin/pyro", SERVER);
    cursor_starts(&machine, &server);
    let examined = host(&machine, &["doctor", "cursor"]).finish();
    let version = env!("CARGO_PKG_VERSION");
    examined
        .exits(0)
        .tells("Program: none, `cursor` is not on PATH\n")
        .tells(&format!("Server: pyro {version}, protocol 2025-11-25, 3 tools\nSetup: PASS\n"));
    let with_host = fake(&machine, "hosts/cursor", "");
    let path = format!("{}:/usr/bin:/bin", with_host.parent().unwrap().display());
    let told = format!("Program: {}\n", with_host.display());
    host(&machine, &["doctor", "cursor"]).env("PATH", path).finish().exits(0).tells(&told);
}

#[test]
fn every_way_to_fail_is_told() {
    // Promise: `doctor` says at which step a server fails and what to do, one line each, and exits with 1.
    let machine = Machine::empty();
    let issue = |script: &str, what: &str| {
        cursor_starts(&machine, &fake(&machine, "bin/pyro", script));
        let examined = host(&machine, &["doctor", "cursor"]).finish();
        examined.exits(1).tells(what).tells(" fix: `pyro host repair cursor`\n");
        assert_eq!(examined.out().lines().filter(|line| line.starts_with("- issue ")).count(), 1);
    };
    issue(
        "echo no such option >&2; exit 3",
        "ended at `initialize` with exit code 3, having said: no such option",
    );
    issue("read line; kill -9 $$", "ended at `initialize` with signal 9");
    issue(
        "echo Welcome; cat",
        "at `initialize` it printed something that is no message of the protocol: Welcome",
    );
    issue(
        r#"echo '{"jsonrpc":"2.0","id":1,"result":{}}'; cat >/dev/null"#,
        "its answer to `initialize` has no /serverInfo/name",
    );
    let refusal =
        r#"echo '{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"too old"}}'; cat >/dev/null"#;
    issue(refusal, "it refused `initialize`: too old");
    issue(&format!("{SERVER}\nexit 4"), "it ended with exit code 4 once its input had ended");
    issue(&SERVER.replace("$VERSION", "0.0.1"), "the server is pyro 0.0.1, and this is pyro ");
    issue(&SERVER.replace("\"name\":\"pyro\"", "\"name\":\"other\""), "the server is other ");
}

#[test]
fn a_program_that_moved_is_found_and_mended() {
    // Promise: a command that is gone or cannot be executed is told, and `repair` puts this program in its place.
    let machine = Machine::empty();
    let gone = machine.root().join("gone/pyro");
    cursor_starts(&machine, &gone);
    let told = format!("- issue {} is not there fix: `pyro host repair cursor`\n", gone.display());
    host(&machine, &["doctor", "cursor"]).finish().exits(1).tells(&told);
    write(&gone, "");
    host(&machine, &["doctor", "cursor"]).finish().exits(1).tells("cannot be executed fix: ");
    host(&machine, &["repair", "cursor"]).finish().exits(0).tells("Backup: ");
    let text = fs::read_to_string(home(&machine).join(".cursor/mcp.json")).unwrap();
    assert!(text.contains(PYRO) && !text.contains("gone"), "{text}");
    let nothing = host(&machine, &["repair", "codex"]).finish();
    nothing
        .exits(125)
        .explains(&["has no entry `mcp_servers.pyro` to mend; `pyro host connect codex` adds one"]);
}

#[test]
fn codex_servers_see_what_codex_hands_on() {
    // Promise: the server is tried with Codex's few variables and those that the entry names, as Codex starts it.
    let machine = Machine::empty();
    let script = format!("env > {}/seen\n{SERVER}", machine.root().display());
    let server = fake(&machine, "bin/pyro", &script);
    host(&machine, &["connect", "codex"]).finish().exits(0);
    let path = home(&machine).join(".codex/config.toml");
    let text = fs::read_to_string(&path).unwrap().replace(PYRO, server.to_str().unwrap());
    fs::write(&path, format!("{text}\n[mcp_servers.pyro.env]\nADDED = \"1\"\n")).unwrap();
    let doctor = host(&machine, &["doctor", "codex"]).env("SECRET", "x").env("XDG_RUNTIME_DIR", "/run/x");
    doctor.finish().exits(0).tells("Setup: PASS\n");
    let seen = fs::read_to_string(machine.root().join("seen")).unwrap();
    for line in ["ADDED=1", "XDG_RUNTIME_DIR=/run/x", "PYRO_POOL=0"] {
        assert!(seen.lines().any(|other| other == line), "{line}: {seen}");
    }
    assert!(!seen.contains("SECRET"), "{seen}");
}

#[test]
fn a_server_at_a_url_is_left_alone() {
    // Promise: an entry of a server that runs somewhere is neither turned into one that is started nor tried.
    let machine = Machine::empty();
    let path = home(&machine).join(".claude.json");
    let text = r#"{"mcpServers": {"pyro": {"type": "http", "url": "http://127.0.0.1:7717/mcp"}}}"#;
    write(&path, text);
    for verb in ["connect", "repair"] {
        let refused = host(&machine, &[verb, "claude-code"]).finish();
        refused
            .exits(1)
            .explains(&["is a server that runs at http://127.0.0.1:7717/mcp; take that entry out"]);
    }
    host(&machine, &["doctor", "claude-code"])
        .finish()
        .exits(0)
        .tells("Server: not tried, it is one that runs at ");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_project_of_others_is_not_trusted() {
    // Promise: what a project's file names is not run unless it is this program's server, and its links do not lead
    // a write out of it.
    let machine = Machine::empty();
    let project = machine.root().join("project");
    fs::create_dir_all(project.join(".git")).unwrap();
    let ran = machine.root().join("ran");
    let evil = fake(&machine, "project/evil", &format!("touch {}", ran.display()));
    let entry = |command: &str, more: &str| {
        let text =
            format!(r#"{{"mcpServers": {{"pyro": {{"type": "stdio", "command": "{command}", {more}}}}}}}"#);
        write(&project.join(".mcp.json"), &text);
        host(&machine, &["doctor", "claude-code", "--scope", "project"]).inside(&project).finish()
    };
    entry(evil.to_str().unwrap(), r#""args": ["mcp", "serve"]"#)
        .tells("Server: not tried, a project's file is ");
    entry(PYRO, r#""args": ["mcp", "serve"], "env": {"LD_PRELOAD": "x"}"#).tells("Server: not tried, ");
    entry(PYRO, r#""args": ["workspace", "list"]"#).exits(1).tells("Server: not tried, ");
    entry(PYRO, r#""args": ["mcp", "serve"]"#).exits(0).tells("Server: pyro ");
    assert!(!ran.exists());

    let outside = machine.root().join("outside.json");
    write(&outside, "{}");
    fs::remove_file(project.join(".mcp.json")).unwrap();
    symlink(&outside, project.join(".mcp.json")).unwrap();
    symlink(machine.root(), project.join(".codex")).unwrap();
    for name in ["claude-code", "codex"] {
        let refused = host(&machine, &["connect", name, "--scope", "project"]).inside(&project).finish();
        refused.exits(125).explains(&["leads out of the project, to "]);
    }
    assert_eq!(fs::read_to_string(&outside).unwrap(), "{}");
    assert!(!machine.root().join("config.toml").exists());
}
