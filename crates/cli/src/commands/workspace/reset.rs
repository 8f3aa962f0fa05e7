//! `pyro workspace reset`

use pyro::results::ResetResult;
use pyro::{Failure, Pyro, ResetDone, ResetRequest, SnapshotScope, WorkspaceInfo};

use super::block::block;
use super::{pull_what_is_lacking, tell_starts};
use crate::arguments::workspace::Reset;
use crate::exit::Status;
use crate::{report, terminal};

pub(super) async fn run(pyro: &Pyro, arguments: Reset) -> Result<Status, Failure> {
    let scope = if arguments.disk_only { SnapshotScope::Disk } else { SnapshotScope::DiskAndMemory };
    let request = ResetRequest { snapshot: arguments.snapshot, scope };
    let (reference, json) = (arguments.one.workspace.as_str(), arguments.one.json);
    pull_what_is_lacking(pyro, reference).await?;
    let bar = terminal::progress_bar();
    // That it starts again goes without saying: the marker of a reset is its own.
    let done = pyro.reset_workspace(reference, &request, tell_starts(pyro, &bar, reference, true)).await;
    bar.finish_and_clear();
    let (workspace, reset) = done?;
    let info = pyro.workspace(workspace.id()).await?;
    if json {
        return Ok(report::written(report::json(&ResetResult { reset, workspace: info })));
    }
    let headline = terminal::result(&headline(&reset));
    terminal::note(&marker(&reset));
    let shown = headline.and_then(|()| terminal::result(&told(&info)));
    Ok(report::written(shown))
}

fn headline(reset: &ResetDone) -> String {
    format!("Workspace reset from snapshot: {} ({})", reset.snapshot_name, reset.kind)
}

fn marker(reset: &ResetDone) -> String {
    format!(
        "[workspace-reset] destination={} entry_count={} bytes_written={}",
        reset.destination, reset.entry_count, reset.bytes_written
    )
}

/// The workspace's block, which ends with its command count.
fn told(info: &WorkspaceInfo) -> String {
    format!("{}Reset count: {}\n", block(info), info.reset_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines are the transcript's.
    #[test]
    fn the_lines_are_the_transcript_s() {
        let reset = ResetDone {
            snapshot_name: "checkpoint".to_owned(),
            kind: "named",
            memory: false,
            destination: "/workspace",
            entry_count: 3,
            bytes_written: 4096,
        };
        assert_eq!(headline(&reset), "Workspace reset from snapshot: checkpoint (named)");
        let line = "[workspace-reset] destination=/workspace entry_count=3 bytes_written=4096";
        assert_eq!(marker(&reset), line);
    }
}
