//! What one confined child is allowed: the input of a jail, without behavior.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// The ids a child of root runs under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAs {
    /// User id, never 0.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups: empty, or only the group of a device the child must open.
    pub groups: Vec<u32>,
}

/// What may be done with one granted file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read its bytes.
    Read,
    /// Read, write and truncate it.
    ReadWrite,
}

/// One file, device or directory tree the child may open by name (or through `/proc/self/fd`).
#[derive(Debug)]
pub struct Grant {
    /// An open descriptor of it; `O_PATH` is enough.
    pub file: OwnedFd,
    /// What may be done.
    pub access: Access,
}

/// One open the parent answers in the child's place: when the child opens exactly `path` for reading and
/// writing, it receives `file` as it is, whatever mode that was opened with.
#[derive(Debug)]
pub struct Answer {
    /// The path as the child will spell it.
    pub path: PathBuf,
    /// What it gets.
    pub file: OwnedFd,
}

/// Resource limits of the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest file it may grow, in bytes; a write past it fails with `EFBIG`.
    pub file_bytes_max: u64,
    /// Largest address space, in bytes.
    pub address_space_bytes_max: Option<u64>,
    /// Most open descriptors.
    pub open_files_max: u64,
    /// Most threads and processes of its uid: only for a uid that nobody else uses.
    pub task_count_max: Option<u64>,
}

/// Everything about one confined child.
#[derive(Debug)]
pub struct Spec {
    /// Ids to change to; `None` keeps the caller's.
    pub run_as: Option<RunAs>,
    /// Files it may execute: the program and its ELF interpreter.
    pub execute: Vec<PathBuf>,
    /// Files and directory trees it may read; those that do not exist are passed over.
    pub read: Vec<PathBuf>,
    /// Files it may open, by descriptor.
    pub grants: Vec<Grant>,
    /// Opens the parent answers.
    pub answers: Vec<Answer>,
    /// Descriptors it inherits, under their present numbers; nothing else is.
    pub inherit: Vec<OwnedFd>,
    /// Resource limits.
    pub limits: Limits,
}
