//! `pyro gc`: space that nothing needs any more.

use pyro::{Failure, Freed, Pyro};

use crate::arguments::Gc;
use crate::exit::Status;
use crate::sizes::mebibytes;
use crate::untrusted::printable;
use crate::{report, terminal};

pub(crate) fn run(pyro: &Pyro, arguments: &Gc) -> Result<Status, Failure> {
    let freed = collect(|on_pair| pyro.collect_garbage(on_pair))?;
    let text = format!(
        "Templates: {}\nImages: {}\n{}",
        mebibytes(freed.template_bytes),
        mebibytes(freed.image_bytes),
        of_workspaces(&freed)
    );
    Ok(tell(&freed, &text, arguments.json))
}

/// Collects while a bar shows what takes long.
pub(super) fn collect(
    work: impl FnOnce(&mut dyn FnMut(u64)) -> Result<Freed, Failure>,
) -> Result<Freed, Failure> {
    let bar = terminal::progress_bar();
    bar.enable_steady_tick(terminal::TICK);
    let freed = work(&mut |pairs| bar.set_message(format!("merging layers, {pairs} done")));
    bar.finish_and_clear();
    freed
}

/// What was given back of workspaces.
pub(super) fn of_workspaces(freed: &Freed) -> String {
    let waiting = match freed.waiting {
        0 => String::new(),
        pairs => format!(", {pairs} wait for their workspaces to be stopped"),
    };
    format!(
        "Layers and memories: {} ({} layers, {} memories)\nMerged layers: {} ({} pairs{waiting})\nFreed: {}\n",
        mebibytes(freed.layer_bytes),
        freed.layers,
        freed.memories,
        mebibytes(freed.merged_bytes),
        freed.merged,
        mebibytes(freed.freed_bytes)
    )
}

/// Tells that there may be more.
pub(super) fn tell_busy() {
    terminal::note(
        "note: other commands were busy with layers, so that not all were looked at: run it again",
    );
}

/// Tells what was given back, and what could not be: that is a failure, of which all the rest is no part.
pub(super) fn tell(freed: &Freed, text: &str, json: bool) -> Status {
    let written = if json {
        report::written(report::json(freed))
    } else {
        for failure in &freed.failures {
            terminal::error(&printable(failure.as_bytes()));
        }
        if freed.was_busy {
            tell_busy();
        }
        report::written(terminal::result(text))
    };
    if written == Status::SUCCESS && !freed.failures.is_empty() { Status::INCOMPLETE } else { written }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What waits for a workspace to be stopped is told, and only then.
    #[test]
    fn what_waits_is_told() {
        let mut freed = Freed { merged: 2, ..Freed::default() };
        assert!(of_workspaces(&freed).contains("(2 pairs)\n"));
        freed.waiting = 3;
        assert!(of_workspaces(&freed).contains("(2 pairs, 3 wait for their workspaces to be stopped)\n"));
    }
}
