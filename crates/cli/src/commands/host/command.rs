//! Programs: where this one can be found tomorrow, and what a host would start.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pyro::{Code, Failure};
use rustix::fs::Access;

use crate::settings::HostSettings;

/// The path to write down for this program: absolute, because hosts start servers with any search path, and the
/// one on the search path when that leads here, because it outlives an upgrade.
pub(super) fn own_path(settings: &HostSettings) -> Result<String, Failure> {
    let program = &settings.program;
    let lasting = search("pyro", &settings.search_path, |path| same_file(path, program));
    let path = lasting.unwrap_or_else(|| program.clone());
    if !is_executable(&path) {
        return Err(Failure::new(Code::System, format!("this program's file {} is gone", path.display()))
            .fix("run the pyro that has taken its place"));
    }
    text(&path)
}

/// A path as a configuration can hold it.
pub(super) fn text(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::new(
            Code::InvalidArgument,
            format!("{} is not UTF-8, and configurations are", path.display()),
        )
        .fix("give it another name")
    })
}

/// What a host would start for this command: a path as it is, a name by the search path.
pub(super) fn resolve(command: &str, directory: &Path, search_path: &OsStr) -> Option<PathBuf> {
    if command.contains('/') {
        let path = directory.join(command);
        return is_executable(&path).then_some(path);
    }
    search(command, search_path, is_executable)
}

/// Whether two paths lead to one file.
pub(super) fn same_file(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

pub(super) fn is_executable(path: &Path) -> bool {
    let is_file = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    is_file && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

/// The first place of the search path that is fit. Relative places mean another one tomorrow.
fn search(name: &str, search_path: &OsStr, is_fit: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    std::env::split_paths(search_path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|path| is_fit(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn program(path: &Path) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_owned()
    }

    /// The path that is written down is the one on the search path if it leads here, and this file otherwise.
    #[test]
    fn the_path_that_lasts_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let own = program(&root.path().join("pyro-0.1.0/pyro"));
        program(&root.path().join("older/pyro"));
        let lasting = root.path().join("bin/pyro");
        fs::create_dir(root.path().join("bin")).unwrap();
        symlink("../pyro-0.1.0/pyro", &lasting).unwrap();
        let path = |directories: &[&str]| {
            let search_path =
                std::env::join_paths(directories.iter().map(|name| root.path().join(name))).unwrap();
            let settings = HostSettings { program: own.clone(), search_path, ..HostSettings::default() };
            PathBuf::from(own_path(&settings).unwrap())
        };
        assert_eq!(path(&["older", "bin"]), lasting);
        assert_eq!(path(&["older"]), own);
        let gone = HostSettings { program: root.path().join("pyro (deleted)"), ..HostSettings::default() };
        assert!(own_path(&gone).unwrap_err().message.ends_with("is gone"));
    }

    /// Names are looked up, paths are not; what cannot be executed is nothing.
    #[test]
    fn commands_are_found_as_hosts_find_them() {
        let root = tempfile::tempdir().unwrap();
        let own = program(&root.path().join("bin/pyro"));
        let bin = own.parent().unwrap().as_os_str();
        assert_eq!(resolve("pyro", Path::new("/"), bin), Some(own.clone()));
        assert_eq!(resolve("bin/pyro", root.path(), OsStr::new("")), Some(own.clone()));
        assert_eq!(resolve("/nowhere/pyro", root.path(), bin), None);
        fs::set_permissions(&own, fs::Permissions::from_mode(0o644)).unwrap();
        // To root, access(2) says what execve(2) does: some bit has to be set.
        assert_eq!(resolve("pyro", Path::new("/"), bin), None);
        assert!(!is_executable(root.path()));
    }
}
