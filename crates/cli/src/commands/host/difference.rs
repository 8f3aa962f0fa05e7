//! What an entry says beside what it should.

use std::path::Path;

use serde_json::{Value, json};

use super::command::{resolve, same_file};
use super::document::Fields;
use super::place::Place;
use super::shape::{Entry, Shape};
use super::wanted::{Invocation, Wanted};
use crate::settings::HostSettings;

/// What a difference is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Command,
    Arguments,
    Other,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) subject: Subject,
    pub(super) what: String,
}

/// All of them, and the fields that would mend them.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) differences: Vec<Difference>,
    pub(super) fields: Fields,
}

/// Compares an entry with what is wanted. What a person has added beside that is no difference.
pub(super) fn compare(
    settings: &HostSettings,
    place: &Place,
    shape: Shape,
    value: &Value,
    wanted: &Wanted,
) -> Comparison {
    let entry = shape.read(value);
    let mut comparison = Comparison::default();
    let mut differs = |subject, what: String| comparison.differences.push(Difference { subject, what });

    let kind_is_right = match &entry.kind {
        Some(kind) => kind == shape.kind(),
        None => !shape.needs_kind(),
    };
    if !kind_is_right {
        differs(Subject::Other, told("type", entry.kind.as_ref(), &json!(shape.kind())));
    }
    let command_is_right = leads_here(settings, place, &entry, &wanted.invocation.command);
    if !command_is_right {
        let found = entry.command.as_ref().map(|command| json!(command));
        differs(Subject::Command, told("command", found.as_ref(), &json!(wanted.invocation.command)));
    }
    let arguments_are_right = entry.arguments.as_ref().is_some_and(|arguments| wanted.accepts(arguments));
    if !arguments_are_right {
        let found = entry.arguments.as_ref().map(|arguments| json!(arguments));
        differs(Subject::Arguments, told("args", found.as_ref(), &json!(wanted.invocation.arguments)));
    }
    let missing: Fields =
        shape.limits().into_iter().filter(|(name, _)| value.get(*name).is_none_or(Value::is_null)).collect();
    for (name, _) in &missing {
        differs(Subject::Other, format!("`{name}` is not set, and the host ends calls after 60 s then"));
    }

    if !kind_is_right {
        comparison.fields.push(("type", json!(shape.kind())));
    }
    // What is right stays in the words it has.
    let wanted = wanted.invocation.clone();
    let invocation = Invocation {
        command: entry.command.filter(|_| command_is_right).unwrap_or(wanted.command),
        arguments: entry.arguments.filter(|_| arguments_are_right).unwrap_or(wanted.arguments),
    };
    comparison.fields.extend(shape.invocation(&invocation, !command_is_right, !arguments_are_right));
    comparison.fields.extend(missing);
    comparison
}

/// Whether an entry's command is the program that is wanted, by whatever path or name.
fn leads_here(settings: &HostSettings, place: &Place, entry: &Entry, wanted: &str) -> bool {
    let Some(command) = &entry.command else { return false };
    command == wanted
        || resolve(command, &place.project, &settings.search_path)
            .is_some_and(|path| same_file(&path, Path::new(wanted)))
}

fn told(name: &str, found: Option<&Value>, wanted: &Value) -> String {
    match found {
        Some(found) => format!("`{name}` is {found}, not {wanted}"),
        None => format!("`{name}` is not {wanted}"),
    }
}
