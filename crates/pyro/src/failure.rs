//! The one failure that every face of pyro shows: command line, JSON, and whatever comes later.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

mod of_stores;
mod of_vms;
pub(crate) mod remedies;

/// What went wrong: one sentence of what, why, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its class; a closed list, see [`Code`].
    pub code: Code,
    /// What happened: a lower-case fragment without full stop.
    pub message: String,
    /// Why, as far as it is known.
    pub cause: Option<String>,
    /// What to do next.
    pub remediation: Option<String>,
    /// The end of the guest's console, where it explains something. Never trusted, to be shown escaped.
    pub console: Vec<u8>,
}

/// The class of a failure. Documented in `docs/errors.md`; never renamed, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// A value that no command takes.
    InvalidArgument,
    /// A feature that this release does not have yet.
    NotSupported,
    /// No such environment in the catalog.
    EnvironmentUnknown,
    /// The environment has to be pulled first.
    EnvironmentNotInstalled,
    /// A running VM uses the environment.
    EnvironmentInUse,
    /// Files of the environment are missing or changed.
    EnvironmentDamaged,
    /// The archive could not be reached.
    NetworkFailed,
    /// What the archive gave is not what it signed.
    ChecksumMismatch,
    /// The archive's tool failed.
    PullFailed,
    /// A program that pyro needs is not installed.
    ToolMissing,
    /// QEMU is not installed.
    VmmMissing,
    /// QEMU is older than pyro can use.
    VmmTooOld,
    /// QEMU could not be started.
    VmmFailed,
    /// QEMU ended while it was needed.
    VmmDied,
    /// The accelerator that was asked for cannot run a guest here.
    AcceleratorUnusable,
    /// Guests cannot be reached over the transport that was asked for.
    TransportUnusable,
    /// The guest did not answer in time.
    GuestSilent,
    /// The guest's kernel panicked.
    GuestPanicked,
    /// The guest powered off or rebooted.
    GuestEnded,
    /// The guest broke the protocol.
    GuestFaulty,
    /// The template of the VM is damaged and could not be made again.
    TemplateUnusable,
    /// The VM's time to live is over.
    Expired,
    /// The VM was stopped while it was needed.
    Stopped,
    /// A person or a program interrupted the work.
    Interrupted,
    /// No such command in the guest.
    CommandNotFound,
    /// The command in the guest cannot be executed.
    CommandNotExecutable,
    /// The working directory is missing in the guest.
    DirectoryMissing,
    /// No such user or group in the guest.
    UserUnknown,
    /// No such workspace, or it is being deleted.
    WorkspaceUnknown,
    /// The beginning of an id fits several workspaces.
    WorkspaceAmbiguous,
    /// The workspace does not run, and was not to be started.
    WorkspaceStopped,
    /// Another process makes, starts or ends the workspace.
    WorkspaceHeld,
    /// Another workspace has this name.
    NameTaken,
    /// The workspace's history has no command of this number.
    CommandUnknown,
    /// The workspace is paused, and was not to be resumed.
    WorkspacePaused,
    /// The workspace has a snapshot of this name already.
    SnapshotTaken,
    /// The workspace has no snapshot of this name.
    SnapshotUnknown,
    /// The name is kept for the snapshot that every workspace has from its making.
    SnapshotReserved,
    /// A layer of the workspace's disk is damaged, or gone.
    LayerDamaged,
    /// The workspace's disk has as many layers, or snapshots, as it can have.
    LayersTooMany,
    /// The memory that was kept of a workspace cannot be used.
    MemoryUnusable,
    /// The workspace has no such shell.
    ShellUnknown,
    /// The shell does not run any more.
    ShellEnded,
    /// The shell does not take what is typed.
    ShellBusy,
    /// The workspace has no such service.
    ServiceUnknown,
    /// A service of this name runs already.
    ServiceExists,
    /// The service does not run.
    ServiceStopped,
    /// The service did not become ready.
    ServiceFailed,
    /// A path leads out of the workspace.
    PathOutside,
    /// A path is not there.
    PathMissing,
    /// A directory is where something else should go, or the other way round.
    TypeConflict,
    /// What was read has changed before it was written back.
    ChangedMeanwhile,
    /// A directory or archive of the host cannot be read, or not as a whole.
    SourceUnusable,
    /// An archive is damaged, or has entries that no workspace takes.
    ArchiveRefused,
    /// A patch cannot be read, or does not apply.
    PatchUnusable,
    /// Changes do not fit what the target has become.
    Conflict,
    /// Files that the host may run by itself were not allowed.
    ExecutableFiles,
    /// A place of the host cannot be written to, or is taken.
    TargetUnusable,
    /// No space left on the host or in the guest.
    NoSpace,
    /// A directory or file of pyro's own cannot be used.
    StateUnusable,
    /// The state database is damaged.
    StateDamaged,
    /// The state database is of a newer release.
    StateNewer,
    /// The VM's supervisor is gone.
    SupervisorLost,
    /// The system refused something that should have worked.
    System,
}

impl Code {
    /// Every code, in the order of the documentation.
    pub const ALL: [Code; 64] = [
        Code::InvalidArgument,
        Code::NotSupported,
        Code::EnvironmentUnknown,
        Code::EnvironmentNotInstalled,
        Code::EnvironmentInUse,
        Code::EnvironmentDamaged,
        Code::NetworkFailed,
        Code::ChecksumMismatch,
        Code::PullFailed,
        Code::ToolMissing,
        Code::VmmMissing,
        Code::VmmTooOld,
        Code::VmmFailed,
        Code::VmmDied,
        Code::AcceleratorUnusable,
        Code::TransportUnusable,
        Code::GuestSilent,
        Code::GuestPanicked,
        Code::GuestEnded,
        Code::GuestFaulty,
        Code::TemplateUnusable,
        Code::Expired,
        Code::Stopped,
        Code::Interrupted,
        Code::CommandNotFound,
        Code::CommandNotExecutable,
        Code::DirectoryMissing,
        Code::UserUnknown,
        Code::WorkspaceUnknown,
        Code::WorkspaceAmbiguous,
        Code::WorkspaceStopped,
        Code::WorkspaceHeld,
        Code::NameTaken,
        Code::CommandUnknown,
        Code::WorkspacePaused,
        Code::SnapshotTaken,
        Code::SnapshotUnknown,
        Code::SnapshotReserved,
        Code::LayerDamaged,
        Code::LayersTooMany,
        Code::MemoryUnusable,
        Code::ShellUnknown,
        Code::ShellEnded,
        Code::ShellBusy,
        Code::ServiceUnknown,
        Code::ServiceExists,
        Code::ServiceStopped,
        Code::ServiceFailed,
        Code::PathOutside,
        Code::PathMissing,
        Code::TypeConflict,
        Code::ChangedMeanwhile,
        Code::SourceUnusable,
        Code::ArchiveRefused,
        Code::PatchUnusable,
        Code::Conflict,
        Code::ExecutableFiles,
        Code::TargetUnusable,
        Code::NoSpace,
        Code::StateUnusable,
        Code::StateDamaged,
        Code::StateNewer,
        Code::SupervisorLost,
        Code::System,
    ];
}

impl Failure {
    /// A failure without cause and remedy yet.
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), cause: None, remediation: None, console: Vec::new() }
    }

    /// Adds why.
    pub fn because(mut self, cause: impl fmt::Display) -> Failure {
        self.cause = Some(cause.to_string());
        self
    }

    /// Adds what to do next.
    pub fn fix(mut self, remediation: impl Into<String>) -> Failure {
        self.remediation = Some(remediation.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(cause) = &self.cause {
            write!(f, ": {cause}")?;
        }
        if let Some(remediation) = &self.remediation {
            write!(f, "; {remediation}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// An error with everything behind it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        source = error.source();
    }
    text
}

/// A directory of ours cannot be used.
pub(crate) fn unusable(path: &std::path::Path, error: std::io::Error) -> Failure {
    let code = match error.kind() {
        std::io::ErrorKind::StorageFull => Code::NoSpace,
        _ => Code::StateUnusable,
    };
    Failure::new(code, format!("{} cannot be used", path.display()))
        .because(error)
        .fix("make it writable and free some space, or point PYRO_CACHE_DIR elsewhere")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code is documented, and nothing is documented that is no code.
    #[test]
    fn codes_and_their_documentation_agree() {
        let documentation = include_str!("../../../docs/errors.md");
        let table = documentation.split("## Codes").nth(1).unwrap();
        let documented: Vec<&str> =
            table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let known: Vec<String> = Code::ALL
            .iter()
            .map(|code| serde_json::to_value(code).unwrap().as_str().unwrap().to_owned())
            .collect();
        assert_eq!(documented, known);
    }
}
