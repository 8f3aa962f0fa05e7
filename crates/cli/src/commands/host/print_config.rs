//! `pyro host print-config`

use pyro::Failure;

use super::document::Document;
use super::place::Place;
use super::shape::Shape;
use super::wanted::Wanted;
use crate::arguments::host::{PrintConfig, Scope};
use crate::exit::Status;
use crate::settings::HostSettings;
use crate::{report, terminal};

/// Prints what `connect` would write to a file that is empty, and nothing else.
pub(super) fn run(settings: &HostSettings, arguments: &PrintConfig) -> Result<Status, Failure> {
    let named = &arguments.place;
    // Nothing is read or written, so that no home is needed.
    let found = Place::find(settings, named.host, Scope::Project, arguments.serve.project_path.as_deref())?;
    let place = Place { scope: named.scope, ..found };
    let wanted = Wanted::new(settings, &place, &arguments.serve)?;
    let unwritten = |fault: super::document::Fault| fault.of(&place.file);
    let mut document = Document::parse(place.host.format(), b"").map_err(unwritten)?;
    let located = Shape::locate(place.host, &document).map_err(unwritten)?;
    document.set(&located.path, &located.shape.fields(&wanted.invocation)).map_err(unwritten)?;
    Ok(report::written(terminal::result(&document.text())))
}
