//! Kills a process with everything it started, also what moved to another group or session. It only ever signals
//! descendants of the given process.

use std::fs;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Passes over the process table until no new descendant shows up; each pass stops those it finds.
const PASSES_MAX: usize = 16;

/// Kills the process, its group and all its descendants. The process must be the caller's own child, not yet reaped:
/// then its id cannot have been given to another.
pub(crate) fn kill(root: u32) {
    let mut tree = vec![root];
    signal(root, Signal::STOP);
    for _ in 0..PASSES_MAX {
        let new = children_of(&tree);
        if new.is_empty() {
            break;
        }
        // Stopped, they cannot fork while the table is read again.
        new.iter().for_each(|pid| signal(*pid, Signal::STOP));
        tree.extend(new);
    }
    if let Some(group) = pid(root) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    tree.iter().for_each(|pid| signal(*pid, Signal::KILL));
}

fn signal(process: u32, signal: Signal) {
    if let Some(pid) = pid(process) {
        let _ = kill_process(pid, signal);
    }
}

fn pid(process: u32) -> Option<Pid> {
    i32::try_from(process).ok().and_then(Pid::from_raw)
}

/// Processes whose parent is in the tree and that are not in it themselves.
fn children_of(tree: &[u32]) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|process| !tree.contains(process))
        .filter(|process| parent_of(*process).is_some_and(|parent| tree.contains(&parent)))
        .collect()
}

/// The parent's id: proc(5), field 4 of `stat`, behind the name in parentheses.
fn parent_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}
