//! `pyro workspace sync push`

use indicatif::ProgressBar;
use pyro::results::PushedResult;
use pyro::{Failure, GuestPath, Progress, Pyro, Seed, SeedRules, Starting};

use super::open;
use crate::arguments::workspace::{Push, SeedIgnore};
use crate::exit::Status;
use crate::{report, settings, terminal};

/// What a source leaves out.
pub(super) fn rules_of(ignore: Option<SeedIgnore>) -> SeedRules {
    match ignore {
        Some(SeedIgnore::Gitignore) => SeedRules::Gitignore(settings::git_rules()),
        None => SeedRules::Everything,
    }
}

pub(super) async fn run(pyro: &Pyro, arguments: &Push) -> Result<Status, Failure> {
    let directory = arguments.dest.as_deref().map_or(Ok(GuestPath::root()), GuestPath::parse)?;
    let rules = rules_of(arguments.ignore);
    let source = pyro::Source::open(&Seed { path: arguments.source.clone(), rules })?;
    let starting = if arguments.no_start { Starting::Never } else { Starting::IfStopped };
    let mut workspace = open(pyro, &arguments.workspace, starting, arguments.json).await?;
    let bar = terminal::progress_bar();
    terminal::begin_bytes(&bar, "pushing");
    let progress = Progress::default();
    let pushed = watch(workspace.push(source, &directory, &progress), &bar, &progress).await;
    bar.finish_and_clear();
    let pushed = pushed?;
    if arguments.json {
        let result = PushedResult::new(&workspace, &directory, pushed);
        return Ok(report::written(report::json(&result)));
    }
    terminal::note(&format!(
        "[workspace-sync] workspace_id={} mode={} source={} destination={directory} entry_count={} bytes_written={} execution_mode={}",
        workspace.id(),
        pushed.mode,
        pushed.source.display(),
        pushed.entries,
        pushed.bytes,
        workspace.execution_mode()
    ));
    Ok(Status::SUCCESS)
}

/// Does work while a bar shows how far it is.
pub(super) async fn watch<T>(work: impl Future<Output = T>, bar: &ProgressBar, progress: &Progress) -> T {
    let mut tick = tokio::time::interval(terminal::TICK);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = tick.tick() => terminal::show_bytes(bar, progress.done(), progress.total()),
        }
    }
}
