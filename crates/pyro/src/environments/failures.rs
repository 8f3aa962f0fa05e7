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
        InstalledError::Disk(error) => disk(&error),
        _ => Failure::new(Code::System, text),
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
        RemoveError::Canceled(_) => Failure::new(Code::Interrupted, text),
        RemoveError::Tool(error) => tool(&error),
        RemoveError::Disk(error) => disk(&error),
        _ => Failure::new(Code::System, text),
    }
}

/// A pull that failed. Whatever it was, nothing is half installed.
pub(super) fn pull_failure(name: &str, error: PullError) -> Failure {
    let message = format!("{name} was not installed");
    let mut failure = match &error {
        PullError::Canceled(_) => Failure::new(Code::Interrupted, ""),
        PullError::Archive(error) => archive(error),
        PullError::Tool(error) => tool(error),
        PullError::Disk(error) => disk(error),
        PullError::Installed(InstalledError::Disk(error)) => disk(error),
        PullError::RootImage(RootImageError::Writer(error)) => match error.downcast_ref::<Failure>() {
            Some(failure) => failure.clone(),
            None => Failure::new(Code::PullFailed, chain(error.as_ref())),
        },
        PullError::InUse { .. } => Failure::new(Code::EnvironmentInUse, chain(&error))
            .fix("end the VMs that use it, then pull again"),
        _ => Failure::new(Code::PullFailed, chain(&error)).fix("pull again"),
    };
    failure.cause = Some(match (failure.message.is_empty(), &failure.cause) {
        (true, _) => chain(&error),
        (false, None) => failure.message.clone(),
        (false, Some(cause)) => format!("{}: {cause}", failure.message),
    });
    failure.message = message;
    failure
}

fn archive(error: &ArchiveError) -> Failure {
    let text = chain(error);
    match error {
        ArchiveError::Network { .. } => Failure::new(Code::NetworkFailed, text)
            .fix("check the network and the system's proxy, then pull again"),
        ArchiveError::Checksum { .. } | ArchiveError::Signature { .. } => {
            Failure::new(Code::ChecksumMismatch, text)
                .fix("a mirror or proxy gave wrong data: pull again later or from elsewhere")
        }
        ArchiveError::Tool(error) => tool(error),
        ArchiveError::Disk(error) => disk(error),
        _ => Failure::new(Code::PullFailed, text).fix("pull again"),
    }
}

fn tool(error: &ToolError) -> Failure {
    let text = chain(error);
    match error {
        ToolError::Missing(missing) => {
            let packages = missing.tool.packages();
            let others = [("dnf", packages.dnf), ("pacman", packages.pacman), ("zypper", packages.zypper)];
            let others: Vec<String> =
                others.iter().filter_map(|(manager, name)| name.map(|name| format!("{manager}: {name}"))).collect();
            Failure::new(Code::ToolMissing, text)
                .fix(format!("install it (apt: {}, {})", packages.apt, others.join(", ")))
        }
        ToolError::Canceled(_) => Failure::new(Code::Interrupted, text),
        ToolError::NoSubordinateIds { user, .. } => Failure::new(Code::System, text).fix(format!(
            "give the user some: `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}`"
        )),
        ToolError::NamespaceRefused { .. } => Failure::new(Code::System, text)
            .fix("allow unprivileged user namespaces on this system, or pull as root"),
        _ => Failure::new(Code::PullFailed, text).fix("pull again"),
    }
}

fn disk(error: &DiskError) -> Failure {
    let text = chain(error);
    match error {
        DiskError::Full { .. } | DiskError::LowSpace { .. } => {
            Failure::new(Code::NoSpace, text).fix("free some space, or point PYRO_CACHE_DIR at a larger disk")
        }
        _ => Failure::new(Code::StateUnusable, text)
            .fix("make the directory writable, or point PYRO_CACHE_DIR at one that is"),
    }
}
