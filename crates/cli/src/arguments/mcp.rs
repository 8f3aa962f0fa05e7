//! `pyro mcp`

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum Mcp {
    /// Serve the tools of a profile over standard input and output, or over HTTP
    Serve(McpServe),
}

/// Values of `--profile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum McpProfile {
    /// One tool: a command in a fresh VM
    VmRun,
    /// What a chat about code needs
    WorkspaceCore,
    /// Everything
    WorkspaceFull,
}

#[derive(Args, Debug)]
pub(crate) struct McpServe {
    /// Which tools there are
    #[arg(long, value_enum, value_name = "PROFILE", default_value = "workspace-core")]
    pub(crate) profile: McpProfile,
    /// The directory that workspaces are made of, and changes brought to [default: the git checkout around here]
    #[arg(long, value_name = "DIR")]
    pub(crate) project_path: Option<PathBuf>,
    /// Another directory that may be read and written; can be given several times
    #[arg(long = "allow-path", value_name = "DIR")]
    pub(crate) allow_paths: Vec<PathBuf>,
    /// Serve HTTP at this address instead, such as 127.0.0.1:7717; port 0 takes any that is free
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) http: Option<SocketAddr>,
    /// Read the bearer token from this file; without, it is made and told [env: PYRO_MCP_TOKEN]
    #[arg(long, value_name = "FILE", requires = "http")]
    pub(crate) token_file: Option<PathBuf>,
    /// Listen where others than this machine reach it, in the clear
    #[arg(long, requires = "http")]
    pub(crate) allow_remote: bool,
    /// Another name that clients reach this machine by; can be given several times
    #[arg(long = "allow-host", value_name = "HOST[:PORT]", requires = "http")]
    pub(crate) allow_hosts: Vec<String>,
    /// A web site whose pages may speak to it; can be given several times
    #[arg(long = "allow-origin", value_name = "ORIGIN", requires = "http")]
    pub(crate) allow_origins: Vec<String>,
}
