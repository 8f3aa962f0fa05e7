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

/// Memory of a process that it shares with nothing, in KiB; zero where the kernel does not tell.
pub(crate) fn private_kib(pid: u32) -> u64 {
    let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { return 0 };
    private_kib_of(&rollup)
}

/// Sum of the `Private_*` lines of an `smaps_rollup` (proc(5)).
fn private_kib_of(rollup: &str) -> u64 {
    rollup
        .lines()
        .filter(|line| line.starts_with("Private_Clean:") || line.starts_with("Private_Dirty:"))
        .filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    /// Only what is private is counted.
    #[test]
    fn sums_private_lines() {
        let rollup =
            "Rss: 100 kB\nShared_Clean: 60 kB\nPrivate_Clean:  10 kB\nPrivate_Dirty: 30 kB\nSwap: 5 kB\n";
        assert_eq!(super::private_kib_of(rollup), 40);
        assert!(super::private_kib(std::process::id()) > 0);
    }
}
