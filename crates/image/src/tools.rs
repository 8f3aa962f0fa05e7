//! The host programs this crate runs: where they are, and which packages bring them. It never runs them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A host program that a pull runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Tool {
    /// Builds a Debian system from the signed archive.
    Mmdebstrap,
    /// Reads `.deb` files.
    DpkgDeb,
    /// Makes ext4 file systems.
    Mke2fs,
    /// Checks ext4 file systems.
    E2fsck,
    /// Starts a program in new namespaces.
    Unshare,
    /// Starts a program that dies with its parent.
    Setpriv,
    /// Gives a user namespace its user ids.
    Newuidmap,
    /// Gives a user namespace its group ids.
    Newgidmap,
    /// The shell.
    Sh,
    /// Removes files that belong to a user namespace.
    Rm,
}

/// The packages that bring a tool, by package manager; `None` where the distribution has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolPackages {
    /// Debian, Ubuntu.
    pub apt: &'static str,
    /// Fedora.
    pub dnf: Option<&'static str>,
    /// Arch.
    pub pacman: Option<&'static str>,
    /// openSUSE.
    pub zypper: Option<&'static str>,
}

impl Tool {
    /// Every tool.
    pub const ALL: [Tool; 10] = [
        Tool::Mmdebstrap,
        Tool::DpkgDeb,
        Tool::Mke2fs,
        Tool::E2fsck,
        Tool::Unshare,
        Tool::Setpriv,
        Tool::Newuidmap,
        Tool::Newgidmap,
        Tool::Sh,
        Tool::Rm,
    ];

    /// The program's file name.
    pub fn program(self) -> &'static str {
        match self {
            Tool::Mmdebstrap => "mmdebstrap",
            Tool::DpkgDeb => "dpkg-deb",
            Tool::Mke2fs => "mke2fs",
            Tool::E2fsck => "e2fsck",
            Tool::Unshare => "unshare",
            Tool::Setpriv => "setpriv",
            Tool::Newuidmap => "newuidmap",
            Tool::Newgidmap => "newgidmap",
            Tool::Sh => "sh",
            Tool::Rm => "rm",
        }
    }

    /// The packages that bring it.
    pub fn packages(self) -> ToolPackages {
        let same = |name| ToolPackages { apt: name, dnf: Some(name), pacman: Some(name), zypper: Some(name) };
        match self {
            // openSUSE has no package of it in its main repository.
            Tool::Mmdebstrap => ToolPackages { zypper: None, ..same("mmdebstrap") },
            Tool::DpkgDeb => same("dpkg"),
            Tool::Mke2fs | Tool::E2fsck => same("e2fsprogs"),
            Tool::Unshare | Tool::Setpriv => same("util-linux"),
            Tool::Newuidmap | Tool::Newgidmap => ToolPackages {
                apt: "uidmap",
                dnf: Some("shadow-utils"),
                pacman: Some("shadow"),
                zypper: Some("shadow"),
            },
            Tool::Sh => ToolPackages { apt: "dash", ..same("bash") },
            Tool::Rm => same("coreutils"),
        }
    }
}

/// A needed program is not on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the program {} is not installed", tool.program())]
pub struct ToolMissing {
    /// Which one.
    pub tool: Tool,
}

/// Where the tools are. Found once, given to everything that runs one; tests put their own there.
#[derive(Debug, Clone, Default)]
pub struct Tools {
    found: Vec<(Tool, PathBuf)>,
    bare: bool,
}

impl Tools {
    /// Looks in the given directories (the caller's `PATH`), then in the system's, where an ordinary user's `PATH` does not lead.
    pub fn find<'a>(directories: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut places: Vec<&Path> = directories.into_iter().filter(|place| place.is_absolute()).collect();
        places.extend(["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(Path::new));
        let found = Tool::ALL
            .into_iter()
            .filter_map(|tool| Some((tool, find_program(tool.program(), &places)?)))
            .collect();
        Self { found, bare: false }
    }

    /// The same tools with one of them elsewhere.
    #[must_use]
    pub fn with(mut self, tool: Tool, path: impl Into<PathBuf>) -> Self {
        self.found.retain(|(known, _)| *known != tool);
        self.found.push((tool, path.into()));
        self
    }

    /// The same tools without one of them.
    #[must_use]
    pub fn without(mut self, tool: Tool) -> Self {
        self.found.retain(|(known, _)| *known != tool);
        self
    }

    /// The same tools, run without namespaces of their own: for stand-ins that need none.
    #[cfg(test)]
    pub(crate) fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    pub(crate) fn run_bare(&self) -> bool {
        self.bare
    }

    /// Where a tool is, if it is here.
    pub fn get(&self, tool: Tool) -> Option<&Path> {
        let (_, path) = self.found.iter().find(|(known, _)| *known == tool)?;
        Some(path)
    }

    /// Where a tool is, or the error that names it.
    pub fn require(&self, tool: Tool) -> Result<&Path, ToolMissing> {
        self.get(tool).ok_or(ToolMissing { tool })
    }

    /// What a pull lacks on this machine, for `doctor`. The ids' tools are needed by ordinary users only.
    pub fn missing_for_pull(&self, as_root: bool) -> Vec<Tool> {
        let ids = [Tool::Newuidmap, Tool::Newgidmap];
        Tool::ALL
            .into_iter()
            .filter(|tool| self.get(*tool).is_none())
            .filter(|tool| *tool != Tool::E2fsck && !(as_root && ids.contains(tool)))
            .collect()
    }
}

fn find_program(name: &str, directories: &[&Path]) -> Option<PathBuf> {
    directories.iter().map(|directory| directory.join(name)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps: a missing program is an error that names it, and `doctor` can list it.
    #[test]
    fn a_missing_tool_is_named() {
        let tools = Tools::find([]).without(Tool::Mmdebstrap);
        let error = tools.require(Tool::Mmdebstrap).unwrap_err();
        assert_eq!(error.to_string(), "the program mmdebstrap is not installed");
        assert_eq!(error.tool.packages().apt, "mmdebstrap");
        assert!(tools.missing_for_pull(true).contains(&Tool::Mmdebstrap));
    }

    /// Keeps: a program found first on the caller's path wins, and relative entries are never searched.
    #[test]
    fn the_callers_directories_come_first() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("sh");
        fs::write(&program, "").unwrap();
        let plain = Tools::find([directory.path()]);
        assert_ne!(plain.get(Tool::Sh), Some(program.as_path()));
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let found = Tools::find([Path::new("."), directory.path()]);
        assert_eq!(found.get(Tool::Sh), Some(program.as_path()));
    }
}
