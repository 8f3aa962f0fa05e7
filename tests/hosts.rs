//! MCP hosts: their configuration files, and the servers that they start.

mod servers;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::{Call, Machine, PYRO};

/// Every host with its user's file.
const FILES: [(&str, &str); 4] = [
    ("claude-code", ".claude.json"),
    ("codex", ".codex/config.toml"),
    ("opencode", ".config/opencode/opencode.json"),
    ("cursor", ".cursor/mcp.json"),
];

fn home(machine: &Machine) -> PathBuf {
    machine.root().join("home")
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A call of `pyro host`, from a directory that is no checkout, with no host's program in reach.
fn host(machine: &Machine, words: &[&str]) -> Call {
    machine.pyro(["host"].iter().chain(words)).env("PATH", "/usr/bin:/bin").inside(&home(machine))
}

/// Cursor's file with an entry that starts this.
fn cursor_starts(machine: &Machine, command: &Path) {
    let command = command.to_str().unwrap();
    let text =
        format!(r#"{{"mcpServers": {{"pyro": {{"command": "{command}", "args": ["mcp", "serve"]}}}}}}"#);
    write(&home(machine).join(".cursor/mcp.json"), &text);
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_host_is_set_up_once() {
    // Promise: `connect` writes what `print-config` prints where each host reads it; a second run writes nothing.
    let machine = Machine::empty();
    for (name, file) in FILES {
        let path = home(&machine).join(file);
        let printed = host(&machine, &["print-config", name]).finish().exits(0).out();
        assert!(printed.contains(PYRO), "{printed}");
        host(&machine, &["connect", name]).finish().exits(0).tells("Changed: yes\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), printed);
        let again = host(&machine, &["connect", name]).finish();
        again.exits(0).tells("Changed: no, it is set up already\n");
        assert!(!again.out().contains("Backup:"));
        assert_eq!(names(path.parent().unwrap()).iter().filter(|name| name.contains("backup")).count(), 0);
        host(&machine, &["repair", name]).finish().exits(0).tells("Changed: no, there is nothing to mend\n");
    }
}

#[test]
fn a_project_has_files_of_its_own() {
    // Promise: `--scope project` writes the file of the git checkout one is in, or of the directory one names.
    let machine = Machine::empty();
    let project = machine.root().join("project");
    fs::create_dir_all(project.join(".git")).unwrap();
    fs::create_dir_all(project.join("deep")).unwrap();
    let files = [".mcp.json", ".codex/config.toml", "opencode.json", ".cursor/mcp.json"];
    for ((name, _), file) in FILES.into_iter().zip(files) {
        let connect = ["connect", name, "--scope", "project"];
        host(&machine, &connect).inside(&project.join("deep")).finish().exits(0).tells("Changed: yes\n");
        let text = fs::read_to_string(project.join(file)).unwrap();
        assert_eq!(text.contains("${workspaceFolder}"), name == "cursor", "{text}");
    }
    let other = machine.root().join("other");
    fs::create_dir(&other).unwrap();
    let named = ["connect", "codex", "--scope", "project", "--project-path", "../other"];
    host(&machine, &named).finish().exits(0);
    let text = fs::read_to_string(other.join(".codex/config.toml")).unwrap();
    assert!(
        text.contains(&format!("\"--project-path\", \"{}\"", other.canonicalize().unwrap().display())),
        "{text}"
    );
}

#[test]
fn flags_reach_the_server() {
    // Promise: what `mcp serve` is to be told stands in the entry; with other flags a connect names the difference.
    let machine = Machine::empty();
    let connect = |flags: &[&str]| host(&machine, &[&["connect", "opencode"], flags].concat()).finish();
    let flags = ["--profile", "vm-run", "--allow-path", "/usr", "--allow-path", "."];
    connect(&flags).exits(0).tells("mcp serve --profile vm-run --allow-path /usr --allow-path /");
    connect(&flags).exits(0).tells("it is set up already");
    connect(&[]).exits(0).tells("it is set up already");
    let refused = connect(&["--profile", "workspace-full"]);
    refused
        .exits(1)
        .explains(&["`args` is [\"mcp\",\"serve\",\"--profile\",\"vm-run\""])
        .explains(&["pyro host repair opencode"]);
    host(&machine, &["repair", "opencode", "--profile", "workspace-full"])
        .finish()
        .exits(0)
        .tells("mcp serve --profile workspace-full\n");
    connect(&["--allow-path", "/nowhere"]).exits(2).explains(&["/nowhere is not a directory"]);
    connect(&["--profile", "all"]).exits(2);
}

#[test]
fn what_others_wrote_stays() {
    // Promise: comments, order, formatting, other servers and unknown keys stay, and the old file is kept beside.
    let machine = Machine::empty();
    let path = home(&machine).join(".codex/config.toml");
    let old = "# mine\nmodel   = \"m\"\n\n[mcp_servers.other]\ncommand = 'x' # why\n\n# end\n";
    write(&path, old);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let backup = home(&machine).join(".codex/config.toml.pyro-backup-1");
    let told = format!("Backup: {}\n", backup.display());
    host(&machine, &["connect", "codex"]).finish().exits(0).tells(&told);
    let new = fs::read_to_string(&path).unwrap();
    assert!(new.starts_with(&format!("{old}\n[mcp_servers.pyro]\n")), "{new}");
    assert_eq!(fs::read_to_string(&backup).unwrap(), old);
    for file in [&path, &backup] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o640);
    }
    assert_eq!(names(path.parent().unwrap()), ["config.toml", "config.toml.pyro-backup-1"]);
}

#[test]
fn a_dry_run_shows_and_writes_nothing() {
    // Promise: `--dry-run` shows the lines that would change, and nothing of the others, which may be secret.
    let machine = Machine::empty();
    let path = home(&machine).join(".cursor/mcp.json");
    let old = "{\n  \"mcpServers\": {\n    \"other\": { \"env\": { \"KEY\": \"secret\" } }\n  },\n  \"last\": 1\n}\n";
    write(&path, old);
    let shown = host(&machine, &["connect", "cursor", "--dry-run"]).finish();
    shown.exits(0).tells("Changed: no, this was a dry run\n@@ line 3 @@\n").tells("\n+    \"pyro\": {\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), old);
    assert_eq!(names(path.parent().unwrap()), ["mcp.json"]);
    host(&machine, &["connect", "codex", "--dry-run"]).finish().exits(0).tells("+[mcp_servers.pyro]\n");
    assert!(!home(&machine).join(".codex").exists());
}

#[test]
fn an_entry_of_another_hand_is_refused_and_mended() {
    // Promise: `connect` does not touch an entry that differs; `repair` mends it and keeps what a person added.
    let machine = Machine::empty();
    let path = home(&machine).join(".config/opencode/opencode.jsonc");
    let old = r#"{
  "mcp": {
    // moved last year
    "pyro": {
      "type": "local",
      "command": ["/old/pyro", "mcp", "serve", "--old"],
      "environment": { "PYRO_POOL": "0" }, // mine
      "timeout": 120000,
      "x-mine": [1, 2],
    },
  },
}
"#;
    write(&path, old);
    let refused = host(&machine, &["connect", "opencode"]).finish();
    refused
        .exits(1)
        .explains(&["`command` is \"/old/pyro\", not "])
        .explains(&["`args` is [\"mcp\",\"serve\",\"--old\"]"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), old);
    let mended = host(&machine, &["repair", "opencode"]).finish();
    mended.exits(0).tells("- mended `command` is \"/old/pyro\"").tells("Backup: ");
    let line = format!(r#""command": ["{PYRO}", "mcp", "serve"]"#);
    let expected = old.replace(r#""command": ["/old/pyro", "mcp", "serve", "--old"]"#, &line);
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
}

#[test]
fn opencode_2_keeps_its_shape() {
    // Promise: a file in the shape of OpenCode 2 gets an entry in that shape, which has neither `enabled` nor a
    // number for `timeout`.
    let machine = Machine::empty();
    let path = home(&machine).join("own.jsonc");
    write(&path, "{\n  \"mcp\": {\n    \"servers\": {}\n  }\n}\n");
    let connect = || host(&machine, &["connect", "opencode"]).env("OPENCODE_CONFIG", &path).finish();
    connect().exits(0).tells("Entry: mcp.servers.pyro\n");
    connect().exits(0).tells("it is set up already");
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("\"type\": \"local\"") && !text.contains("enabled") && !text.contains("timeout"),
        "{text}"
    );
}

#[test]
fn files_that_cannot_be_read_stay_as_they_are() {
    // Promise: what is no JSON or TOML, or of the wrong form, is refused by line and column, and not touched.
    let machine = Machine::empty();
    let cases = [
        ("claude-code", ".claude.json", "{\n  \"a\": 1,\n}\n", "line 2, column 9"),
        ("claude-code", ".claude.json", "{ // comments are not JSON\n}", "line 1, column 3"),
        ("cursor", ".cursor/mcp.json", "{\"mcpServers\": {", "line 1, column "),
        ("codex", ".codex/config.toml", "a = 1\n[b\n", "line 2, column 3"),
        ("codex", ".codex/config.toml", "mcp_servers = 1\n", "`mcp_servers` is a number, not an object"),
        ("cursor", ".cursor/mcp.json", "[]", "the whole of it is an array, not an object"),
        ("opencode", ".config/opencode/opencode.json", "{\"mcp\": []}", "`mcp` is an array, not an object"),
        ("claude-code", ".claude.json", "{\"mcpServers\": {\"pyro\": 1}}", "`mcpServers.pyro` is a number"),
    ];
    for (name, file, text, why) in cases {
        let path = home(&machine).join(file);
        write(&path, text);
        for verb in ["connect", "repair"] {
            host(&machine, &[verb, name]).finish().exits(125).explains(&[why]);
        }
        host(&machine, &["doctor", name]).finish().exits(1).tells("Setup: FAIL\n- issue ").tells(why);
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(names(path.parent().unwrap()).iter().filter(|name| name.contains("pyro")).count(), 0);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn odd_files_are_written_with_care() {
    // Promise: a link of a dotfile manager is written through, a read-only file is respected, a mark stays.
    let machine = Machine::empty();
    let dotfile = machine.root().join("dotfiles/mcp.json");
    write(&dotfile, "\u{feff}{\r\n}\r\n");
    fs::create_dir(home(&machine).join(".cursor")).unwrap();
    let link = home(&machine).join(".cursor/mcp.json");
    symlink("../../dotfiles/mcp.json", &link).unwrap();
    host(&machine, &["connect", "cursor"]).finish().exits(0).tells("mcp.json -> ");
    assert!(link.is_symlink());
    let text = fs::read_to_string(&dotfile).unwrap();
    assert!(text.starts_with("\u{feff}{\r\n  \"mcpServers\": {\r\n") && text.ends_with("}\r\n"), "{text:?}");

    let path = home(&machine).join(".claude.json");
    write(&path, "");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    let refused = host(&machine, &["connect", "claude-code"]).finish();
    refused.exits(125).explains(&["cannot be written: it is read-only; "]);
    assert_eq!(fs::read(&path).unwrap(), b"");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    host(&machine, &["connect", "claude-code"]).finish().exits(0);
    assert!(fs::read_to_string(&path).unwrap().contains("mcpServers"));
}

#[test]
fn without_a_home_nothing_is_guessed() {
    // Promise: without HOME a person's file is refused by name, a project's and a printed one need none.
    let machine = Machine::empty();
    let refused = host(&machine, &["connect", "codex", "--json"]).without("HOME").finish();
    assert!(refused.exits(125).out().contains("\"message\": \"HOME is not set\""), "{}", refused.out());
    host(&machine, &["print-config", "codex"]).without("HOME").finish().exits(0);
    host(&machine, &["connect", "codex", "--scope", "project"]).without("HOME").finish().exits(0);
    host(&machine, &["connect", "codex"]).without("HOME").env("CODEX_HOME", machine.root()).finish().exits(0);
    assert!(machine.root().join("config.toml").exists());
}

#[test]
fn json_says_all_of_it() {
    // Promise: `--json` gives one object with sorted keys.
    let machine = Machine::empty();
    let json = |words: &[&str]| -> serde_json::Value {
        let finished = host(&machine, words).finish();
        let text = finished.out();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(text.trim_end(), serde_json::to_string_pretty(&value).unwrap());
        value
    };
    let done = json(&["connect", "codex", "--json"]);
    assert_eq!((&done["changed"], &done["entry"]), (&true.into(), &"mcp_servers.pyro".into()));
    assert_eq!(done["command"], serde_json::json!([PYRO, "mcp", "serve"]));
    assert_eq!(json(&["connect", "codex", "--json"])["changed"], false);
    let examined = json(&["doctor", "cursor", "--json"]);
    assert_eq!((&examined["passes"], &examined["file_exists"]), (&false.into(), &false.into()));
    assert_eq!(examined["issues"][0]["fix"], "`pyro host connect cursor`");
}

#[test]
fn a_name_that_leads_here_will_do() {
    // Promise: an entry that says `pyro` is right as long as the search path leads to this program.
    let machine = Machine::empty();
    cursor_starts(&machine, Path::new("pyro"));
    let bin = machine.root().join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(PYRO, bin.join("pyro")).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let connect = |path: &str| host(&machine, &["connect", "cursor"]).env("PATH", path).finish();
    connect(&path).exits(0).tells("Command: pyro mcp serve\nChanged: no, it is set up already\n");
    connect("/usr/bin:/bin").exits(1).explains(&["`command` is \"pyro\", not "]);
    // And what is written is the link, which outlives an upgrade of what it leads to.
    let printed = host(&machine, &["print-config", "codex"]).env("PATH", path).finish();
    printed.exits(0).tells(&format!("command = \"{}\"\n", bin.join("pyro").display()));
}
