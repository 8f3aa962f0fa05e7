//! Which file a host reads.

use std::path::{Path, PathBuf};

use pyro::{Code, Failure};

use crate::arguments::host::{HostName, Scope};
use crate::settings::HostSettings;

/// A host's file, and the project that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: HostName,
    pub(super) scope: Scope,
    pub(super) file: PathBuf,
    /// The directory that a server is started in.
    pub(super) project: PathBuf,
}

impl Place {
    /// Finds it: `project_path` goes before the git checkout that the caller is in.
    pub(super) fn find(
        settings: &HostSettings,
        host: HostName,
        scope: Scope,
        project_path: Option<&Path>,
    ) -> Result<Place, Failure> {
        let project = match project_path {
            Some(path) => existing_directory(settings, path)?,
            None => project_of(&settings.current_directory),
        };
        let file = match scope {
            Scope::User => user_file(settings, host)?,
            Scope::Project => project_file(host, &project),
        };
        Ok(Place { host, scope, file, project })
    }
}

/// A directory that somebody named, as an absolute path.
pub(super) fn existing_directory(settings: &HostSettings, path: &Path) -> Result<PathBuf, Failure> {
    match settings.current_directory.join(path).canonicalize() {
        Ok(absolute) if absolute.is_dir() => Ok(absolute),
        _ => Err(Failure::new(Code::InvalidArgument, format!("{} is not a directory", path.display()))
            .fix("name one that is there")),
    }
}

/// The git checkout around a directory, or the directory.
fn project_of(directory: &Path) -> PathBuf {
    let checkout = directory.ancestors().find(|ancestor| ancestor.join(".git").exists());
    checkout.unwrap_or(directory).to_owned()
}

fn user_file(settings: &HostSettings, host: HostName) -> Result<PathBuf, Failure> {
    let home = || {
        settings.home.clone().ok_or_else(|| {
            Failure::new(Code::StateUnusable, "HOME is not set")
                .fix("set HOME, or set the project up with --scope project")
        })
    };
    match host {
        HostName::ClaudeCode => {
            let directory = settings.claude_config_dir.clone().map_or_else(home, Ok)?;
            Ok(directory.join(".claude.json"))
        }
        HostName::Codex => {
            let directory =
                settings.codex_home.clone().map_or_else(|| home().map(|home| home.join(".codex")), Ok)?;
            Ok(directory.join("config.toml"))
        }
        HostName::Opencode => {
            if let Some(file) = &settings.opencode_config {
                return Ok(file.clone());
            }
            let configuration = settings
                .xdg_config_home
                .clone()
                .map_or_else(|| home().map(|home| home.join(".config")), Ok)?;
            Ok(opencode_file(&configuration.join("opencode"))
                .unwrap_or_else(|| configuration.join("opencode/opencode.json")))
        }
        HostName::Cursor => Ok(home()?.join(".cursor/mcp.json")),
    }
}

fn project_file(host: HostName, project: &Path) -> PathBuf {
    match host {
        HostName::ClaudeCode => project.join(".mcp.json"),
        HostName::Codex => project.join(".codex/config.toml"),
        HostName::Opencode => opencode_file(project)
            .or_else(|| opencode_file(&project.join(".opencode")))
            .unwrap_or_else(|| project.join("opencode.json")),
        HostName::Cursor => project.join(".cursor/mcp.json"),
    }
}

/// The one of the two names that is there; of both the one that OpenCode lets win.
fn opencode_file(directory: &Path) -> Option<PathBuf> {
    ["opencode.jsonc", "opencode.json"]
        .into_iter()
        .map(|name| directory.join(name))
        .find(|path| path.symlink_metadata().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(root: &Path) -> HostSettings {
        HostSettings {
            home: Some(root.join("home")),
            current_directory: root.join("work/deep"),
            ..HostSettings::default()
        }
    }

    fn file(settings: &HostSettings, host: HostName, scope: Scope) -> PathBuf {
        Place::find(settings, host, scope, None).unwrap().file
    }

    /// Files are where each host documents them.
    #[test]
    fn files_are_where_hosts_read_them() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        std::fs::create_dir_all(root.join("work/deep")).unwrap();
        std::fs::create_dir(root.join("work/.git")).unwrap();
        let settings = settings(root);
        for (host, user, project) in [
            (HostName::ClaudeCode, "home/.claude.json", "work/.mcp.json"),
            (HostName::Codex, "home/.codex/config.toml", "work/.codex/config.toml"),
            (HostName::Opencode, "home/.config/opencode/opencode.json", "work/opencode.json"),
            (HostName::Cursor, "home/.cursor/mcp.json", "work/.cursor/mcp.json"),
        ] {
            assert_eq!(file(&settings, host, Scope::User), root.join(user));
            assert_eq!(file(&settings, host, Scope::Project), root.join(project));
        }
    }

    /// Hosts' own variables move their files, and OpenCode's .jsonc goes before its .json.
    #[test]
    fn variables_move_files() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let mut settings = settings(root);
        settings.codex_home = Some("/c".into());
        settings.claude_config_dir = Some("/l".into());
        settings.xdg_config_home = Some(root.join("x"));
        assert_eq!(file(&settings, HostName::Codex, Scope::User), Path::new("/c/config.toml"));
        assert_eq!(file(&settings, HostName::ClaudeCode, Scope::User), Path::new("/l/.claude.json"));
        assert_eq!(file(&settings, HostName::Opencode, Scope::User), root.join("x/opencode/opencode.json"));
        std::fs::create_dir_all(root.join("x/opencode")).unwrap();
        std::fs::write(root.join("x/opencode/opencode.jsonc"), "{}").unwrap();
        std::fs::write(root.join("x/opencode/opencode.json"), "{}").unwrap();
        assert_eq!(file(&settings, HostName::Opencode, Scope::User), root.join("x/opencode/opencode.jsonc"));
        settings.opencode_config = Some("/o.json".into());
        assert_eq!(file(&settings, HostName::Opencode, Scope::User), Path::new("/o.json"));
    }

    /// Without a home there is no file of a person, but one of a project.
    #[test]
    fn without_a_home_only_projects_have_files() {
        let root = tempfile::tempdir().unwrap();
        let settings = HostSettings { home: None, ..settings(root.path()) };
        let failure = Place::find(&settings, HostName::Cursor, Scope::User, None).unwrap_err();
        assert_eq!((failure.code, failure.message.as_str()), (Code::StateUnusable, "HOME is not set"));
        assert!(Place::find(&settings, HostName::Cursor, Scope::Project, None).is_ok());
    }
}
