//! Paths in a workspace, as people write them.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pyro_proto::tree::TreePath;

use crate::{Code, Failure};

/// Where a workspace is in its guest.
pub const WORKSPACE: &str = "/workspace";

/// Where a command runs: `/workspace`, a directory in it, or any other of the guest by its whole path.
pub fn working_directory(cwd: Option<&OsStr>) -> OsString {
    cwd.map_or_else(|| WORKSPACE.into(), |cwd| Path::new(WORKSPACE).join(cwd).into_os_string())
}

/// A path at or below `/workspace`, by its names alone: where symlinks lead, only the guest can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestPath(TreePath);

impl GuestPath {
    /// `/workspace` itself.
    pub fn root() -> GuestPath {
        GuestPath(TreePath::root())
    }

    /// Reads a path: relative to `/workspace`, or absolute and below it. `.` and doubled slashes are nothing;
    /// `..` is refused, because what is above depends on symlinks.
    pub fn parse(text: &OsStr) -> Result<GuestPath, Failure> {
        let bytes = text.as_bytes();
        let relative = match bytes.strip_prefix(WORKSPACE.as_bytes()) {
            Some(rest) if rest.first().is_none_or(|byte| *byte == b'/') => rest,
            _ if bytes.first() == Some(&b'/') => return Err(outside(text, "it is not below /workspace")),
            _ => bytes,
        };
        if bytes.is_empty() {
            return Err(outside(text, "it is empty").fix("write `.` for /workspace itself"));
        }
        let names = relative.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
        let names: Vec<&[u8]> = names.collect();
        if names.contains(&&b".."[..]) {
            return Err(outside(text, "it has `..` in it"));
        }
        let path = TreePath::parse(names.join(&b'/')).map_err(|error| outside(text, error))?;
        Ok(GuestPath(path))
    }

    /// The path relative to `/workspace`.
    pub fn as_tree(&self) -> &TreePath {
        &self.0
    }

    /// Where a symbolic link at this path leads, by its names alone; out of the workspace is an error.
    pub(super) fn behind(&self, target: &[u8]) -> Result<GuestPath, Failure> {
        let shown = || String::from_utf8_lossy(target).escape_debug().to_string();
        let away = || {
            Failure::new(Code::PathOutside, format!("{self} leads out of the workspace"))
                .because(format!("it is a symbolic link to {}", shown()))
                .fix("name a path whose links stay below /workspace")
        };
        let (mut names, rest): (Vec<&[u8]>, &[u8]) = match target.strip_prefix(WORKSPACE.as_bytes()) {
            Some(rest) if rest.first().is_none_or(|byte| *byte == b'/') => (Vec::new(), rest),
            _ if target.first() == Some(&b'/') => return Err(away()),
            _ => {
                let mut names: Vec<&[u8]> = self.0.names().collect();
                names.pop();
                (names, target)
            }
        };
        for name in rest.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => drop(names.pop().ok_or_else(away)?),
                name => names.push(name),
            }
        }
        TreePath::parse(names.join(&b'/')).map(GuestPath).map_err(|_| away())
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.as_bytes().to_vec()
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WORKSPACE)?;
        if !self.0.is_root() {
            write!(f, "/{}", String::from_utf8_lossy(self.0.as_bytes()))?;
        }
        Ok(())
    }
}

fn outside(text: &OsStr, why: impl fmt::Display) -> Failure {
    Failure::new(Code::PathOutside, format!("{text:?} is no path in the workspace"))
        .because(why)
        .fix("give a path below /workspace, such as src/main.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<String> {
        GuestPath::parse(OsStr::new(text)).ok().map(|path| path.to_string())
    }

    /// Links are followed by their names, and never out.
    #[test]
    fn links_stay_in_the_workspace() {
        let link = GuestPath::parse(OsStr::new("a/b/link")).unwrap();
        let behind = |target: &str| link.behind(target.as_bytes()).ok().map(|path| path.to_string());
        assert_eq!(behind("x").as_deref(), Some("/workspace/a/b/x"));
        assert_eq!(behind("../../x/./y").as_deref(), Some("/workspace/x/y"));
        assert_eq!(behind("/workspace/c").as_deref(), Some("/workspace/c"));
        for target in ["/etc/passwd", "../../../etc/passwd", "/workspaces", "/"] {
            assert_eq!(behind(target), None, "{target}");
        }
    }

    /// Whatever is written, a path is below the workspace or refused.
    #[test]
    fn paths_stay_in_the_workspace() {
        for (text, path) in [
            ("src/a", "/workspace/src/a"),
            ("./src//a/", "/workspace/src/a"),
            ("/workspace/src", "/workspace/src"),
            ("/workspace", "/workspace"),
            (".", "/workspace"),
            ("a b\n", "/workspace/a b\n"),
        ] {
            assert_eq!(parse(text).as_deref(), Some(path), "{text}");
        }
        for text in ["", "/", "/etc/passwd", "/workspaces", "../x", "a/../../x", "a/..", "/workspace/../etc"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
