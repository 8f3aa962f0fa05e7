//! How each host writes an entry, and where.
//!
//! Sources: the hosts' documentation of November 2026, named in `docs/hosts.md`.

use serde_json::{Value, json};

use super::document::{Document, Fault, Fields, wrong_type};
use super::limits::{CALL_SECONDS, START_SECONDS};
use super::wanted::Invocation;
use crate::arguments::host::HostName;

/// The name of our entry.
const NAME: &str = "pyro";

/// What Codex hands on to a server only when it is told to: where pyro's things are. A server with another runtime
/// directory than the command line would not find its workspaces.
const FORWARDED: [&str; 10] = [
    "PYRO_ACCELERATOR",
    "PYRO_CACHE_DIR",
    "PYRO_POOL",
    "PYRO_QEMU",
    "PYRO_RUNTIME_DIR",
    "PYRO_STATE_DIR",
    "PYRO_TRANSPORT",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `mcpServers` of Claude Code and Cursor.
    Servers,
    /// `mcp_servers` of Codex.
    Codex,
    /// `mcp` of OpenCode, which its releases 1 and 2 read.
    Opencode,
    /// `mcp.servers` of OpenCode 2.
    OpencodeNative,
}

/// Where an entry is, or would be.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) shape: Shape,
    pub(super) path: Vec<&'static str>,
    pub(super) value: Option<Value>,
}

/// What an entry says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Option<Value>,
    /// A server that runs already, of which the host starts none.
    pub(super) url: Option<String>,
    pub(super) command: Option<String>,
    pub(super) arguments: Option<Vec<String>>,
    /// Variables that the host sets.
    pub(super) variables: Vec<(String, String)>,
    /// Variables of its own that the host hands on, where it does not hand all on.
    pub(super) forwarded: Option<Vec<String>>,
    pub(super) directory: Option<String>,
    pub(super) switched_off: bool,
}

impl Shape {
    /// Finds the entry. A file that has OpenCode 2's own shape is kept in it; its own entry goes before the other.
    pub(super) fn locate(host: HostName, document: &Document) -> Result<Located, Fault> {
        let places: Vec<(Shape, Vec<&'static str>)> = match host {
            HostName::ClaudeCode | HostName::Cursor => vec![(Shape::Servers, vec!["mcpServers", NAME])],
            HostName::Codex => vec![(Shape::Codex, vec!["mcp_servers", NAME])],
            HostName::Opencode => {
                let old = (Shape::Opencode, vec!["mcp", NAME]);
                match document.get(&["mcp", "servers"])? {
                    // A server of the old shape that is called so.
                    Some(Value::Object(servers)) if !servers.contains_key("type") => {
                        vec![(Shape::OpencodeNative, vec!["mcp", "servers", NAME]), old]
                    }
                    _ => vec![old],
                }
            }
        };
        for (shape, path) in &places {
            match document.get(path)? {
                None => {}
                Some(value) if value.is_object() => {
                    return Ok(Located { shape: *shape, path: path.clone(), value: Some(value.clone()) });
                }
                Some(value) => return Err(wrong_type(path, value)),
            }
        }
        let (shape, path) = places.into_iter().next().ok_or(Fault::Entangled)?;
        Ok(Located { shape, path, value: None })
    }

    /// A whole entry.
    pub(super) fn fields(self, invocation: &Invocation) -> Fields {
        let mut fields = vec![("type", json!(self.kind()))];
        if self == Shape::Codex {
            fields.clear();
        }
        fields.extend(self.invocation(invocation, true, true));
        match self {
            Shape::Servers => fields.push(("env", json!({}))),
            Shape::Codex => {
                fields.push(("env_vars", json!(FORWARDED)));
                fields.push(("startup_timeout_sec", json!(START_SECONDS)));
            }
            Shape::Opencode => fields.push(("enabled", json!(true))),
            Shape::OpencodeNative => {}
        }
        fields.extend(self.limits());
        fields
    }

    /// The fields that say what is started.
    pub(super) fn invocation(self, invocation: &Invocation, command: bool, arguments: bool) -> Fields {
        let mut fields = Fields::new();
        match self {
            Shape::Servers | Shape::Codex => {
                if command {
                    fields.push(("command", json!(invocation.command)));
                }
                if arguments {
                    fields.push(("args", json!(invocation.arguments)));
                }
            }
            Shape::Opencode | Shape::OpencodeNative => {
                if command || arguments {
                    let words: Vec<&String> =
                        std::iter::once(&invocation.command).chain(&invocation.arguments).collect();
                    fields.push(("command", json!(words)));
                }
            }
        }
        fields
    }

    /// Time limits that have to be set because the host's own are too short: Codex gives a call 60 s, and so does
    /// OpenCode 1. Claude Code gives 28 hours, OpenCode 2 twelve; Cursor has nothing to set.
    pub(super) fn limits(self) -> Fields {
        match self {
            Shape::Codex => vec![("tool_timeout_sec", json!(CALL_SECONDS))],
            Shape::Opencode => vec![("timeout", json!(CALL_SECONDS * 1000))],
            Shape::Servers | Shape::OpencodeNative => Vec::new(),
        }
    }

    /// The type that a host wants to read, or may leave out.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Shape::Servers | Shape::Codex => "stdio",
            Shape::Opencode | Shape::OpencodeNative => "local",
        }
    }

    pub(super) fn needs_kind(self) -> bool {
        matches!(self, Shape::Opencode | Shape::OpencodeNative)
    }

    /// Reads an entry; what is of another type than it should be is as good as missing.
    pub(super) fn read(self, value: &Value) -> Entry {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let flag = |name: &str| value.get(name).and_then(Value::as_bool);
        let mut words = value.get("args").and_then(texts);
        let mut command = text("command");
        let mut variables = "env";
        if self.needs_kind() {
            variables = "environment";
            let mut line = value.get("command").and_then(texts).unwrap_or_default().into_iter();
            command = line.next();
            words = command.is_some().then(|| line.collect());
        } else if command.is_some() && value.get("args").is_none() {
            words = Some(Vec::new());
        }
        let variables = value.get(variables).and_then(Value::as_object).into_iter().flatten();
        let forwarded = || {
            let names = value.get("env_vars").and_then(Value::as_array).into_iter().flatten();
            let text = |name: &Value| name.as_str().or_else(|| name.get("name")?.as_str()).map(str::to_owned);
            names.filter_map(text).collect()
        };
        Entry {
            kind: value.get("type").cloned(),
            url: text("url"),
            command,
            arguments: words,
            variables: variables
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect(),
            forwarded: (self == Shape::Codex).then(forwarded),
            directory: text("cwd"),
            switched_off: flag("enabled") == Some(false) || flag("disabled") == Some(true),
        }
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|word| word.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::host_kind::Format;
    use super::*;

    fn located(host: HostName, format: Format, text: &str) -> Located {
        Shape::locate(host, &Document::parse(format, text.as_bytes()).unwrap()).unwrap()
    }

    fn opencode(text: &str) -> (Shape, String, bool) {
        let located = located(HostName::Opencode, Format::JsonWithComments, text);
        (located.shape, located.path.join("."), located.value.is_some())
    }

    /// OpenCode's files keep the shape they have; its second release reads both, and its own shape first.
    #[test]
    fn both_shapes_of_opencode_are_known() {
        assert_eq!(opencode("{}"), (Shape::Opencode, "mcp.pyro".into(), false));
        assert_eq!(opencode("{\"mcp\": {\"pyro\": {}}}"), (Shape::Opencode, "mcp.pyro".into(), true));
        let native = "{\"mcp\": {\"servers\": {}}}";
        assert_eq!(opencode(native), (Shape::OpencodeNative, "mcp.servers.pyro".into(), false));
        let both = "{\"mcp\": {\"pyro\": {}, \"servers\": {\"pyro\": {}}}}";
        assert_eq!(opencode(both), (Shape::OpencodeNative, "mcp.servers.pyro".into(), true));
        let old_in_native = "{\"mcp\": {\"pyro\": {}, \"servers\": {}}}";
        assert_eq!(opencode(old_in_native), (Shape::Opencode, "mcp.pyro".into(), true));
        let called_servers = "{\"mcp\": {\"servers\": {\"type\": \"local\"}}}";
        assert_eq!(opencode(called_servers), (Shape::Opencode, "mcp.pyro".into(), false));
    }

    /// What is written is read back the same, in every shape.
    #[test]
    fn entries_are_read_back() {
        let invocation = Invocation { command: "/p".into(), arguments: vec!["mcp".into(), "serve".into()] };
        for shape in [Shape::Servers, Shape::Codex, Shape::Opencode, Shape::OpencodeNative] {
            let fields = shape.fields(&invocation);
            let value = Value::Object(fields.into_iter().map(|(name, value)| (name.into(), value)).collect());
            let entry = shape.read(&value);
            assert_eq!(entry.command.as_deref(), Some("/p"), "{shape:?}");
            assert_eq!(entry.arguments.as_deref(), Some(invocation.arguments.as_slice()), "{shape:?}");
            assert!(!entry.switched_off && entry.variables.is_empty());
            let forwarded = (shape == Shape::Codex).then(|| FORWARDED.map(str::to_owned).to_vec());
            assert_eq!(entry.forwarded, forwarded, "{shape:?}");
        }
    }

    /// Entries of other hands are read as far as they can be.
    #[test]
    fn odd_entries_are_read() {
        let entry = Shape::Codex.read(&json!({
            "command": "x", "env": {"A": "1", "B": 2}, "env_vars": ["C", {"name": "D"}, 1], "enabled": false
        }));
        assert_eq!(entry.arguments, Some(vec![]));
        assert_eq!(entry.variables, [("A".to_owned(), "1".to_owned())]);
        assert_eq!(entry.forwarded, Some(vec!["C".to_owned(), "D".to_owned()]));
        assert!(entry.switched_off);
        assert_eq!(
            Shape::Opencode.read(&json!({"type": "local", "command": "pyro mcp serve"})).command,
            None
        );
        assert_eq!(Shape::Servers.read(&json!({"command": "x", "args": "mcp"})).arguments, None);
    }
}
