//! What a person can do about a pull that failed, in one sentence. It decides nothing about how errors are shown.

use super::PullError;
use crate::archive::ArchiveError;
use crate::child::ToolError;
use crate::disk::DiskError;
use crate::tools::Tool;

impl PullError {
    /// What to do next, one sentence; nothing where nothing is wrong.
    pub fn remedy(&self) -> Option<String> {
        let again = "run the same pull again";
        let text = match self {
            Self::Canceled(_) => return None,
            Self::Archive(error) => return Some(archive_remedy(error)),
            Self::Kernel(_) | Self::Rootfs(_) | Self::RootImage(_) | Self::Installed(_) => again.to_owned(),
            Self::InUse { .. } => "stop the VMs that use it, then run the same pull again".to_owned(),
            Self::Tool(error) => tool_remedy(error),
            Self::Disk(DiskError::Full { path } | DiskError::LowSpace { path, .. }) => {
                format!("make room on the filesystem of {}, or put the cache on another one", path.display())
            }
            Self::Disk(_) => "check that the cache directory exists, is yours and is writable".to_owned(),
        };
        Some(text)
    }
}

fn archive_remedy(error: &ArchiveError) -> String {
    let text = match error {
        ArchiveError::Network { .. } => {
            "check the network and the proxy settings, then run the same pull again"
        }
        ArchiveError::Checksum { .. } | ArchiveError::Truncated { .. } => {
            "a mirror or a proxy gave wrong data: run the same pull again in some minutes"
        }
        ArchiveError::Signature { .. } => {
            "install the package debian-archive-keyring, and check that this machine's clock is right"
        }
        ArchiveError::Lacking { .. } => "the mirror is not complete: use Debian's own archive",
        ArchiveError::Record { .. } => "update mmdebstrap and apt, then run the same pull again",
        ArchiveError::Tool(error) => return tool_remedy(error),
        ArchiveError::Disk(_) => "check that the cache directory exists, is yours and is writable",
    };
    text.to_owned()
}

fn tool_remedy(error: &ToolError) -> String {
    match error {
        ToolError::Missing(missing) => install(missing.tool),
        ToolError::NoSubordinateIds { user, .. } => {
            format!("run as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}")
        }
        ToolError::NamespaceRefused { .. } => {
            "run the pull as root, or allow user namespaces (sysctl user.max_user_namespaces, \
             kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
                .to_owned()
        }
        _ => "run the same pull again".to_owned(),
    }
}

fn install(tool: Tool) -> String {
    let packages = tool.packages();
    let lines = [
        ("apt install", Some(packages.apt)),
        ("dnf install", packages.dnf),
        ("pacman -S", packages.pacman),
        ("zypper install", packages.zypper),
    ];
    let known = lines.iter().filter_map(|(command, package)| Some(format!("{command} {}", (*package)?)));
    format!("install it: {}", known.collect::<Vec<_>>().join(", or "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::ToolMissing;

    /// Keeps: a missing tool's remedy names its package for each package manager that has it.
    #[test]
    fn missing_tools_have_a_remedy() {
        let error = PullError::from(ToolError::from(ToolMissing { tool: Tool::Newuidmap }));
        let expected = "install it: apt install uidmap, or dnf install shadow-utils, or pacman -S shadow, \
                        or zypper install shadow";
        assert_eq!(error.remedy().as_deref(), Some(expected));
    }
}
