//! The one failure that every face of pyro shows: command line, JSON, and whatever comes later.

use std::fmt;

use pyro_proto::{agent, shim};
use serde::Serialize;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
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
    pub const ALL: [Code; 49] = [
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

const HELD_REMEDY: &str = "run the command again in a moment; if it stays so, its VM runs under another PYRO_RUNTIME_DIR or XDG_RUNTIME_DIR";

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

impl From<pyro_store::StoreError> for Failure {
    fn from(error: pyro_store::StoreError) -> Self {
        use pyro_store::StoreError::{Busy, Damaged, Newer, NoSpace, Unusable};
        let text = chain(&error);
        match error {
            Damaged(path) => Failure::new(Code::StateDamaged, text)
                .fix(format!("move {} aside and run the command again", path.display())),
            Newer { .. } => Failure::new(Code::StateNewer, text)
                .fix("use the newer pyro, or point PYRO_STATE_DIR at another directory"),
            NoSpace(_) => Failure::new(Code::NoSpace, text).fix("free some space and run the command again"),
            Busy(_) => Failure::new(Code::StateUnusable, text).fix("run the command again"),
            Unusable { .. } => Failure::new(Code::StateUnusable, text)
                .fix("make the directory writable, or point PYRO_STATE_DIR at one that is"),
        }
    }
}

impl From<pyro_store::ResolveError> for Failure {
    fn from(error: pyro_store::ResolveError) -> Self {
        use pyro_store::ResolveError::{Ambiguous, Store, Unknown};
        let text = error.to_string();
        match error {
            Store(error) => error.into(),
            Unknown { close, .. } => {
                let fix = match close.first() {
                    Some(close) => format!("did you mean `{close}`? see `pyro workspace list`"),
                    None => "list those that are there with `pyro workspace list`".to_owned(),
                };
                Failure::new(Code::WorkspaceUnknown, text).fix(fix)
            }
            Ambiguous { candidates, .. } => {
                let candidates: Vec<&str> = candidates.iter().map(pyro_store::WorkspaceId::as_str).collect();
                Failure::new(Code::WorkspaceAmbiguous, text)
                    .because(candidates.join(", "))
                    .fix("give more of the id, or the name")
            }
        }
    }
}

impl From<pyro_store::RecordError> for Failure {
    fn from(error: pyro_store::RecordError) -> Self {
        use pyro_store::RecordError::{Gone, NameTaken, Store};
        let text = error.to_string();
        match error {
            NameTaken(_) => {
                Failure::new(Code::NameTaken, text).fix("choose another name, or delete the other workspace")
            }
            Gone(_) => Failure::new(Code::WorkspaceUnknown, text)
                .fix("list those that are there with `pyro workspace list`"),
            Store(error) => error.into(),
        }
    }
}

impl From<pyro_store::ChangeError> for Failure {
    fn from(error: pyro_store::ChangeError) -> Self {
        match error {
            pyro_store::ChangeError::Record(error) => error.into(),
            pyro_store::ChangeError::Labels(error) => Failure::new(Code::InvalidArgument, error.to_string())
                .fix("take some away with --clear-label"),
        }
    }
}

impl From<pyro_store::ClaimError> for Failure {
    fn from(error: pyro_store::ClaimError) -> Self {
        let text = chain(&error);
        match error {
            pyro_store::ClaimError::Record(error) => error.into(),
            pyro_store::ClaimError::Held(_) => Failure::new(Code::WorkspaceHeld, text).fix(HELD_REMEDY),
            pyro_store::ClaimError::File { .. } | pyro_store::ClaimError::Lock(_) => {
                Failure::new(Code::StateUnusable, text)
                    .fix("make the state directory writable, or point PYRO_STATE_DIR at one that is")
            }
        }
    }
}

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
            From::WorkspaceHeld => (Code::WorkspaceHeld, Some(HELD_REMEDY)),
            From::CommandUnknown => {
                (Code::CommandUnknown, Some("see `pyro workspace logs` for the numbers there are"))
            }
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
