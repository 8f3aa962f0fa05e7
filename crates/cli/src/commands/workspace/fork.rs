//! `pyro workspace fork`

use pyro::{Failure, ForkRequest, Forked, Forks, Pyro, SnapshotScope};

use super::{pull_what_is_lacking, tell_starts};
use crate::arguments::workspace::Fork;
use crate::exit::Status;
use crate::untrusted::printable;
use crate::{report, terminal};

pub(super) async fn run(pyro: &Pyro, arguments: Fork) -> Result<Status, Failure> {
    let reference = arguments.one.workspace.as_str();
    let request = ForkRequest {
        snapshot: arguments.snapshot,
        scope: if arguments.disk_only { SnapshotScope::Disk } else { SnapshotScope::DiskAndMemory },
        count: arguments.count,
        name: arguments.name,
        labels: arguments.labels,
    };
    pull_what_is_lacking(pyro, reference).await?;
    let bar = terminal::progress_bar();
    let forked = pyro.fork_workspace(reference, &request, tell_starts(pyro, &bar, reference, true)).await;
    bar.finish_and_clear();
    let forks = forked?;
    if arguments.one.json {
        return Ok(report::written(report::json(&forks)));
    }
    forks.forks.iter().for_each(|fork| terminal::note(&line(&forks, fork)));
    terminal::note(&sum(&forks));
    if arguments.id_only {
        let ids: String = forks.forks.iter().map(|fork| format!("{}\n", fork.workspace_id)).collect();
        return Ok(report::written(terminal::result(&ids)));
    }
    Ok(Status::SUCCESS)
}

/// What is told of one copy.
fn line(forks: &Forks, fork: &Forked) -> String {
    let name = fork.name.as_ref().map(|name| format!(" name={name}")).unwrap_or_default();
    let line = format!(
        "[workspace-fork] workspace_id={}{name} source={} snapshot={} execution_mode={}",
        fork.workspace_id,
        forks.source,
        forks.snapshot.as_deref().unwrap_or("live"),
        fork.execution_mode
    );
    printable(line.as_bytes())
}

/// What is told of all: the standstill is the source's, and there was one only if it ran.
fn sum(forks: &Forks) -> String {
    let standstill = forks.standstill_ms.map(|ms| format!(" standstill_ms={ms:.1}")).unwrap_or_default();
    let memory = forks.memory_bytes.map(|bytes| format!(" memory_bytes={bytes}")).unwrap_or_default();
    format!("[workspace-fork] count={}{standstill}{memory} duration_ms={:.0}", forks.count, forks.duration_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forks(live: bool) -> Forks {
        let fork = |name: Option<&str>| Forked {
            workspace_id: "0123456789ab".to_owned(),
            name: name.map(str::to_owned),
            execution_mode: "guest_serial",
            accelerator: "tcg",
        };
        Forks {
            source: "ba9876543210".to_owned(),
            snapshot: (!live).then(|| "checkpoint".to_owned()),
            count: 2,
            forks: vec![fork(Some("x-1")), fork(None)],
            standstill_ms: live.then_some(31.25),
            memory_bytes: live.then_some(1 << 20),
            duration_ms: 412.4,
        }
    }

    /// One line per copy, and one for all.
    #[test]
    fn copies_are_told_line_by_line() {
        let live = forks(true);
        assert_eq!(
            line(&live, &live.forks[0]),
            "[workspace-fork] workspace_id=0123456789ab name=x-1 source=ba9876543210 snapshot=live execution_mode=guest_serial"
        );
        assert_eq!(
            sum(&live),
            "[workspace-fork] count=2 standstill_ms=31.2 memory_bytes=1048576 duration_ms=412"
        );
        let kept = forks(false);
        assert_eq!(
            line(&kept, &kept.forks[1]),
            "[workspace-fork] workspace_id=0123456789ab source=ba9876543210 snapshot=checkpoint execution_mode=guest_serial"
        );
        assert_eq!(sum(&kept), "[workspace-fork] count=2 duration_ms=412");
    }
}
