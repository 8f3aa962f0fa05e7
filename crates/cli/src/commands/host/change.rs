//! `pyro host connect` and `pyro host repair`

use std::path::PathBuf;

use pyro::results::shell_words;
use pyro::{Code, Failure};
use serde::Serialize;

use super::difference::{Comparison, compare};
use super::document::{Document, Fields};
use super::file::Original;
use super::lines;
use super::place::Place;
use super::shape::{Located, Shape};
use super::wanted::Wanted;
use crate::arguments::host::{Change, Scope};
use crate::exit::Status;
use crate::settings::HostSettings;
use crate::untrusted::printable;
use crate::{report, terminal};

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    host: &'static str,
    scope: &'static str,
    /// As the host names it.
    file: PathBuf,
    /// The file itself, where that is a symbolic link.
    target: PathBuf,
    entry: String,
    /// What the host starts now.
    command: Vec<String>,
    changed: bool,
    dry_run: bool,
    /// What was mended of an entry that was there.
    mended: Vec<String>,
    /// The lines that go and come.
    change: Option<String>,
    backup: Option<PathBuf>,
    next: Option<&'static str>,
}

/// A file that was read, and the entry in it.
struct Opened {
    place: Place,
    wanted: Wanted,
    original: Original,
    document: Document,
    located: Located,
}

impl Opened {
    fn open(settings: &HostSettings, arguments: &Change) -> Result<Opened, Failure> {
        let named = &arguments.place;
        let place = Place::find(settings, named.host, named.scope, arguments.serve.project_path.as_deref())?;
        let wanted = Wanted::new(settings, &place, &arguments.serve)?;
        let original = Original::read(&place.file)?;
        if place.scope == Scope::Project && !original.is_inside(&place.project) {
            let what = format!(
                "{} leads out of the project, to {}",
                place.file.display(),
                original.target.display()
            );
            return Err(Failure::new(Code::TargetUnusable, what)
                .fix("make it a file of the project, or set the host up with --scope user"));
        }
        let parsed = Document::parse(place.host.format(), original.content());
        let document = parsed.map_err(|fault| fault.of(&place.file))?;
        let located = Shape::locate(place.host, &document).map_err(|fault| fault.of(&place.file))?;
        let entry = located.value.as_ref().map(|value| located.shape.read(value));
        if let Some(url) = entry.and_then(|entry| entry.url) {
            let path = located.path.join(".");
            let what = format!("`{path}` in {} is a server that runs at {url}", place.file.display());
            return Err(Failure::new(Code::Conflict, what)
                .fix("take that entry out by hand if the host is to start one instead"));
        }
        Ok(Opened { place, wanted, original, document, located })
    }

    fn comparison(&self, settings: &HostSettings) -> Option<Comparison> {
        let value = self.located.value.as_ref()?;
        Some(compare(settings, &self.place, self.located.shape, value, &self.wanted))
    }

    /// Sets these fields and writes the file, if there is anything to set.
    fn finish(mut self, fields: &Fields, mended: Vec<String>, dry_run: bool) -> Result<Done, Failure> {
        let before = self.document.text();
        let changed = !fields.is_empty();
        let mut backup = None;
        let mut change = None;
        if changed {
            let set = self.document.set(&self.located.path, fields);
            set.map_err(|fault| fault.of(&self.place.file))?;
            let after = self.document.text();
            change = Some(lines::changed(&before, &after));
            if !dry_run {
                // Secrets may come to stand in a person's file; a project's is for everybody.
                let mode = if self.place.scope == Scope::User { 0o600 } else { 0o644 };
                backup = self.original.replace(after.as_bytes(), mode)?;
            }
        }
        let value = self.document.get(&self.located.path).ok().flatten();
        let entry = value.map(|value| self.located.shape.read(value)).unwrap_or_default();
        Ok(Done {
            host: self.place.host.word(),
            scope: self.place.scope.word(),
            entry: self.located.path.join("."),
            command: entry.command.into_iter().chain(entry.arguments.into_iter().flatten()).collect(),
            changed: changed && !dry_run,
            dry_run,
            mended,
            change,
            backup,
            next: (changed && !dry_run).then(|| self.place.host.next(self.place.scope)),
            target: self.original.target,
            file: self.place.file,
        })
    }
}

/// Adds an entry. One that is there already and differs is somebody's work: it is refused.
pub(super) fn connect(settings: &HostSettings, arguments: &Change) -> Result<Status, Failure> {
    let opened = Opened::open(settings, arguments)?;
    let fields = match opened.comparison(settings) {
        None => opened.located.shape.fields(&opened.wanted.invocation),
        Some(comparison) if comparison.differences.is_empty() => Fields::new(),
        Some(comparison) => {
            let whats: Vec<_> =
                comparison.differences.into_iter().map(|difference| difference.what).collect();
            let name = opened.place.host.word();
            return Err(Failure::new(
                Code::Conflict,
                format!(
                    "`{}` in {} is not as it would be written",
                    opened.located.path.join("."),
                    opened.place.file.display()
                ),
            )
            .because(whats.join(", "))
            .fix(format!(
                "`pyro host repair {name}` with the same options replaces that and keeps the rest"
            )));
        }
    };
    let done = opened.finish(&fields, Vec::new(), arguments.dry_run)?;
    Ok(tell(&done, "it is set up already", arguments.json))
}

/// Mends an entry that is there.
pub(super) fn repair(settings: &HostSettings, arguments: &Change) -> Result<Status, Failure> {
    let opened = Opened::open(settings, arguments)?;
    let Some(comparison) = opened.comparison(settings) else {
        let path = opened.located.path.join(".");
        return Err(Failure::new(
            Code::SourceUnusable,
            format!("{} has no entry `{path}` to mend", opened.place.file.display()),
        )
        .fix(format!("`pyro host connect {}` adds one", opened.place.host.word())));
    };
    let mended = comparison.differences.into_iter().map(|difference| difference.what).collect();
    let done = opened.finish(&comparison.fields, mended, arguments.dry_run)?;
    Ok(tell(&done, "there is nothing to mend", arguments.json))
}

fn tell(done: &Done, unchanged: &str, json: bool) -> Status {
    report::written(if json { report::json(done) } else { terminal::result(&text(done, unchanged)) })
}

fn text(done: &Done, unchanged: &str) -> String {
    let file = done.file.display();
    let mut lines = vec![
        format!("Host: {}", done.host),
        if done.file == done.target {
            format!("File: {file}")
        } else {
            format!("File: {file} -> {}", done.target.display())
        },
        format!("Entry: {}", done.entry),
        format!("Command: {}", shell_words(&done.command)),
    ];
    lines.extend(done.mended.iter().map(|what| format!("- mended {what}")));
    match (&done.change, done.dry_run) {
        (None, _) => lines.push(format!("Changed: no, {unchanged}")),
        (Some(change), true) => {
            lines.push("Changed: no, this was a dry run".to_owned());
            lines.push(change.clone());
        }
        (Some(_), false) => lines.push("Changed: yes".to_owned()),
    }
    lines.extend(done.backup.as_ref().map(|backup| format!("Backup: {}", backup.display())));
    let scope = if done.scope == Scope::Project.word() { " --scope project" } else { "" };
    lines.extend(
        done.next.map(|next| format!("Next: {next}; `pyro host doctor {}{scope}` tries it", done.host)),
    );
    printable(lines.join("\n").as_bytes())
}
