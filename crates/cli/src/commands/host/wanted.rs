//! What an entry should start.

use std::path::Path;

use clap::Parser;
use pyro::Failure;

use super::command::{own_path, text};
use super::place::{Place, existing_directory};
use crate::arguments::host::{HostName, Scope, Serve};
use crate::arguments::{Arguments, Command, Mcp, McpProfile};
use crate::settings::HostSettings;

/// What every entry's arguments begin with.
const SERVE: [&str; 2] = ["mcp", "serve"];

/// Cursor's word for the directory that holds `.cursor`: it starts servers in another one.
pub(super) const CURSOR_PROJECT: &str = "${workspaceFolder}";

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invocation {
    pub(super) command: String,
    pub(super) arguments: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) invocation: Invocation,
    /// Whether these arguments were asked for, so that no others will do.
    exactly: bool,
}

impl Wanted {
    /// This program, with what `serve` asks for.
    pub(super) fn new(settings: &HostSettings, place: &Place, serve: &Serve) -> Result<Wanted, Failure> {
        let mut arguments = SERVE.map(str::to_owned).to_vec();
        let mut flag = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        if let Some(profile) = serve.profile {
            flag("--profile", word(profile).to_owned());
        }
        if (place.host, place.scope) == (HostName::Cursor, Scope::Project) {
            flag("--project-path", CURSOR_PROJECT.to_owned());
        } else if serve.project_path.is_some() {
            flag("--project-path", text(&place.project)?);
        }
        for path in &serve.allow_paths {
            flag("--allow-path", text(&existing_directory(settings, path)?)?);
        }
        let invocation = Invocation { command: own_path(settings)?, arguments };
        Ok(Wanted { invocation, exactly: *serve != Serve::default() })
    }

    /// Whether an entry's arguments will do: those that were asked for, or any that `mcp serve` takes.
    pub(super) fn accepts(&self, arguments: &[String]) -> bool {
        if self.exactly {
            return arguments == self.invocation.arguments;
        }
        let line = std::iter::once("pyro").chain(arguments.iter().map(String::as_str));
        match Arguments::try_parse_from(line).map(|parsed| parsed.command) {
            // A host speaks with what it starts over standard input and output.
            Ok(Command::Mcp(Mcp::Serve(serve))) => serve.http.is_none(),
            _ => false,
        }
    }
}

fn word(profile: McpProfile) -> &'static str {
    match profile {
        McpProfile::VmRun => "vm-run",
        McpProfile::WorkspaceCore => "workspace-core",
        McpProfile::WorkspaceFull => "workspace-full",
    }
}

/// What a host makes of an argument; nothing where only the host knows.
pub(super) fn expand(host: HostName, argument: &str, project: &Path, home: Option<&Path>) -> Option<String> {
    let mut expanded = argument.to_owned();
    if host == HostName::Cursor {
        expanded = expanded.replace(CURSOR_PROJECT, project.to_str()?);
        if let Some(home) = home {
            expanded = expanded.replace("${userHome}", home.to_str()?);
        }
    }
    let variable = match host {
        HostName::ClaudeCode | HostName::Cursor => Some("${"),
        HostName::Opencode => Some("{env:"),
        HostName::Codex => None,
    };
    match variable {
        Some(mark) if expanded.contains(mark) => None,
        _ => Some(expanded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(host: HostName, scope: Scope, serve: &Serve) -> Wanted {
        let settings = HostSettings {
            program: "/bin/sh".into(),
            search_path: "/nowhere".into(),
            current_directory: "/tmp".into(),
            ..HostSettings::default()
        };
        let place = Place { host, scope, file: "/f".into(), project: "/tmp".into() };
        Wanted::new(&settings, &place, serve).unwrap()
    }

    fn line(wanted: &Wanted) -> String {
        wanted.invocation.arguments.join(" ")
    }

    fn accepts(wanted: &Wanted, line: &str) -> bool {
        wanted.accepts(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    /// Flags are handed on in one order, with absolute paths.
    #[test]
    fn flags_are_handed_on() {
        let serve = Serve {
            profile: Some(McpProfile::WorkspaceFull),
            project_path: Some(".".into()),
            allow_paths: vec!["/usr".into(), "/".into()],
        };
        assert_eq!(
            line(&wanted(HostName::Codex, Scope::User, &serve)),
            "mcp serve --profile workspace-full --project-path /tmp --allow-path /usr --allow-path /"
        );
        let cursor = wanted(HostName::Cursor, Scope::Project, &Serve::default());
        assert_eq!(line(&cursor), "mcp serve --project-path ${workspaceFolder}");
    }

    /// Asked for nothing, all that `mcp serve` takes will do; asked for something, only that.
    #[test]
    fn arguments_of_others_are_judged() {
        let open = wanted(HostName::Codex, Scope::User, &Serve::default());
        for good in ["mcp serve", "mcp serve --profile vm-run", "mcp serve --allow-path /a --allow-path=/b"] {
            assert!(accepts(&open, good), "{good}");
        }
        for bad in [
            "",
            "mcp",
            "serve mcp",
            "mcp serve --old",
            "mcp serve --profile none",
            "mcp serve x",
            "mcp serve --http 127.0.0.1:0",
        ] {
            assert!(!accepts(&open, bad), "{bad}");
        }
        let serve = Serve { profile: Some(McpProfile::VmRun), ..Serve::default() };
        let exact = wanted(HostName::Codex, Scope::User, &serve);
        assert!(accepts(&exact, "mcp serve --profile vm-run") && !accepts(&exact, "mcp serve"));
    }

    /// Variables of hosts are known, or known to be unknown.
    #[test]
    fn variables_of_hosts_are_expanded() {
        let expand = |host, text| expand(host, text, Path::new("/p"), Some(Path::new("/h")));
        assert_eq!(expand(HostName::Cursor, "${workspaceFolder}/a").unwrap(), "/p/a");
        assert_eq!(expand(HostName::Cursor, "${userHome}").unwrap(), "/h");
        assert_eq!(expand(HostName::Cursor, "${env:X}"), None);
        assert_eq!(expand(HostName::ClaudeCode, "${PYRO:-pyro}"), None);
        assert_eq!(expand(HostName::Opencode, "{env:X}"), None);
        assert_eq!(expand(HostName::Codex, "${X}").unwrap(), "${X}");
    }
}
