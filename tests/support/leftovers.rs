//! What must not be left behind: processes, sockets, directories of VMs.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::Process;

/// Everything that a VM under `root` has left: empty when all is well.
pub(crate) fn remains_of(root: &Path) -> Vec<String> {
    let processes =
        processes_of(root).into_iter().map(|process| format!("process {} {:?}", process.pid, process.words));
    let directories = ["state/vms", "run/vms"].map(|place| root.join(place));
    let directories =
        directories.iter().flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten());
    let directories = directories.map(|entry| format!("directory {}", entry.path().display()));
    let mut remains: Vec<String> = processes.chain(directories).collect();
    sockets(root, &mut remains);
    remains
}

/// Processes that have to do with `root`, this one aside.
pub(crate) fn processes_of(root: &Path) -> Vec<Process> {
    let own = std::process::id();
    let mut all = Process::all();
    // In this order: what has become a program meanwhile has closed what was not for it.
    all.retain(|process| process.pid != own && !process.is_being_started() && process.concerns(root));
    all
}

fn sockets(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_socket() => found.push(format!("socket {}", entry.path().display())),
            Ok(kind) if kind.is_dir() => sockets(&entry.path(), found),
            _ => {}
        }
    }
}
