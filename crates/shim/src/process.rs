//! What the kernel tells of processes.

use std::fs;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often the kernel is asked whether children are gone.
const POLL: Duration = Duration::from_millis(2);

/// Waits until this process has no children, for as long as `patience`. A kernel that does not list them
/// (`CONFIG_PROC_CHILDREN`) is not waited for.
pub(crate) async fn childless(patience: Duration) {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline && has_children() {
        sleep(POLL).await;
    }
}

fn has_children() -> bool {
    fs::read_to_string("/proc/thread-self/children").is_ok_and(|children| !children.trim().is_empty())
}

/// Memory that goes with a process, in KiB: what it has written, wherever that lies now. Clean pages of files
/// belong to the page cache and to everyone. Zero where the kernel does not tell.
pub(crate) fn private_kib(pid: u32) -> u64 {
    let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { return 0 };
    private_kib_of(&rollup)
}

/// Of an `smaps_rollup` (proc(5)).
fn private_kib_of(rollup: &str) -> u64 {
    rollup
        .lines()
        .filter(|line| line.starts_with("Private_Dirty:") || line.starts_with("Swap:"))
        .filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    /// Only what the process alone has, in memory or in swap, is counted.
    #[test]
    fn sums_what_is_written() {
        let rollup =
            "Rss: 100 kB\nShared_Clean: 60 kB\nPrivate_Clean:  10 kB\nPrivate_Dirty: 30 kB\nSwap: 5 kB\n";
        assert_eq!(super::private_kib_of(rollup), 35);
        assert!(super::private_kib(std::process::id()) > 0);
    }
}
