//! `pyro workspace patch apply`

use std::fs::File;
use std::io::Read;
use std::path::Path;

use pyro::limits::PATCH_BYTES_MAX;
use pyro::results::PatchedResult;
use pyro::{Code, Failure, Pyro};

use super::connect;
use crate::arguments::workspace::PatchApply;
use crate::exit::Status;
use crate::{report, terminal};

pub(super) async fn apply(pyro: &Pyro, arguments: PatchApply) -> Result<Status, Failure> {
    let patch = match (&arguments.patch, &arguments.patch_file) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(path)) if path != Path::new("-") => {
            read(File::open(path).map_err(|error| unreadable(&path.display(), &error))?, &path.display())?
        }
        _ => read(terminal::raw_stdin(), &"standard input")?,
    };
    let mut workspace = connect(pyro, &arguments.connected).await?;
    let patched = workspace.apply_patch(&patch).await?;
    if arguments.connected.one.json {
        return Ok(report::written(report::json(&PatchedResult::new(&workspace, patched))));
    }
    terminal::note(&format!(
        "[workspace-patch-apply] workspace_id={} total={} added={} modified={} deleted={} execution_mode={}",
        workspace.id(),
        patched.total,
        patched.added,
        patched.modified,
        patched.deleted,
        workspace.execution_mode()
    ));
    Ok(Status::SUCCESS)
}

fn read(source: impl Read, what: &dyn std::fmt::Display) -> Result<Vec<u8>, Failure> {
    let mut patch = Vec::new();
    source.take(PATCH_BYTES_MAX + 1).read_to_end(&mut patch).map_err(|error| unreadable(what, &error))?;
    if patch.len() as u64 > PATCH_BYTES_MAX {
        return Err(Failure::new(
            Code::PatchUnusable,
            format!("the patch has more than {PATCH_BYTES_MAX} bytes"),
        )
        .fix("bring files of that size in with `pyro workspace sync push`"));
    }
    Ok(patch)
}

fn unreadable(what: &dyn std::fmt::Display, error: &std::io::Error) -> Failure {
    Failure::new(Code::PatchUnusable, format!("the patch cannot be read from {what}"))
        .because(error)
        .fix("name a file that you may read, or pipe the patch in")
}
