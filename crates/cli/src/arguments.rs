//! The command line.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pyro::AcceleratorChoice;

pub(crate) mod host;
pub(crate) mod mcp;
pub(crate) mod workspace;

pub(crate) use host::Host;
pub(crate) use mcp::{Mcp, McpProfile, McpServe};
pub(crate) use workspace::Workspace;

/// Disposable computers for coding agents: a fresh Linux microVM in a blink.
#[derive(Debug, Parser)]
#[command(name = "pyro", version, disable_help_subcommand = false, max_term_width = 100)]
pub(crate) struct Arguments {
    /// How guests run: `auto` uses KVM where a guest has really run on it, emulation elsewhere
    /// [env: PYRO_ACCELERATOR]
    #[arg(long, global = true, value_enum, value_name = "auto|kvm|tcg", hide_possible_values = true)]
    pub(crate) accelerator: Option<Accelerator>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Values of `--accelerator`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Accelerator {
    Auto,
    Kvm,
    Tcg,
}

impl From<Accelerator> for AcceleratorChoice {
    fn from(value: Accelerator) -> Self {
        match value {
            Accelerator::Auto => AcceleratorChoice::Auto,
            Accelerator::Kvm => AcceleratorChoice::Kvm,
            Accelerator::Tcg => AcceleratorChoice::Tcg,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell what this machine can do, and what to do about what it cannot
    Doctor(Doctor),
    /// List, pull, inspect and remove environments
    #[command(subcommand, visible_alias = "environment")]
    Env(Env),
    /// Run one command in a fresh VM that is gone afterwards
    Run(Run),
    /// Work in computers that stay: exec, sync, diff, apply, export, snapshot, reset, fork
    #[command(subcommand, visible_alias = "ws")]
    Workspace(Workspace),
    /// Give models the tools: an MCP server
    #[command(subcommand)]
    Mcp(Mcp),
    /// Look after the VMs that wait for the next `run` or `workspace create`
    #[command(subcommand)]
    Pool(Pool),
    /// Give back the space that nothing needs any more: templates, images, layers, memories
    Gc(Gc),
    /// Prove create, start, exec and delete end to end, and tell how long each takes
    Demo(Demo),
    /// Measure this machine: cold boot, template fork, run, exec, snapshot, reset, fork
    Bench(Bench),
    /// Set MCP hosts up to start `pyro mcp serve`: Claude Code, Codex, OpenCode, Cursor
    #[command(subcommand)]
    Host(Host),
    /// Print the completion script of a shell
    Completions(Completions),
    /// The supervisor of one VM; started by other commands
    #[command(hide = true)]
    Shim,
    /// Fills the pool; started by other commands at their end
    #[command(hide = true)]
    Refill(Refill),
}

/// What the pool is filled with.
#[derive(Args, Debug)]
pub(crate) struct Refill {
    pub(crate) environment: String,
    pub(crate) vcpu_count: u64,
    pub(crate) mem_mib: u64,
}

#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Try a VM of this environment
    #[arg(long, value_name = "ENVIRONMENT", default_value = "debian:12")]
    pub(crate) environment: String,
    /// Mend what can be mended without root: leftovers, damaged caches, verdicts that are out of date
    #[arg(long)]
    pub(crate) fix: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Env {
    /// List the catalog
    #[command(visible_alias = "ls")]
    List {
        /// Tell how much room each takes for itself, and together with others
        #[arg(long)]
        sizes: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Install an environment
    Pull {
        /// Its name, such as debian:12
        environment: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show an installed environment
    Inspect {
        /// Its name
        environment: String,
        /// Print one JSON object, with every package
        #[arg(long)]
        json: bool,
    },
    /// Remove an installed environment and the templates made of it
    #[command(visible_alias = "rm")]
    Remove {
        /// Its name
        environment: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Remove what nothing uses: leftovers, old kernels, old templates, layers of deleted snapshots
    Prune {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// `PYRO_POOL` says how many VMs wait; 0 switches the pool off [default: 2]
#[derive(Debug, Subcommand)]
pub(crate) enum Pool {
    /// Show the VMs that wait
    Status {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Fill the pool with VMs of one environment and size, and wait until they are ready
    Fill(PoolFill),
    /// End every VM that waits
    Drain {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct PoolFill {
    /// The environment; pulled when it is not installed
    #[arg(default_value = "debian:12")]
    pub(crate) environment: String,
    #[command(flatten)]
    pub(crate) sizing: Sizing,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Gc {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Size and life of a VM.
#[derive(Args, Debug)]
pub(crate) struct Sizing {
    /// Virtual processors
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub(crate) vcpu_count: u64,
    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub(crate) mem_mib: u64,
}

/// How a command runs.
#[derive(Args, Debug)]
pub(crate) struct Execute {
    /// Kill the command after so many seconds; the exit code is then 124
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) timeout_seconds: u64,
    /// Hand standard input to the command
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Run the command on a terminal
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) tty: bool,
    /// Set a variable, or hand on one of this environment by its name
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<OsString>,
    /// User in the guest: name or uid, with an optional :group
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
}

#[derive(Args, Debug)]
#[command(override_usage = "pyro run [OPTIONS] <ENVIRONMENT> -- <COMMAND>...")]
pub(crate) struct Run {
    /// The environment, such as debian:12; pulled when it is not installed
    pub(crate) environment: String,
    #[command(flatten)]
    pub(crate) sizing: Sizing,
    #[command(flatten)]
    pub(crate) execute: Execute,
    /// End the VM so many seconds after its start, whatever it does
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) ttl_seconds: u64,
    /// Give the guest a network
    #[arg(long)]
    pub(crate) network: bool,
    /// Working directory in the guest
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<OsString>,
    /// Print one JSON object instead of the command's output
    #[arg(long)]
    pub(crate) json: bool,
    /// Tell on standard error what each step took
    #[arg(long)]
    pub(crate) timings: bool,
    /// The command, behind `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// The environment
    #[arg(long, default_value = "debian:12")]
    pub(crate) environment: String,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// The environment
    #[arg(long, default_value = "debian:12")]
    pub(crate) environment: String,
    /// Samples of everything but the cold boot, of which a tenth is taken
    #[arg(long, value_name = "COUNT", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) samples: u32,
    /// Also push and compare large trees, which takes minutes; of pushes, a tenth of the samples is taken
    #[arg(long)]
    pub(crate) trees: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    /// The definition is sound: no two flags collide, no default is invalid.
    #[test]
    fn definition_is_sound() {
        super::Arguments::command().debug_assert();
    }
}
