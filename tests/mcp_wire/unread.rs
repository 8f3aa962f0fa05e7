//! Clients that send and do not read, or not yet.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use super::messages::MEMORY_KIB_MAX;
use crate::support::{Machine, Process};

/// Answers of 40 kB each to so many would be more memory than any server may have.
const FLOOD: u64 = 50_000;

#[test]
fn a_client_that_never_reads_is_bounded() {
    // Promise: who sends and does not read is soon not read from; memory stays bounded; when it goes, the server ends.
    let machine = Machine::empty();
    let mut mcp = machine.mcp_unread(&["--profile", "workspace-full"]);
    let (sent, mut seen) = (Arc::new(AtomicU64::new(0)), 0);
    let is_gone = Arc::new(AtomicBool::new(false));
    let (mut stdin, counter, gone) = (mcp.take_stdin(), Arc::clone(&sent), Arc::clone(&is_gone));
    let flooding = std::thread::spawn(move || {
        let hello = "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{},\"clientInfo\":{\"name\":\"t\",\"version\":\"1\"}}}\n";
        stdin.write_all(hello.as_bytes()).unwrap();
        for id in 1..=FLOOD {
            let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/list\"}}\n");
            if stdin.write_all(line.as_bytes()).is_err() || gone.load(Ordering::Relaxed) {
                return;
            }
            counter.store(id, Ordering::Relaxed);
        }
    });
    mcp.wait_until_idle(|| {
        let before = std::mem::replace(&mut seen, sent.load(Ordering::Relaxed));
        seen == before && seen > 0
    });
    let peak = Process::peak_kib(mcp.pid());
    assert!(sent.load(Ordering::Relaxed) < FLOOD, "all of the flood was taken");
    assert!(peak < MEMORY_KIB_MAX, "{peak} KiB");
    // As when the client is killed: both of its ends are closed.
    is_gone.store(true, Ordering::Relaxed);
    mcp.stop_reading();
    mcp.ends();
    flooding.join().unwrap();
}

#[test]
fn a_client_that_reads_late_misses_nothing() {
    // Promise: answers and refusals that wait for their reader come whole, each on its line, and once.
    const EACH: u64 = 12;
    let machine = Machine::empty();
    let mut mcp = machine.mcp_unread(&["--profile", "workspace-full"]);
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
    mcp.request("initialize", hello);
    // More than a pipe takes: from here on the server waits for its reader.
    let mut asked: Vec<u64> = (0..4).map(|_| mcp.request("tools/list", json!({}))).collect();
    mcp.wait_until_idle(|| true);
    for round in 0..EACH {
        asked.push(mcp.request("tools/call", json!({ "name": "workspace_list" })));
        mcp.send(&json!({ "jsonrpc": "1.0", "id": format!("wrong {round}"), "method": "ping" }));
        mcp.write(b"this is no JSON\n");
    }
    mcp.wait_until_idle(|| true);
    mcp.start_reading();
    asked.push(mcp.request("ping", json!({})));
    for id in &asked {
        mcp.answer(*id);
    }
    for round in 0..EACH {
        mcp.answer(format!("wrong {round}"));
    }
    let heard = mcp.finish();
    let count = |is_it: &dyn Fn(&Value) -> bool| heard.iter().filter(|message| is_it(message)).count() as u64;
    assert_eq!(count(&|message| message["error"]["code"] == -32700), EACH);
    assert_eq!(count(&|message| message["error"]["code"] == -32600), EACH);
    assert_eq!(count(&|message| message["result"].is_object()), asked.len() as u64 + 1);
}
