//! `pyro workspace file list`, `read` and `write`

use std::fs::File;
use std::io::Read;

use pyro::results::{FileContent, FileListing, FileWritten};
use pyro::{Code, Failure, FileEntry, GuestPath, Pyro};

use super::connect;
use crate::arguments::workspace::{FileList, FileRead, FileWrite};
use crate::exit::Status;
use crate::untrusted::printable;
use crate::{report, terminal};

pub(super) async fn list(pyro: &Pyro, arguments: &FileList) -> Result<Status, Failure> {
    let path = arguments.path.as_deref().map_or(Ok(GuestPath::root()), GuestPath::parse)?;
    let mut workspace = connect(pyro, &arguments.connected).await?;
    if arguments.connected.one.json {
        let mut entries = Vec::new();
        workspace
            .list_files(&path, arguments.recursive, |entry| {
                entries.push(entry);
                Ok(())
            })
            .await?;
        return Ok(report::written(report::json(&FileListing {
            workspace_id: workspace.id().to_owned(),
            path: path.to_string(),
            recursive: arguments.recursive,
            count: entries.len(),
            entries,
        })));
    }
    let show = |entry: FileEntry| terminal::result(&line(&entry)).map_err(|error| unwritten(&error));
    workspace.list_files(&path, arguments.recursive, show).await?;
    Ok(Status::SUCCESS)
}

/// `mode size modified path -> target`, as `ls -l` has it.
fn line(entry: &FileEntry) -> String {
    let kind = match entry.artifact_type {
        "directory" => 'd',
        "symlink" => 'l',
        "file" => '-',
        _ => 's',
    };
    let target = entry.link_target.as_ref().map_or(String::new(), |target| format!(" -> {target}"));
    let text =
        format!("{kind}{} {:>12} {} {}{target}", entry.mode, entry.size_bytes, entry.modified_at, entry.path);
    // One line per entry, whatever its name has in it.
    printable(text.as_bytes()).replace('\n', "\\n")
}

pub(super) async fn read(pyro: &Pyro, arguments: &FileRead) -> Result<Status, Failure> {
    let path = GuestPath::parse(&arguments.path)?;
    let mut workspace = connect(pyro, &arguments.connected).await?;
    let json = arguments.connected.one.json;
    let bytes_max = match (arguments.max_bytes, json) {
        (Some(bytes), _) => bytes,
        // A result is held in memory.
        (None, true) => pyro::limits::FILE_RESULT_BYTES_MAX,
        (None, false) => u64::MAX,
    };
    let mut contents = Vec::new();
    let file = workspace
        .read_file(&path, bytes_max, |bytes| {
            if json {
                contents.extend_from_slice(bytes);
                return Ok(());
            }
            terminal::bytes_to_stdout(bytes).map_err(|error| unwritten(&error))
        })
        .await?;
    let is_cut = file.bytes < file.total_bytes;
    if json {
        return Ok(report::written(report::json(&FileContent::new(&workspace, file, &contents))));
    }
    if is_cut {
        terminal::note(&format!(
            "note: the first {} of {} bytes; give more with --max-bytes",
            file.bytes, file.total_bytes
        ));
    }
    Ok(Status::SUCCESS)
}

pub(super) async fn write(pyro: &Pyro, arguments: FileWrite) -> Result<Status, Failure> {
    let path = GuestPath::parse(&arguments.path)?;
    let mode = arguments.mode.as_deref().map(pyro::parse_mode).transpose()?;
    let contents: Box<dyn Read> = match (arguments.text, &arguments.input) {
        (Some(text), _) => Box::new(std::io::Cursor::new(text.into_bytes())),
        (None, Some(input)) => Box::new(open(input)?),
        (None, None) => Box::new(terminal::raw_stdin()),
    };
    let mut workspace = connect(pyro, &arguments.connected).await?;
    let bytes = workspace.write_file(&path, contents, mode).await?;
    if arguments.connected.one.json {
        return Ok(report::written(report::json(&FileWritten {
            workspace_id: workspace.id().to_owned(),
            path: path.to_string(),
            bytes_written: bytes,
            origin: (&workspace).into(),
        })));
    }
    terminal::note(&format!(
        "[workspace-file-write] workspace_id={} path={} bytes_written={bytes} execution_mode={}",
        workspace.id(),
        printable(path.to_string().as_bytes()),
        workspace.execution_mode()
    ));
    Ok(Status::SUCCESS)
}

fn open(input: &std::path::Path) -> Result<File, Failure> {
    let unusable = |error: std::io::Error| {
        Failure::new(Code::SourceUnusable, format!("{} cannot be read", input.display()))
            .because(error)
            .fix("name a file that you may read")
    };
    let file = File::open(input).map_err(unusable)?;
    if file.metadata().map_err(unusable)?.is_dir() {
        return Err(Failure::new(Code::SourceUnusable, format!("{} is a directory", input.display()))
            .fix("bring directories in with `pyro workspace sync push`"));
    }
    Ok(file)
}

fn unwritten(error: &std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return Failure::new(Code::Interrupted, "the reader of the output left");
    }
    Failure::new(Code::System, "standard output cannot be written").because(error).fix("check where it goes")
}
