//! The hosts: what they are called, what they run as, and how they read their files.

use crate::arguments::host::{HostName, Scope};

/// How a host reads its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// JSON to the letter: what is beyond it the host refuses too.
    Json,
    /// JSON with comments and trailing commas.
    JsonWithComments,
    Toml,
}

impl HostName {
    /// As it is called on the command line.
    pub(super) fn word(self) -> &'static str {
        match self {
            HostName::ClaudeCode => "claude-code",
            HostName::Codex => "codex",
            HostName::Opencode => "opencode",
            HostName::Cursor => "cursor",
        }
    }

    /// The host's own program.
    pub(super) fn program(self) -> &'static str {
        match self {
            HostName::ClaudeCode => "claude",
            HostName::Codex => "codex",
            HostName::Opencode => "opencode",
            HostName::Cursor => "cursor",
        }
    }

    pub(super) fn format(self) -> Format {
        match self {
            HostName::ClaudeCode => Format::Json,
            HostName::Opencode | HostName::Cursor => Format::JsonWithComments,
            HostName::Codex => Format::Toml,
        }
    }

    /// What a person does after the file was written.
    pub(super) fn next(self, scope: Scope) -> &'static str {
        match (self, scope) {
            (HostName::ClaudeCode, Scope::User) => "start Claude Code anew; `/mcp` in it shows pyro",
            (HostName::ClaudeCode, Scope::Project) => {
                "start Claude Code anew in the project and let it use the server; `/mcp` in it shows pyro"
            }
            (HostName::Codex, Scope::User) => "start Codex anew; `/mcp` in it shows pyro",
            (HostName::Codex, Scope::Project) => {
                "start Codex anew in the project, which it has to trust; `/mcp` in it shows pyro"
            }
            (HostName::Opencode, _) => "start OpenCode anew; `opencode mcp list` shows pyro",
            (HostName::Cursor, _) => "start Cursor anew; its settings show pyro under Tools & MCP",
        }
    }
}

impl Scope {
    pub(super) fn word(self) -> &'static str {
        match self {
            Scope::User => "user",
            Scope::Project => "project",
        }
    }
}
