//! The arguments of `pyro host`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::mcp::McpProfile;

#[derive(Debug, Subcommand)]
pub(crate) enum Host {
    /// Set a host up to start `pyro mcp serve`
    Connect(Change),
    /// Print the piece of configuration, to be copied by hand
    PrintConfig(PrintConfig),
    /// Tell whether a host is set up, and whether the server that it would start answers
    Doctor(Examine),
    /// Mend an entry: the program's path, its arguments and time limits; all else stays
    Repair(Change),
}

/// A program that starts MCP servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HostName {
    ClaudeCode,
    Codex,
    Opencode,
    Cursor,
}

/// Which of a host's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    /// For all projects of this person
    User,
    /// For one project, in a file of it
    Project,
}

/// A host, and which file of it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// The host
    #[arg(value_enum)]
    pub(crate) host: HostName,
    /// Whose configuration: this person's, or the project's
    #[arg(
        long,
        value_enum,
        default_value = "user",
        hide_possible_values = true,
        value_name = "user|project"
    )]
    pub(crate) scope: Scope,
}

/// What `mcp serve` is told.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Serve {
    /// Offer the tools of this profile
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        value_name = "vm-run|workspace-core|workspace-full"
    )]
    pub(crate) profile: Option<McpProfile>,
    /// Have the server work on this directory, instead of the git checkout that it is started in
    #[arg(long, value_name = "DIR")]
    pub(crate) project_path: Option<PathBuf>,
    /// Let the server read and write this directory too; can be given several times
    #[arg(long = "allow-path", value_name = "DIR")]
    pub(crate) allow_paths: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Change {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) serve: Serve,
    /// Show what would change, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct PrintConfig {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

#[derive(Args, Debug)]
pub(crate) struct Examine {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The project, instead of the git checkout of this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) project_path: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
