//! What goes wrong with a VM, in the words that go to clients.

use std::error::Error;

use pyro_proto::agent::{self, FailureKind};
use pyro_proto::limits::{CONSOLE_TAIL_BYTES_MAX, FAILURE_TEXT_BYTES_MAX};
use pyro_proto::shim::{Failure, FailureCode};
use pyro_store::{ClaimError, RecordError, StoreError};
use pyro_vmm::{Exit, TemplateError, VmmError};

use crate::link::LinkError;

/// A failure without console.
pub(crate) fn failure(code: FailureCode, message: impl Into<String>) -> Failure {
    let mut message = message.into();
    if let Some((cut, _)) = message.char_indices().find(|(at, _)| *at >= FAILURE_TEXT_BYTES_MAX) {
        message.truncate(cut);
    }
    Failure { code, message, console: Vec::new() }
}

/// The VM was told to end.
pub(crate) fn stopped() -> Failure {
    failure(FailureCode::Stopped, "the VM was stopped")
}

/// The VM's time is over.
pub(crate) fn expired() -> Failure {
    failure(FailureCode::Expired, "the VM's time to live is over")
}

/// The VM ended by itself.
pub(crate) fn vm_ended(exit: &Exit, console: &[u8]) -> Failure {
    let code = match exit {
        Exit::Killed => FailureCode::Stopped,
        Exit::PoweredOff | Exit::Restarted => FailureCode::GuestEnded,
        Exit::Panicked { .. } => FailureCode::GuestPanicked,
        _ => FailureCode::VmmDied,
    };
    with_console(failure(code, exit.to_string()), console)
}

/// The guest's channel failed: either its end closed, or what came was no protocol.
pub(crate) fn link_failed(error: &LinkError, console: &[u8]) -> Failure {
    if error.is_end() {
        return with_console(failure(FailureCode::VmmDied, chain(error)), console);
    }
    if let LinkError::Awaited(_) = error {
        return system("the VM's channels failed", error);
    }
    with_console(guest_broke(error), console)
}

/// The guest sent what no agent sends.
pub(crate) fn guest_broke(error: &dyn Error) -> Failure {
    failure(FailureCode::GuestFaulty, format!("the guest broke the protocol: {}", chain(error)))
}

/// The guest let a deadline pass.
pub(crate) fn guest_silent(what: &str, console: &[u8]) -> Failure {
    with_console(failure(FailureCode::GuestSilent, format!("the guest did not {what} in time")), console)
}

/// The agent could not do what the shim asked for.
pub(crate) fn agent_failed(error: &agent::Failure) -> Failure {
    let code = match error.kind {
        FailureKind::NoSpace => FailureCode::NoSpace,
        FailureKind::ArchiveDamaged => FailureCode::ArchiveDamaged,
        _ => FailureCode::System,
    };
    failure(code, format!("the guest's agent failed: {}", error.detail))
}

/// The VMM could not be started, saved or forked.
pub(crate) fn vmm_failed(error: &VmmError) -> Failure {
    let code = match error {
        VmmError::Ended(exit) => return vm_ended(exit, &[]),
        VmmError::Template(error) if error.wants_rebuild() => FailureCode::TemplateUnusable,
        error if is_out_of_space(error) => FailureCode::NoSpace,
        VmmError::Template(TemplateError::File { .. }) | VmmError::Channels(_) | VmmError::Vsock(_) => {
            FailureCode::System
        }
        VmmError::State { what: "load" } => FailureCode::TemplateUnusable,
        _ => FailureCode::VmmFailed,
    };
    failure(code, chain(error))
}

/// Files, sockets or processes of the host failed.
pub(crate) fn system(what: &str, error: &(dyn Error + 'static)) -> Failure {
    let code = if is_out_of_space(error) { FailureCode::NoSpace } else { FailureCode::System };
    failure(code, format!("{what}: {}", chain(error)))
}

/// A record of a workspace could not be made or changed.
pub(crate) fn record_failed(error: &RecordError) -> Failure {
    let code = match error {
        RecordError::Store(error) => return system("the state cannot be used", error),
        RecordError::NameTaken(_) => FailureCode::NameTaken,
        RecordError::Gone(_) => FailureCode::WorkspaceGone,
        RecordError::SnapshotTaken(_) => FailureCode::SnapshotTaken,
        RecordError::SnapshotUnknown(_) => FailureCode::SnapshotUnknown,
        RecordError::LayersTooMany(_) => FailureCode::LayersTooMany,
        RecordError::LayerUnknown(_) => FailureCode::LayerDamaged,
        _ => FailureCode::Refused,
    };
    failure(code, chain(error))
}

/// A workspace could not be made or claimed.
pub(crate) fn claim_failed(error: &ClaimError) -> Failure {
    match error {
        ClaimError::Record(error) => record_failed(error),
        ClaimError::Held(_) => failure(FailureCode::WorkspaceHeld, chain(error)),
        ClaimError::File { .. } | ClaimError::Lock(_) => system("the workspace cannot be used", error),
    }
}

/// Adds the end of the guest's console.
pub(crate) fn with_console(mut failure: Failure, console: &[u8]) -> Failure {
    let start = console.len().saturating_sub(CONSOLE_TAIL_BYTES_MAX);
    failure.console = console.get(start..).unwrap_or_default().to_vec();
    failure
}

fn is_out_of_space(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if is_full_disk(error) {
            return true;
        }
        next = error.source();
    }
    false
}

fn is_full_disk(error: &(dyn Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let Some(io) = error.downcast_ref::<std::io::Error>() else {
        return matches!(error.downcast_ref::<StoreError>(), Some(StoreError::NoSpace(_)));
    };
    // An error wrapped into an I/O error is not among its sources.
    let wrapped = io.get_ref().and_then(|inner| inner.downcast_ref::<StoreError>());
    matches!(io.kind(), StorageFull | QuotaExceeded) || matches!(wrapped, Some(StoreError::NoSpace(_)))
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full disk is named as such, however deep it is reported.
    #[test]
    fn a_full_disk_is_a_full_disk() {
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = VmmError::Open { path: "/x".into(), source };
        assert_eq!(vmm_failed(&error).code, FailureCode::NoSpace);
    }

    /// A guest cannot make a failure's text or console grow without bound.
    #[test]
    fn texts_are_bounded() {
        assert!(failure(FailureCode::System, "ä".repeat(10_000)).message.len() <= FAILURE_TEXT_BYTES_MAX + 1);
        let long = with_console(failure(FailureCode::System, ""), &[b'x'; 100_000]);
        assert_eq!(long.console.len(), CONSOLE_TAIL_BYTES_MAX);
    }
}
