//! The reference of the command line is the command line's own help. `UPDATE=1 cargo test -p pyro-cli reference`
//! writes it anew.

use std::fmt::Write;
use std::path::Path;

use crate::support::Machine;

const GROUPS: [&[&str]; 12] = [
    &[],
    &["env"],
    &["mcp"],
    &["pool"],
    &["workspace"],
    &["workspace", "sync"],
    &["workspace", "file"],
    &["workspace", "patch"],
    &["workspace", "snapshot"],
    &["workspace", "shell"],
    &["workspace", "service"],
    &["host"],
];

const COMMANDS: [&[&str]; 71] = [
    &[],
    &["doctor"],
    &["env"],
    &["env", "list"],
    &["env", "pull"],
    &["env", "inspect"],
    &["env", "remove"],
    &["env", "prune"],
    &["run"],
    &["workspace"],
    &["workspace", "create"],
    &["workspace", "list"],
    &["workspace", "status"],
    &["workspace", "update"],
    &["workspace", "logs"],
    &["workspace", "summary"],
    &["workspace", "exec"],
    &["workspace", "shell"],
    &["workspace", "shell", "open"],
    &["workspace", "shell", "list"],
    &["workspace", "shell", "read"],
    &["workspace", "shell", "write"],
    &["workspace", "shell", "signal"],
    &["workspace", "shell", "resize"],
    &["workspace", "shell", "close"],
    &["workspace", "shell", "attach"],
    &["workspace", "service"],
    &["workspace", "service", "start"],
    &["workspace", "service", "list"],
    &["workspace", "service", "status"],
    &["workspace", "service", "logs"],
    &["workspace", "service", "stop"],
    &["workspace", "service", "restart"],
    &["workspace", "sync"],
    &["workspace", "sync", "push"],
    &["workspace", "diff"],
    &["workspace", "apply"],
    &["workspace", "export"],
    &["workspace", "file"],
    &["workspace", "file", "list"],
    &["workspace", "file", "read"],
    &["workspace", "file", "write"],
    &["workspace", "patch"],
    &["workspace", "patch", "apply"],
    &["workspace", "snapshot"],
    &["workspace", "snapshot", "create"],
    &["workspace", "snapshot", "list"],
    &["workspace", "snapshot", "delete"],
    &["workspace", "reset"],
    &["workspace", "fork"],
    &["workspace", "start"],
    &["workspace", "stop"],
    &["workspace", "pause"],
    &["workspace", "resume"],
    &["workspace", "delete"],
    &["workspace", "gc"],
    &["mcp"],
    &["mcp", "serve"],
    &["pool"],
    &["pool", "status"],
    &["pool", "fill"],
    &["pool", "drain"],
    &["gc"],
    &["demo"],
    &["bench"],
    &["host"],
    &["host", "connect"],
    &["host", "print-config"],
    &["host", "doctor"],
    &["host", "repair"],
    &["completions"],
];

#[test]
fn docs_are_in_step_with_the_program() {
    // Promise: docs/reference/cli.md says what `--help` says, for every command.
    let machine = Machine::empty();
    let mut text = String::from(
        "# Command line\n\nWritten by a test from the program's own help; do not edit. \
         `UPDATE=1 cargo test -p pyro-cli reference` writes it anew.\n",
    );
    for command in COMMANDS {
        let words = command.iter().chain(&["--help"]);
        let help = machine.pyro(words).env("COLUMNS", "100").finish().exits(0).out();
        let title = ["pyro"].iter().chain(command).copied().collect::<Vec<_>>().join(" ");
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        write!(text, "\n## `{title}`\n\n```text\n{}\n```\n", help.join("\n").trim()).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "docs/reference/cli.md is out of step: run with UPDATE=1");
}

#[test]
fn no_command_is_missing_from_the_reference() {
    // Promise: a new command cannot be forgotten in the reference.
    let machine = Machine::empty();
    for group in GROUPS {
        let help = machine.pyro(group.iter().chain(&["--help"])).finish().exits(0).out();
        let commands =
            help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        for name in commands
            .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
            .filter(|name| !name.is_empty())
        {
            let path: Vec<&str> = group.iter().copied().chain([name]).collect();
            assert!(
                name == "help" || COMMANDS.contains(&path.as_slice()),
                "{path:?} is not in the reference"
            );
        }
    }
}
