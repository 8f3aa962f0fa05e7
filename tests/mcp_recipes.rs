//! The prompts of the MCP server, each followed to its end by the official Python client against the real program and real
//! VMs: `tests/mcp` has a script for each. And what else that client holds the server to.

use crate::support::Machine;

/// Runs a script to its end, which must be a good one and leave no workspace.
fn follow(machine: &Machine, script: &str) {
    machine.script(script).finish().exits(0);
    let left = machine.pyro(["workspace", "list", "--json"]).finish().exits(0).json();
    assert_eq!(left["count"], 0, "{left}");
}

#[test]
fn a_cold_start_is_checked() {
    // Promise: `cold-start-check` shows what a project's own instructions leave out, and touches nothing of the project.
    follow(&Machine::new(), "cold_start_check.py");
}

#[test]
fn a_problem_is_reproduced_and_fixed() {
    // Promise: `repro-and-fix` ends with a patch that is all that is needed, in git's words, and in the project.
    follow(&Machine::new(), "repro_and_fix.py");
}

#[test]
fn several_ways_are_tried_at_once() {
    // Promise: the copies of `parallel-attempts` know nothing of each other, and only the best one reaches the project.
    follow(&Machine::alone(), "parallel_attempts.py");
}

#[test]
fn what_nobody_trusts_is_looked_into() {
    // Promise: what `untrusted-inspection` runs sees no network and nothing of the person's, and changes nothing here.
    follow(&Machine::new(), "untrusted_inspection.py");
}

#[test]
fn work_is_reviewed() {
    // Promise: `review` finds out in a copy whether work holds; the original stays as it is.
    follow(&Machine::new(), "review.py");
}

#[test]
fn every_tool_keeps_to_its_schema() {
    // Promise: each of the 43 tools gives, for real, what its output schema says, failures included.
    follow(&Machine::new(), "every_tool.py");
}

#[test]
fn a_client_is_told_how_far_a_call_is_and_may_give_it_up() {
    // Promise: news of a call come in order while it goes on; a call that its client gives up is gone in the guest, too.
    follow(&Machine::new(), "progress_and_cancel.py");
}

#[test]
fn the_same_is_had_over_http() {
    // Promise: a client with the token has the same tools over HTTP, in both revisions; one without has none.
    let machine = Machine::new();
    let server = machine.mcp_over_http(&[]);
    let script = machine.script("over_http.py").env("URL", server.url()).env("TOKEN", &server.token);
    script.finish().exits(0);
    server.ends();
    let left = machine.pyro(["workspace", "list", "--json"]).finish().exits(0).json();
    assert_eq!(left["count"], 0, "{left}");
}
