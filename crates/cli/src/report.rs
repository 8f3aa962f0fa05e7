//! Failures and JSON as people and programs see them.

use std::io;

use pyro::results::ErrorResult;
use pyro::{Code, Failure};
use serde::Serialize;

use crate::exit::Status;
use crate::terminal;
use crate::untrusted::printable;

/// Prints one JSON object: two spaces of indent, keys sorted.
pub(crate) fn json(value: &impl Serialize) -> io::Result<()> {
    // Through a value, whose maps keep their keys sorted.
    let value = serde_json::to_value(value)?;
    terminal::result(&serde_json::to_string_pretty(&value)?)
}

/// Tells of a failure, as JSON on standard output where JSON was asked for, and gives the exit code.
pub(crate) fn failure(failure: &Failure, as_json: bool) -> Status {
    if as_json {
        let _ = json(&ErrorResult::from(failure));
    } else {
        terminal::error(&printable(failure.to_string().as_bytes()));
        show_console(&failure.console);
    }
    Status::of_failure(failure)
}

fn show_console(console: &[u8]) {
    let text = printable(console);
    if text.trim().is_empty() {
        return;
    }
    terminal::note("end of the guest's console:");
    for line in text.trim_end().lines() {
        terminal::note(&format!("  | {line}"));
    }
}

/// How writing a result went. A reader that left is no failure of ours to speak of; a full disk is.
pub(crate) fn written(result: io::Result<()>) -> Status {
    match result {
        Ok(()) => Status::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Status::BROKEN_PIPE,
        Err(error) => {
            let failed = Failure::new(Code::System, "standard output cannot be written")
                .because(error)
                .fix("check where it goes");
            failure(&failed, false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form of an error is fixed, and codes are kebab-case.
    #[test]
    fn errors_have_one_form() {
        let failure =
            Failure::new(Code::EnvironmentUnknown, "no environment `debian:13`").fix("try `debian:12`");
        let text = serde_json::to_value(ErrorResult::from(&failure)).unwrap().to_string();
        assert_eq!(
            text,
            r#"{"error":{"cause":null,"code":"environment-unknown","message":"no environment `debian:13`","remediation":"try `debian:12`"}}"#
        );
    }
}
