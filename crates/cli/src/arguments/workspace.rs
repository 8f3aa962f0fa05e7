//! The arguments of `pyro workspace`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Execute, Sizing};

mod services;
mod shells;
mod snapshots;

pub(crate) use services::{Service, ServiceLogs, ServiceOne, ServiceRestart, ServiceStart, ServiceStop};
pub(crate) use shells::{
    Shell, ShellClose, ShellOne, ShellOpen, ShellRead, ShellResize, ShellSignal, ShellWrite,
};
pub(crate) use snapshots::{Fork, Reset, Snapshot, SnapshotCreate, SnapshotDelete};

#[derive(Debug, Subcommand)]
pub(crate) enum Workspace {
    /// Make a workspace, from nothing, a directory or an archive
    Create(Create),
    /// List workspaces
    #[command(visible_alias = "ls")]
    List(List),
    /// Show one workspace
    Status(One),
    /// Change a workspace's name, labels or time to live
    Update(Update),
    /// Show every command of a workspace with its output, or one, or follow one that runs
    Logs(Logs),
    /// Review what happened in a workspace, on one page
    Summary(Connected),
    /// Run a command in a workspace
    Exec(Exec),
    /// Terminals that stay: open, read, write, sit at them
    #[command(subcommand)]
    Shell(Shell),
    /// Programs that are kept running: start, wait until they are ready, read their logs
    #[command(subcommand)]
    Service(Service),
    /// Bring host files into a workspace
    #[command(subcommand)]
    Sync(Sync),
    /// Show what changed since the workspace was made, as a patch that `git apply` takes
    Diff(Diff),
    /// Bring the changes back to a directory of the host
    Apply(Apply),
    /// Copy a file or directory of a workspace to the host
    Export(Export),
    /// List, read and write files of a workspace
    #[command(subcommand)]
    File(File),
    /// Work with patches
    #[command(subcommand)]
    Patch(Patch),
    /// Keep a workspace's whole computer under a name, list what is kept, delete it
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Set a workspace back to a snapshot, or to what it was made as
    Reset(Reset),
    /// Make copies of a workspace, from a snapshot or from the running one with its processes
    #[command(after_help = ALL_OR_NONE)]
    Fork(Fork),
    /// Start a workspace's VM; one that is paused goes on where it was
    Start(One),
    /// End a workspace's VM; its disk stays, the memory of a paused one goes
    Stop(One),
    /// End a workspace's VM and keep its memory
    Pause(One),
    /// Let a paused workspace go on where it was
    Resume(One),
    /// Remove workspaces with everything in them
    #[command(visible_alias = "rm")]
    Delete(Delete),
    /// Give back the space that no workspace needs any more
    Gc {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// What holds of several copies, and what does not.
const ALL_OR_NONE: &str = "All copies are made, or none, also when it fails or is interrupted. Killed outright (SIGKILL), it leaves those that were made by then: see `pyro workspace list`.";

/// A workspace, and how to report.
#[derive(Args, Debug)]
pub(crate) struct One {
    /// Its id, a unique beginning of it, or its name
    pub(crate) workspace: String,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// The same for commands that need its VM.
#[derive(Args, Debug)]
pub(crate) struct Connected {
    #[command(flatten)]
    pub(crate) one: One,
    /// Fail instead of starting a workspace that is stopped or paused
    #[arg(long)]
    pub(crate) no_start: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Create {
    /// The environment, such as debian:12; pulled when it is not installed
    pub(crate) environment: String,
    #[command(flatten)]
    pub(crate) sizing: Sizing,
    /// Stop the VM when it was not used for so many seconds; the disk stays
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) ttl_seconds: u64,
    /// Start from a directory, or a .tar, .tar.gz, .tgz, .tar.zst or .tar.xz archive
    #[arg(long, value_name = "PATH")]
    pub(crate) seed_path: Option<PathBuf>,
    /// Leave out what git ignores in a seed directory
    #[arg(long, value_enum, value_name = "RULES", requires = "seed_path")]
    pub(crate) seed_ignore: Option<SeedIgnore>,
    /// A name to call it by
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A label, to find it by
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,
    /// What the guest may reach: this release knows `off`
    #[arg(long, value_name = "POLICY", default_value = "off")]
    pub(crate) network_policy: String,
    /// Publish a port of the guest; not available yet
    #[arg(long, value_name = "PORT")]
    pub(crate) publish: Vec<String>,
    /// A secret for commands; not available yet
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) secret: Vec<String>,
    /// A secret for commands, from a file; not available yet
    #[arg(long, value_name = "NAME=PATH")]
    pub(crate) secret_file: Vec<String>,
    /// Print its id and nothing else
    #[arg(long, conflicts_with = "json")]
    pub(crate) id_only: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a seed leaves out.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SeedIgnore {
    /// What git ignores.
    Gitignore,
}

#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only those with this label
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Print their ids and nothing else
    #[arg(long, conflicts_with = "json")]
    pub(crate) id_only: bool,
    /// Tell how much room each takes for itself, and together with others
    #[arg(long, conflicts_with = "id_only")]
    pub(crate) sizes: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Update {
    #[command(flatten)]
    pub(crate) one: One,
    /// A new name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Take its name away
    #[arg(long, conflicts_with = "name")]
    pub(crate) clear_name: bool,
    /// Set a label
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Take a label away
    #[arg(long = "clear-label", value_name = "KEY")]
    pub(crate) clear_labels: Vec<String>,
    /// Stop the VM when it was not used for so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) ttl_seconds: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) one: One,
    /// Only this command
    #[arg(long, value_name = "NUMBER")]
    pub(crate) sequence: Option<u64>,
    /// Go on until the command has ended; without a number, the newest command
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) follow: bool,
}

#[derive(Args, Debug)]
#[command(override_usage = "pyro workspace exec [OPTIONS] <WORKSPACE> -- <COMMAND>...")]
pub(crate) struct Exec {
    #[command(flatten)]
    pub(crate) connected: Connected,
    #[command(flatten)]
    pub(crate) execute: Execute,
    /// Working directory, in /workspace unless absolute
    #[arg(long, visible_alias = "workdir", value_name = "DIR")]
    pub(crate) cwd: Option<OsString>,
    /// Let it run on, and print its number; `workspace logs --sequence NUMBER --follow` shows its output
    #[arg(long, conflicts_with_all = ["interactive", "tty"])]
    pub(crate) detach: bool,
    /// The command, behind `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Sync {
    /// Put a directory or archive into a workspace: all of it, or nothing
    Push(Push),
}

#[derive(Args, Debug)]
pub(crate) struct Push {
    /// The workspace: id, unique beginning of it, or name
    pub(crate) workspace: String,
    /// A directory, or a .tar, .tar.gz, .tgz, .tar.zst or .tar.xz archive
    pub(crate) source: PathBuf,
    /// Where to, in /workspace; made when it is missing
    #[arg(long, value_name = "DIR")]
    pub(crate) dest: Option<OsString>,
    /// Leave out what git ignores in a directory
    #[arg(long, value_enum, value_name = "RULES")]
    pub(crate) ignore: Option<SeedIgnore>,
    /// Fail instead of starting a workspace that is stopped
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Diff {
    #[command(flatten)]
    pub(crate) connected: Connected,
    /// Count lines per file instead of showing them
    #[arg(long)]
    pub(crate) stat: bool,
    /// Leave out files larger than this, and say so
    #[arg(long, value_name = "BYTES", default_value_t = pyro::limits::DIFF_FILE_BYTES_MAX)]
    pub(crate) max_file_bytes: u64,
    /// Only what is at or below these paths
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(crate) connected: Connected,
    /// The directory, usually the one that the workspace was seeded from
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Write files too that this machine may run by itself: hooks, CI and build files, executables
    #[arg(long)]
    pub(crate) allow_executable: bool,
    /// Leave out files larger than this, and say so
    #[arg(long, value_name = "BYTES", default_value_t = pyro::limits::DIFF_FILE_BYTES_MAX)]
    pub(crate) max_file_bytes: u64,
    /// Only what is at or below these paths
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) connected: Connected,
    /// A file or directory in /workspace
    pub(crate) path: OsString,
    /// Where to; must not exist
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum File {
    /// List a directory
    #[command(visible_alias = "ls")]
    List(FileList),
    /// Write a file's bytes to standard output
    Read(FileRead),
    /// Replace or make a file, from --text, --input or standard input
    Write(FileWrite),
}

#[derive(Args, Debug)]
pub(crate) struct FileList {
    #[command(flatten)]
    pub(crate) connected: Connected,
    /// A directory or file in /workspace
    pub(crate) path: Option<OsString>,
    /// With everything below
    #[arg(short, long)]
    pub(crate) recursive: bool,
}

#[derive(Args, Debug)]
pub(crate) struct FileRead {
    #[command(flatten)]
    pub(crate) connected: Connected,
    /// A file in /workspace
    pub(crate) path: OsString,
    /// Stop there, and say so; the whole file without
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_bytes: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct FileWrite {
    #[command(flatten)]
    pub(crate) connected: Connected,
    /// A file in /workspace; directories above it are made
    pub(crate) path: OsString,
    /// What to write
    #[arg(long)]
    pub(crate) text: Option<String>,
    /// A file of the host to write
    #[arg(long, value_name = "PATH", conflicts_with = "text")]
    pub(crate) input: Option<PathBuf>,
    /// Give it these permissions, octal; a file that is there keeps its own, a new one gets 644
    #[arg(long, value_name = "MODE")]
    pub(crate) mode: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Patch {
    /// Apply a patch to a workspace: all of it, or nothing
    Apply(PatchApply),
}

#[derive(Args, Debug)]
pub(crate) struct PatchApply {
    #[command(flatten)]
    pub(crate) connected: Connected,
    /// The patch; standard input without, or with `-`
    #[arg(long, value_name = "PATH")]
    pub(crate) patch_file: Option<PathBuf>,
    /// The patch itself
    #[arg(long, value_name = "TEXT", conflicts_with = "patch_file")]
    pub(crate) patch: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// Workspaces: ids, unique beginnings of ids, or names
    #[arg(required = true, value_name = "WORKSPACE")]
    pub(crate) workspaces: Vec<String>,
    /// Do not ask, whatever is in them; without a terminal nobody is asked anyway
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
