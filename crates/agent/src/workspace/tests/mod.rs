//! Workspaces as they are used, on plain directories and, where the machine lets them be mounted, on real layers.

mod bench;
mod calls;
mod exports;
mod layers;
mod order;
mod pushes;
mod seeds;

pub(crate) use bench::Bench;
pub(crate) use calls::workspace;

pub(super) use bench::{
    Streamed, changes, directory, entry, file, inlet, open, path, read, remove_item, snapshot, stream,
    symlink,
};
