//! `pyro host doctor`

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use pyro::results::shell_words;
use pyro::{Code, Failure};
use serde::Serialize;

use super::command::{is_executable, resolve};
use super::difference::{Subject, compare};
use super::document::Document;
use super::file::Original;
use super::limits::{PROBE_END_SECONDS_MAX, PROBE_SECONDS_MAX};
use super::place::Place;
use super::probe::{Answer, Launch, probe};
use super::shape::{Entry, Located, Shape};
use super::wanted::{Wanted, expand};
use crate::arguments::host::{Examine, Scope, Serve};
use crate::exit::Status;
use crate::settings::{self, HostSettings};
use crate::untrusted::printable;
use crate::{report, terminal};

/// What Codex hands on to every server; all else has to be named in `env_vars`.
const CODEX_VARIABLES: [&str; 10] =
    ["HOME", "LOGNAME", "PATH", "SHELL", "USER", "LANG", "LC_ALL", "TERM", "TMPDIR", "TZ"];

#[derive(Debug, Serialize)]
struct Issue {
    what: String,
    fix: String,
}

#[derive(Debug, Serialize)]
struct Told {
    name: String,
    version: String,
    protocol_version: String,
    tools: usize,
}

/// All that was found.
#[derive(Debug, Serialize)]
struct Examined {
    host: &'static str,
    scope: &'static str,
    /// The host's own program, where the search path has one. Being without is no issue: it may be a desktop's.
    program: Option<PathBuf>,
    #[serde(skip)]
    looked_for: &'static str,
    file: PathBuf,
    file_exists: bool,
    entry: Option<String>,
    command: Vec<String>,
    server: Option<Told>,
    /// Why the server was not tried, though there is an entry.
    untried: Option<String>,
    passes: bool,
    issues: Vec<Issue>,
}

impl Examined {
    fn issue(&mut self, what: impl Into<String>, fix: impl Into<String>) {
        self.issues.push(Issue { what: what.into(), fix: fix.into() });
    }
}

pub(super) fn run(settings: &HostSettings, arguments: &Examine) -> Result<Status, Failure> {
    let named = &arguments.place;
    let place = Place::find(settings, named.host, named.scope, arguments.project_path.as_deref())?;
    let wanted = Wanted::new(settings, &place, &Serve::default())?;
    let mut examined = Examined {
        host: place.host.word(),
        scope: place.scope.word(),
        program: resolve(place.host.program(), Path::new("/"), &settings.search_path),
        looked_for: place.host.program(),
        file: place.file.clone(),
        file_exists: false,
        entry: None,
        command: Vec::new(),
        server: None,
        untried: None,
        passes: false,
        issues: Vec::new(),
    };
    if let Some(located) = entry_of(&place, &mut examined) {
        examine(settings, &place, &wanted, &located, &mut examined)?;
    }
    examined.passes = examined.issues.is_empty();
    let written = report::written(if arguments.json {
        report::json(&examined)
    } else {
        terminal::result(&text(&examined))
    });
    Ok(if written == Status::SUCCESS && !examined.passes { Status::FAIL } else { written })
}

/// The entry, or an issue.
fn entry_of(place: &Place, examined: &mut Examined) -> Option<Located> {
    let options = if examined.scope == "project" { " --scope project" } else { "" };
    let connect = format!("`pyro host connect {}{options}`", examined.host);
    let read = Original::read(&place.file).and_then(|original| {
        let document = Document::parse(place.host.format(), original.content());
        let located = document.and_then(|document| Shape::locate(place.host, &document));
        Ok((original.exists(), located.map_err(|fault| fault.of(&place.file))?))
    });
    match read {
        Err(failure) => {
            examined.file_exists = true;
            let cause = failure.cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            examined.issue(format!("{}{cause}", failure.message), "mend the file by hand");
            None
        }
        Ok((exists, located)) => {
            examined.file_exists = exists;
            if !exists {
                examined.issue(format!("{} is not there", place.file.display()), connect);
            } else if located.value.is_none() {
                let path = located.path.join(".");
                examined.issue(format!("{} has no entry `{path}`", place.file.display()), connect);
            }
            located.value.is_some().then_some(located)
        }
    }
}

/// Looks at an entry and tries what it starts.
fn examine(
    settings: &HostSettings,
    place: &Place,
    wanted: &Wanted,
    located: &Located,
    examined: &mut Examined,
) -> Result<(), Failure> {
    let value = located.value.clone().unwrap_or_default();
    let entry = located.shape.read(&value);
    let options = if examined.scope == "project" { " --scope project" } else { "" };
    let repair = format!("`pyro host repair {}{options}`", examined.host);
    examined.entry = Some(located.path.join("."));
    examined.command = entry.command.iter().chain(entry.arguments.iter().flatten()).cloned().collect();

    if let Some(url) = entry.url {
        examined.untried = Some(format!("it is one that runs at {url}"));
        return Ok(());
    }
    let comparison = compare(settings, place, located.shape, &value, wanted);
    let (mut another_program, mut other_arguments) = (false, false);
    for difference in comparison.differences {
        match difference.subject {
            // Another program may be as good: that is seen when it is tried.
            Subject::Command => another_program = true,
            Subject::Arguments => {
                other_arguments = true;
                examined.issue(difference.what, repair.clone());
            }
            Subject::Other => examined.issue(difference.what, repair.clone()),
        }
    }
    if entry.switched_off {
        examined.issue(
            "the entry is switched off",
            format!("take `enabled` or `disabled` out of it in {}", place.file.display()),
        );
    }
    let Some(launch) = launch(settings, place, &entry, examined, &repair) else { return Ok(()) };
    // A project's file may have come with the project: what it names is not run unseen.
    if place.scope == Scope::Project && (another_program || other_arguments || !entry.variables.is_empty()) {
        let why = "a project's file is tried only where it starts this program's server, without variables";
        examined.untried = Some(why.to_owned());
        return Ok(());
    }
    let by_hand = format!("start `{}` by hand to see more", shell_words(&examined.command));
    let answer = try_it(&launch, examined, if another_program { &repair } else { &by_hand })?;
    if let Some(answer) = answer {
        let own = env!("CARGO_PKG_VERSION");
        if answer.version != own || answer.name != "pyro" {
            let what = format!("the server is {} {}, and this is pyro {own}", answer.name, answer.version);
            examined.issue(what, repair);
        }
        examined.server = Some(Told {
            name: answer.name,
            version: answer.version,
            protocol_version: answer.protocol_version,
            tools: answer.tools,
        });
    }
    Ok(())
}

/// What the host would start, if that can be known.
fn launch(
    settings: &HostSettings,
    place: &Place,
    entry: &Entry,
    examined: &mut Examined,
    repair: &str,
) -> Option<Launch> {
    let (Some(command), Some(arguments)) = (&entry.command, &entry.arguments) else {
        if entry.command.is_none() {
            examined.issue("the entry has no command", repair);
        }
        return None;
    };
    let expand = |word: &String| expand(place.host, word, &place.project, settings.home.as_deref());
    let words: Option<Vec<String>> = std::iter::once(command).chain(arguments).map(expand).collect();
    let Some(mut words) = words else {
        examined.untried = Some("its command has variables that only the host knows".to_owned());
        return None;
    };
    let command = words.remove(0);
    let directory = entry.directory.as_ref().map_or(place.project.clone(), |cwd| place.project.join(cwd));
    let Some(program) = resolve(&command, &directory, &settings.search_path) else {
        let path = directory.join(&command);
        let what = match (command.contains('/'), path.exists() && !is_executable(&path)) {
            (true, true) => format!("{command} cannot be executed"),
            (true, false) => format!("{command} is not there"),
            (false, _) => format!("`{command}` is not on PATH"),
        };
        examined.issue(what, repair);
        return None;
    };
    let mut variables: Vec<(OsString, OsString)> = Vec::new();
    if let Some(forwarded) = &entry.forwarded {
        let names = CODEX_VARIABLES.into_iter().map(str::to_owned).chain(forwarded.iter().cloned());
        variables.extend(names.filter_map(|name| {
            let value = settings::inherited(name.as_ref())?;
            Some((OsString::from(name), value))
        }));
    }
    variables.extend(entry.variables.iter().map(|(name, value)| (name.into(), value.into())));
    Some(Launch {
        program,
        arguments: words,
        directory,
        variables,
        inherits: entry.forwarded.is_none(),
        answers_within: PROBE_SECONDS_MAX,
        ends_within: PROBE_END_SECONDS_MAX,
    })
}

fn try_it(launch: &Launch, examined: &mut Examined, fix: &str) -> Result<Option<Answer>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new(Code::System, "the asynchronous runtime could not be started").because(error)
    })?;
    let probed = runtime.block_on(probe(launch));
    if let Some(fault) = probed.fault {
        examined.issue(format!("the server does not work: {fault}"), fix);
    }
    Ok(probed.answer)
}

fn text(examined: &Examined) -> String {
    let mut lines = vec![
        format!("Host: {}", examined.host),
        match &examined.program {
            Some(program) => format!("Program: {}", program.display()),
            None => format!("Program: none, `{}` is not on PATH", examined.looked_for),
        },
        format!("File: {}", examined.file.display()),
        format!("Entry: {}", examined.entry.as_deref().unwrap_or("none")),
    ];
    if !examined.command.is_empty() {
        lines.push(format!("Command: {}", shell_words(&examined.command)));
    }
    if let Some(server) = &examined.server {
        lines.push(format!(
            "Server: {} {}, protocol {}, {} tool{}",
            server.name,
            server.version,
            server.protocol_version,
            server.tools,
            if server.tools == 1 { "" } else { "s" }
        ));
    }
    lines.extend(examined.untried.iter().map(|why| format!("Server: not tried, {why}")));
    lines.push(format!("Setup: {}", if examined.passes { "PASS" } else { "FAIL" }));
    // An issue has one line, whatever a server said.
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    lines.extend(
        examined.issues.iter().map(|issue| one_line(&format!("- issue {} fix: {}", issue.what, issue.fix))),
    );
    printable(lines.join("\n").as_bytes())
}
