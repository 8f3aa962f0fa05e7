//! The arguments of what is done with whole computers: snapshots, resets, copies.

use clap::{Args, Subcommand};

use super::{Connected, One};

#[derive(Debug, Subcommand)]
pub(crate) enum Snapshot {
    /// Keep the whole computer as it is now under a name; it goes on meanwhile
    Create(SnapshotCreate),
    /// List the snapshots of a workspace, its baseline first
    #[command(visible_alias = "ls")]
    List(One),
    /// Delete a snapshot; others and the workspace lose nothing
    #[command(visible_alias = "rm")]
    Delete(SnapshotDelete),
}

#[derive(Args, Debug)]
pub(crate) struct SnapshotCreate {
    #[command(flatten)]
    pub(crate) connected: Connected,
    /// A name that no other snapshot of the workspace has
    pub(crate) name: String,
    /// Keep the memory too, with the processes in it
    #[arg(long)]
    pub(crate) memory: bool,
}

#[derive(Args, Debug)]
pub(crate) struct SnapshotDelete {
    #[command(flatten)]
    pub(crate) one: One,
    /// The snapshot
    pub(crate) name: String,
}

#[derive(Args, Debug)]
pub(crate) struct Reset {
    #[command(flatten)]
    pub(crate) one: One,
    /// The snapshot; without, what the workspace was made as
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot: Option<String>,
    /// Leave a snapshot's memory where it is, and start afresh on its disk
    #[arg(long)]
    pub(crate) disk_only: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Fork {
    #[command(flatten)]
    pub(crate) one: One,
    /// Copy this snapshot; without, the running workspace with its processes
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot: Option<String>,
    /// Leave a snapshot's memory where it is, and start afresh on its disk
    #[arg(long, requires = "snapshot")]
    pub(crate) disk_only: bool,
    /// How many copies
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub(crate) count: usize,
    /// A name for the copy; several get it with -1, -2 and so on behind it
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A label for the copies, beside those of the workspace
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Print their ids and nothing else
    #[arg(long, conflicts_with = "json")]
    pub(crate) id_only: bool,
}
