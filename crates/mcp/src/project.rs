//! The directories of the host that a model may read from and write to: the project, and what the person who started
//! the server allowed beside it. This is the one place where a path that a model wrote becomes one of the host.

use std::path::{Component, Path, PathBuf};

use pyro::{Code, Failure};

/// A place of the host that may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Writable<'a> {
    /// Where it is, behind all links.
    pub(crate) place: PathBuf,
    /// The allowed directory that it is in.
    pub(crate) tree: &'a Path,
}

/// Where a model may read and write on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Project {
    root: Option<PathBuf>,
    allowed: Vec<PathBuf>,
}

impl Project {
    /// The directory that was named, or else the git checkout around `current`, with other directories beside it.
    /// All of them must be there.
    pub fn open(named: Option<&Path>, current: &Path, allowed: &[PathBuf]) -> Result<Project, Failure> {
        let root = match named {
            Some(named) => Some(directory(&current.join(named), "--project-path")?),
            None => checkout_around(current),
        };
        let mut directories: Vec<PathBuf> = root.iter().cloned().collect();
        for path in allowed {
            directories.push(directory(&current.join(path), "--allow-path")?);
        }
        Ok(Project { root, allowed: directories })
    }

    /// The project itself, when there is one.
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// A path to read from: something that is there, inside what is allowed, behind whatever links lead to it.
    pub(crate) fn readable(&self, text: &str) -> Result<PathBuf, Failure> {
        let path = self.absolute(text)?;
        let real = path.canonicalize().map_err(|error| {
            Failure::new(Code::SourceUnusable, format!("{} cannot be read", path.display()))
                .because(error)
                .fix("name a directory, .tar, .tar.gz or .tgz of the project")
        })?;
        self.holds(&path, &real).map(|()| real)
    }

    /// Whether something that was found at a path is inside what is allowed.
    pub(crate) fn holds(&self, asked: &Path, real: &Path) -> Result<(), Failure> {
        match self.tree_of(real) {
            Some(_) => Ok(()),
            None => Err(self.outside(asked)),
        }
    }

    /// The outermost allowed directory that a place is in: what its owner knows as one tree.
    fn tree_of(&self, real: &Path) -> Option<&Path> {
        let around = self.allowed.iter().filter(|allowed| real.starts_with(allowed));
        around.min_by_key(|allowed| allowed.components().count()).map(PathBuf::as_path)
    }

    /// A path to write to, which need not be there yet: its nearest directory that is there decides. Nothing of git's own
    /// is written.
    pub(crate) fn writable(&self, text: &str) -> Result<Writable<'_>, Failure> {
        let path = self.absolute(text)?;
        let mut missing = Vec::new();
        let mut present = path.as_path();
        let real = loop {
            match present.canonicalize() {
                Ok(real) => break real,
                // A link to nowhere would be written through.
                Err(_) if present.symlink_metadata().is_ok() => return Err(self.outside(&path)),
                Err(error) => match (present.parent(), present.file_name()) {
                    (Some(parent), Some(name)) => {
                        missing.push(name.to_owned());
                        present = parent;
                    }
                    _ => {
                        return Err(Failure::new(
                            Code::TargetUnusable,
                            format!("{} cannot be written", path.display()),
                        )
                        .because(error));
                    }
                },
            }
        };
        let whole = missing.iter().rev().fold(real, |path, name| path.join(name));
        let Some(tree) = self.tree_of(&whole) else { return Err(self.outside(&path)) };
        let inside = whole.strip_prefix(tree).unwrap_or(&whole);
        if inside.components().any(|part| part.as_os_str().eq_ignore_ascii_case(".git")) {
            return Err(Failure::new(Code::PathOutside, format!("{} may not be written", path.display()))
                .because("it is git's own")
                .fix("write elsewhere, and leave commits and hooks to the person"));
        }
        Ok(Writable { place: whole, tree })
    }

    /// From the project, without steps back: what is not there cannot be asked where they lead.
    fn absolute(&self, text: &str) -> Result<PathBuf, Failure> {
        let path = Path::new(text);
        let base = self.root.as_deref().or_else(|| self.allowed.first().map(PathBuf::as_path));
        let path = match base {
            _ if path.is_absolute() => path.to_owned(),
            Some(base) => base.join(path),
            None => return Err(self.outside(path)),
        };
        match path.components().any(|part| part == Component::ParentDir) {
            true => Err(self.outside(&path)),
            false => Ok(path),
        }
    }

    fn outside(&self, path: &Path) -> Failure {
        let refused = Failure::new(Code::PathOutside, format!("{} may not be used", path.display()));
        let places: Vec<String> = self.allowed.iter().map(|path| path.display().to_string()).collect();
        if places.is_empty() {
            return refused
                .because("the server was started outside a git checkout, without --project-path")
                .fix("bring files in with workspace_file_write, and out with workspace_file_read or workspace_diff");
        }
        refused
            .because(format!("only {} may be read and written, without `..`", places.join(", ")))
            .fix("use a path in there, or ask the person to start the server with --allow-path")
    }
}

fn directory(path: &Path, flag: &str) -> Result<PathBuf, Failure> {
    let unusable = |why: String| {
        Failure::new(Code::InvalidArgument, format!("{flag} {} is no directory to work in", path.display()))
            .because(why)
            .fix("name a directory that is there")
    };
    let real = path.canonicalize().map_err(|error| unusable(error.to_string()))?;
    match (real.is_dir(), real.parent().is_none()) {
        (_, true) => Err(unusable("it is the whole file system".to_owned())),
        (false, _) => Err(unusable("it is a file".to_owned())),
        (true, false) => Ok(real),
    }
}

/// The git checkout that a directory is in.
fn checkout_around(directory: &Path) -> Option<PathBuf> {
    let real = directory.canonicalize().ok()?;
    real.ancestors().find(|path| path.join(".git").exists() && path.parent().is_some()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn refused<T>(result: Result<T, Failure>) -> bool {
        result.is_err_and(|failure| failure.code == Code::PathOutside)
    }

    /// Whatever a model writes, it gets nowhere but into the project and what was allowed.
    #[test]
    fn only_allowed_places_are_reached() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let (project, beside, secret) = (root.join("project"), root.join("beside"), root.join("secret"));
        for directory in [&project.join("src"), &beside, &secret] {
            fs::create_dir_all(directory).unwrap();
        }
        symlink(&secret, project.join("link")).unwrap();
        symlink(secret.join("new"), project.join("dangling")).unwrap();
        symlink(&beside, project.join("friend")).unwrap();
        let allowed = Project::open(Some(&project), &root, std::slice::from_ref(&beside)).unwrap();
        assert_eq!(allowed.readable("src").unwrap(), project.join("src"));
        assert_eq!(allowed.readable(".").unwrap(), project);
        assert_eq!(allowed.readable("friend").unwrap(), beside);
        let written = allowed.writable("out/deep/file").unwrap();
        assert_eq!(written, Writable { place: project.join("out/deep/file"), tree: &project });
        assert_eq!(allowed.writable(beside.join("x").to_str().unwrap()).unwrap().tree, beside);
        for path in ["/etc", "../secret", "src/../../secret", "link", "/"] {
            assert!(refused(allowed.readable(path)), "{path}");
        }
        for path in [
            "/etc/x",
            "../x",
            "nothing/../../x",
            "link/x",
            "dangling",
            "dangling/x",
            "/",
            ".git",
            "src/.GIT/hooks/x",
        ] {
            assert!(refused(allowed.writable(path)), "{path}");
        }
        let sibling = root.join("project-2");
        fs::create_dir(&sibling).unwrap();
        assert!(refused(allowed.readable(sibling.to_str().unwrap())), "a name that begins alike");
    }

    /// Without a checkout nothing of the host is reached; with one, it is the project wherever in it one stands.
    #[test]
    fn the_checkout_is_the_project() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let nothing = Project::open(None, &root, &[]).unwrap();
        assert_eq!(nothing.root(), None);
        fs::create_dir_all(root.join("work/.git")).unwrap();
        fs::create_dir_all(root.join("work/deep/down")).unwrap();
        let found = Project::open(None, &root.join("work/deep/down"), &[]).unwrap();
        assert_eq!(found.root(), Some(root.join("work").as_path()));
        assert!(Project::open(Some(Path::new("missing")), &root, &[]).is_err());
        assert!(Project::open(Some(Path::new("/")), &root, &[]).is_err());
        let empty = Project::default();
        assert!(refused(empty.readable("x")) && refused(empty.writable("/tmp/x")));
    }
}
