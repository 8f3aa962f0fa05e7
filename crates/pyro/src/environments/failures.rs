//! What goes wrong with environments, in the words of the product.

use pyro_image::{
    ArchiveError, DiskError, InstalledError, PullError, RemoveError, RootImageError, ToolError,
    UnknownEnvironment,
};

use crate::failure::chain;
use crate::{Code, Failure};

/// An unknown name, with the nearest ones.
pub(super) fn unknown(error: UnknownEnvironment) -> Failure {
    let nearest: Vec<String> = error.nearest.iter().map(|name| format!("`{name}`")).collect();
    let failure = Failure::new(Code::EnvironmentUnknown, format!("there is no environment `{}`", error.name));
    match nearest.as_slice() {
        [] => failure.fix("see `pyro env list`"),
        near => failure.fix(format!("did you mean {}? see `pyro env list`", near.join(" or "))),
    }
}

/// An installed environment that cannot be used.
pub(crate) fn image_failure(error: InstalledError) -> Failure {
    let text = chain(&error);
    match error {
        InstalledError::NotInstalled { name } => {
            Failure::new(Code::EnvironmentNotInstalled, text).fix(format!("run `pyro env pull {name}`"))
        }
        InstalledError::Damaged { name, .. } | InstalledError::Kernel { name, .. } => {
            Failure::new(Code::EnvironmentDamaged, text)
                .fix(format!("run `pyro env pull {name}` to install it anew"))
        }
        InstalledError::Disk(error) => plain(PullError::Disk(error)),
        _ => Failure::new(Code::System, text).fix("run the command again"),
    }
}

/// A removal that failed.
pub(super) fn remove_failure(error: RemoveError) -> Failure {
    let text = chain(&error);
    match error {
        RemoveError::NotInstalled { .. } => {
            Failure::new(Code::EnvironmentNotInstalled, text).fix("see `pyro env list`")
        }
        RemoveError::InUse { .. } => Failure::new(Code::EnvironmentInUse, text)
            .fix("end the VMs that use it, or wait for the pull, and try again"),
        RemoveError::Canceled(_) => Failure::new(Code::Interrupted, text).fix("run the command again"),
        RemoveError::Tool(error) => plain(PullError::Tool(error)),
        RemoveError::Disk(error) => plain(PullError::Disk(error)),
        _ => Failure::new(Code::System, text).fix("run the command again"),
    }
}

/// A pull that failed. Whatever it was, nothing is half installed.
pub(super) fn pull_failure(name: &str, error: PullError) -> Failure {
    let inner = match &error {
        PullError::RootImage(RootImageError::Writer(error)) => error.downcast_ref::<Failure>().cloned(),
        _ => None,
    };
    let mut failure = inner.unwrap_or_else(|| plain(error));
    let cause = std::mem::replace(&mut failure.message, format!("{name} was not installed"));
    failure.cause = Some(match failure.cause {
        Some(deeper) => format!("{cause}: {deeper}"),
        None => cause,
    });
    failure
}

/// The image crate's own words, under the product's code.
fn plain(error: PullError) -> Failure {
    let mut failure = Failure::new(code(&error), chain(&error));
    failure.remediation = error.remedy();
    failure
}

fn code(error: &PullError) -> Code {
    match error {
        PullError::Canceled(_) => Code::Interrupted,
        PullError::Archive(ArchiveError::Network { .. }) => Code::NetworkFailed,
        PullError::Archive(ArchiveError::Checksum { .. } | ArchiveError::Signature { .. }) => {
            Code::ChecksumMismatch
        }
        PullError::Archive(ArchiveError::Tool(ToolError::Missing(_))) => Code::ToolMissing,
        PullError::Tool(error) => match error {
            ToolError::Missing(_) => Code::ToolMissing,
            ToolError::Canceled(_) => Code::Interrupted,
            ToolError::NoSubordinateIds { .. } | ToolError::NamespaceRefused { .. } => Code::System,
            _ => Code::PullFailed,
        },
        PullError::Disk(DiskError::Full { .. } | DiskError::LowSpace { .. }) => Code::NoSpace,
        PullError::Disk(_) => Code::StateUnusable,
        PullError::InUse { .. } => Code::EnvironmentInUse,
        _ => Code::PullFailed,
    }
}
