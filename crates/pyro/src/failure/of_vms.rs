//! What shims and agents tell of, in the words of the product.

use pyro_proto::{agent, shim};

use super::{Code, Failure, remedies};

impl From<shim::Failure> for Failure {
    fn from(failure: shim::Failure) -> Self {
        use shim::FailureCode as From;
        let (code, fix) = match failure.code {
            From::VmmFailed => (Code::VmmFailed, Some("run `pyro doctor` to see what this machine lacks")),
            From::VmmDied => (Code::VmmDied, Some("run the command again; if it repeats, run `pyro doctor`")),
            From::GuestSilent => (Code::GuestSilent, Some("run the command again on a machine less busy")),
            From::GuestPanicked => (
                Code::GuestPanicked,
                Some("run the command again; if it repeats, look at what it does to the kernel"),
            ),
            From::GuestEnded => {
                (Code::GuestEnded, Some("let the command end by itself instead of powering off or rebooting"))
            }
            From::GuestFaulty => {
                (Code::GuestFaulty, Some("what ran in this VM tampered with its agent: trust nothing of it"))
            }
            From::TemplateUnusable => (Code::TemplateUnusable, Some("run the command again")),
            From::NoSpace => (Code::NoSpace, Some("free some space and run the command again")),
            From::ArchiveDamaged => (Code::PullFailed, Some("pull again")),
            From::Expired => (Code::Expired, Some("give it longer with --ttl-seconds")),
            From::Stopped => (Code::Stopped, Some("run the command again")),
            From::NameTaken => (Code::NameTaken, Some("choose another name, or delete the other workspace")),
            From::WorkspaceGone => {
                (Code::WorkspaceUnknown, Some("list those that are there with `pyro workspace list`"))
            }
            From::WorkspaceHeld => (Code::WorkspaceHeld, Some(remedies::HELD)),
            From::CommandUnknown => {
                (Code::CommandUnknown, Some("see `pyro workspace logs` for the numbers there are"))
            }
            From::ShellUnknown => (Code::ShellUnknown, Some(remedies::SHELL_UNKNOWN)),
            From::ShellEnded => (Code::ShellEnded, Some(remedies::SHELL_ENDED)),
            From::ServiceUnknown => (Code::ServiceUnknown, Some(remedies::SERVICE_UNKNOWN)),
            From::ServiceTaken => (Code::ServiceExists, Some(remedies::SERVICE_EXISTS)),
            From::ServiceStopped => (Code::ServiceStopped, Some(remedies::SERVICE_STOPPED)),
            From::SnapshotTaken => (Code::SnapshotTaken, Some(remedies::SNAPSHOT_TAKEN)),
            From::SnapshotUnknown => (Code::SnapshotUnknown, Some(remedies::SNAPSHOT_UNKNOWN)),
            From::LayerDamaged => (Code::LayerDamaged, Some(remedies::LAYER_DAMAGED)),
            From::LayersTooMany => (Code::LayersTooMany, Some(remedies::LAYERS_TOO_MANY)),
            From::MemoryUnusable => (Code::MemoryUnusable, Some(remedies::MEMORY_UNUSABLE)),
            From::Refused | From::System => {
                (Code::System, Some("run `pyro doctor` to see what this machine lacks"))
            }
        };
        let mut mapped = Failure::new(code, failure.message);
        mapped.remediation = fix.map(str::to_owned);
        mapped.console = failure.console;
        mapped
    }
}

impl From<agent::Failure> for Failure {
    fn from(failure: agent::Failure) -> Self {
        use agent::FailureKind as From;
        let (code, fix) = match failure.kind {
            From::CommandNotFound => {
                (Code::CommandNotFound, Some("check the spelling, or use an environment that has it"))
            }
            From::CommandNotExecutable => (Code::CommandNotExecutable, Some("check its mode and format")),
            From::DirectoryMissing => {
                (Code::DirectoryMissing, Some("choose a directory that exists in the guest"))
            }
            From::UserUnknown => (Code::UserUnknown, Some("choose a user of the guest's /etc/passwd")),
            From::InvalidArgument => {
                (Code::InvalidArgument, Some("shorten the command, or pass its data on standard input"))
            }
            From::NoSpace => (Code::NoSpace, Some("the guest's disk is full: free some space in it")),
            // The host checks archives before a guest sees them: this is the protocol's own trouble.
            From::ArchiveDamaged => (Code::ArchiveRefused, Some("run the command again")),
            From::PathOutside => (Code::PathOutside, Some("choose a path that stays below /workspace")),
            From::PathMissing => {
                (Code::PathMissing, Some("list what is there with `pyro workspace file list`"))
            }
            From::TypeConflict => (
                Code::TypeConflict,
                Some("remove what is there first, or choose another path; nothing was changed"),
            ),
            From::NotReady => (Code::ServiceFailed, Some(remedies::SERVICE_UNREADY)),
            From::EndedEarly => (Code::ServiceFailed, Some(remedies::SERVICE_ENDED)),
            From::AddressTaken => (Code::ServiceFailed, Some(remedies::SERVICE_ADDRESS_TAKEN)),
            From::Changed => (Code::ChangedMeanwhile, Some("nothing was changed; run the command again")),
            From::Canceled => {
                (Code::Interrupted, Some("nothing was changed; run the command again when you like"))
            }
            From::DiskMissing | From::Refused | From::System => {
                (Code::System, Some("run `pyro doctor` to see what this machine lacks"))
            }
        };
        let mut mapped = Failure::new(code, failure.detail);
        mapped.remediation = fix.map(str::to_owned);
        mapped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a VM or its agent reports comes with what to do next.
    #[test]
    fn every_failure_has_a_remedy() {
        use agent::FailureKind as Kind;
        use shim::FailureCode as From;
        let of_shims = [
            From::VmmFailed,
            From::VmmDied,
            From::GuestSilent,
            From::GuestPanicked,
            From::GuestEnded,
            From::GuestFaulty,
            From::TemplateUnusable,
            From::NoSpace,
            From::ArchiveDamaged,
            From::Expired,
            From::Stopped,
            From::NameTaken,
            From::WorkspaceGone,
            From::WorkspaceHeld,
            From::CommandUnknown,
            From::ShellUnknown,
            From::ShellEnded,
            From::ServiceUnknown,
            From::ServiceTaken,
            From::ServiceStopped,
            From::SnapshotTaken,
            From::SnapshotUnknown,
            From::LayerDamaged,
            From::LayersTooMany,
            From::MemoryUnusable,
            From::Refused,
            From::System,
        ];
        for code in of_shims {
            let failure = shim::Failure { code, message: "x".to_owned(), console: Vec::new() };
            assert!(Failure::from(failure).remediation.is_some(), "{code:?}");
        }
        let of_agents = [
            Kind::CommandNotFound,
            Kind::CommandNotExecutable,
            Kind::DirectoryMissing,
            Kind::UserUnknown,
            Kind::InvalidArgument,
            Kind::NoSpace,
            Kind::NotReady,
            Kind::EndedEarly,
            Kind::DiskMissing,
            Kind::ArchiveDamaged,
            Kind::PathOutside,
            Kind::PathMissing,
            Kind::TypeConflict,
            Kind::Changed,
            Kind::Canceled,
            Kind::Refused,
            Kind::System,
        ];
        for kind in of_agents {
            let failure = agent::Failure { kind, detail: "x".to_owned() };
            assert!(Failure::from(failure).remediation.is_some(), "{kind:?}");
        }
    }
}
