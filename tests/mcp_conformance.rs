//! The official conformance suite of the Model Context Protocol, run against the command over HTTP.

mod door;
mod report;
mod suite;

use report::Report;
use suite::{Server, Suite};

/// Each frozen set of requirements, by the revision of the protocol, and the scenarios that it has for servers.
const SETS: [(&str, usize); 2] = [("2025-11-25", 30), ("2026-07-28", 37)];

/// Scenarios that call nothing by a name of the suite's own.
const WITHOUT_FIXTURES: [(&str, &[&str]); 2] = [
    (
        "2025-11-25",
        &[
            "dns-rebinding-protection",
            "ping",
            "prompts-list",
            "resources-list",
            "server-initialize",
            "server-sse-multiple-streams",
            "tools-list",
        ],
    ),
    (
        "2026-07-28",
        &[
            "caching",
            "dns-rebinding-protection",
            "input-required-result-unsupported-methods",
            "prompts-list",
            "resources-list",
            "sep-2164-resource-not-found",
            "server-sse-multiple-streams",
            "server-stateless",
            "tools-list",
        ],
    ),
];

/// With what the suite calls by name mounted on the server, both frozen sets of requirements are kept whole: every
/// scenario runs, and no check of it fails, warns or is left out.
#[test]
fn both_requirement_sets_are_kept_whole() {
    let suite = Suite::get();
    let server = Server::with_fixtures(suite);
    let mut report = Report::new("with the fixtures of the suite");
    let mut not_conforming = Vec::new();
    for (revision, count) in SETS {
        let required = suite.required(revision);
        assert_eq!(required.len(), count, "the set of {revision} is frozen: {required:?}");
        let outcomes = suite.run(revision, &server);
        report.add(revision, &required, |scenario| match outcomes.scenarios.get(scenario) {
            Some(checks) => checks
                .iter()
                .find(|check| !check.is_passed())
                .map_or(Ok(checks.len()), |check| Err(check.to_string())),
            None => Err("it did not run".to_owned()),
        });
        if !outcomes.conforms {
            not_conforming.push(revision);
        }
    }
    server.ends();
    report.is_good();
    assert!(not_conforming.is_empty(), "the suite itself says that {not_conforming:?} are not kept");
}

/// The server as it ships passes what needs no fixtures, with every check that does not ask for one.
#[test]
fn what_ships_passes_what_needs_no_fixtures() {
    let suite = Suite::get();
    let server = Server::as_shipped();
    let mut report = Report::new("as it ships, without fixtures");
    for (revision, scenarios) in WITHOUT_FIXTURES {
        let scenarios: Vec<String> = scenarios.iter().map(|&scenario| scenario.to_owned()).collect();
        let outcomes = suite.run(revision, &server);
        report.add(revision, &scenarios, |scenario| match outcomes.scenarios.get(scenario) {
            Some(checks) => match checks.iter().find(|check| !check.is_passed() && !check.lacks_fixture()) {
                Some(check) => Err(check.to_string()),
                None => Ok(checks.iter().filter(|check| check.is_passed()).count()),
            },
            None => Err("it did not run".to_owned()),
        });
    }
    server.ends();
    report.is_good();
}
