//! A repository on the host as far as ignoring goes: where it is, its index, its patterns, and the three
//! settings that matter. It writes nothing.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::read_bounded;
use super::index::Tracked;
use super::pattern::Patterns;
use super::{GitError, GitRules, unread};
use crate::limits::{GIT_FILE_BYTES_MAX, IGNORE_FILE_BYTES_MAX, INDEX_BYTES_MAX};

/// Bytes of a hash in a repository that says nothing else: SHA-1.
const SHA1_BYTES: usize = 20;
/// And in one whose object format is `sha256`.
const SHA256_BYTES: usize = 32;

/// A repository, or the lack of one.
#[derive(Debug)]
pub(super) struct Repository {
    pub(super) tracked: Tracked,
    /// `info/exclude` of the repository.
    pub(super) excludes: Patterns,
    pub(super) user_excludes: Patterns,
    pub(super) ignores_case: bool,
    /// The walked directory, relative to the repository's top.
    pub(super) prefix: Vec<u8>,
    /// Bytes of a path in the walked directory that lead to the repository's top.
    pub(super) cut_bytes: usize,
    rules: GitRules,
}

/// Paths of patterns, relative to the top, and the text of each.
type Above = Vec<(Vec<u8>, Vec<u8>)>;

impl Repository {
    /// The repository that a directory is in, with the patterns of the directories above it, outermost first.
    pub(super) fn around(directory: &Path, rules: &GitRules) -> Result<(Repository, Above), GitError> {
        let Some((top, git)) = discover(directory)? else {
            return Ok((Repository::read(None, Vec::new(), 0, rules)?, Vec::new()));
        };
        let below = directory.strip_prefix(&top).unwrap_or(Path::new(""));
        let mut above = Vec::new();
        let mut parent = PathBuf::new();
        for name in below.iter() {
            let file = top.join(&parent).join(".gitignore");
            // Git does not follow one that is a symlink (gitignore(5)).
            if std::fs::symlink_metadata(&file).is_ok_and(|metadata| metadata.is_file())
                && let Some(text) = read(&file, IGNORE_FILE_BYTES_MAX)?
            {
                above.push((parent.as_os_str().as_bytes().to_vec(), text));
            }
            parent.push(name);
        }
        let prefix = below.as_os_str().as_bytes().to_vec();
        Ok((Repository::read(Some((&top, &git)), prefix, 0, rules)?, above))
    }

    /// The repository whose top is at a path of the walked directory, if there is one.
    pub(super) fn nested(&self, walked: &Path, path: &[u8]) -> Result<Option<Repository>, GitError> {
        let top = walked.join(OsStr::from_bytes(path));
        // One that git would not take for a repository is a directory with a strange name in it.
        let Ok(Some(git)) = git_directory(&top) else { return Ok(None) };
        Repository::read(Some((&top, &git)), Vec::new(), path.len() + 1, &self.rules).map(Some)
    }

    fn read(
        found: Option<(&Path, &Path)>,
        prefix: Vec<u8>,
        cut_bytes: usize,
        rules: &GitRules,
    ) -> Result<Repository, GitError> {
        let mut settings = Settings::default();
        let mut tracked = Tracked::default();
        let mut excludes = Vec::new();
        let mut user_file = rules.user_excludes.clone();
        if let Some((top, git)) = found {
            let shared = shared_directory(git)?;
            settings =
                Settings::parse(&read(&shared.join("config"), GIT_FILE_BYTES_MAX)?.unwrap_or_default());
            excludes = read(&shared.join("info/exclude"), IGNORE_FILE_BYTES_MAX)?.unwrap_or_default();
            let index = git.join("index");
            if let Some(bytes) = read(&index, INDEX_BYTES_MAX)? {
                let hash_bytes = if settings.is_sha256 { SHA256_BYTES } else { SHA1_BYTES };
                tracked = Tracked::parse(&bytes, hash_bytes).map_err(|error| error.at(index))?;
            }
            if let Some(file) = &settings.excludes_file {
                user_file = Some(expand(file, top, rules.home.as_deref()));
            }
        }
        let user = match &user_file {
            Some(file) => read(file, IGNORE_FILE_BYTES_MAX)?.unwrap_or_default(),
            None => Vec::new(),
        };
        Ok(Repository {
            tracked,
            excludes: Patterns::parse(&excludes, settings.ignores_case),
            user_excludes: Patterns::parse(&user, settings.ignores_case),
            ignores_case: settings.ignores_case,
            prefix,
            cut_bytes,
            rules: rules.clone(),
        })
    }
}

/// The settings that matter to ignoring.
#[derive(Debug, Default, PartialEq, Eq)]
struct Settings {
    ignores_case: bool,
    is_sha256: bool,
    excludes_file: Option<Vec<u8>>,
}

impl Settings {
    /// Reads git's configuration (git-config(1)), plain `key = value` lines of it.
    fn parse(text: &[u8]) -> Settings {
        let mut settings = Settings::default();
        let mut section = Vec::new();
        for line in text.split(|byte| *byte == b'\n') {
            let mut line = line.trim_ascii();
            if let Some(rest) = line.strip_prefix(b"[") {
                let Some(end) = rest.iter().position(|byte| *byte == b']') else { continue };
                let (name, behind) = rest.split_at(end);
                section = name.to_ascii_lowercase();
                line = behind.get(1..).unwrap_or_default().trim_ascii();
            }
            let mut parts = line.splitn(2, |byte| *byte == b'=');
            let key = parts.next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
            let value = parts.next().map(unquote);
            let is_on = || {
                let value = value.as_ref().map(|value| value.to_ascii_lowercase());
                matches!(value.as_deref(), None | Some(b"true" | b"yes" | b"on" | b"1"))
            };
            match (section.as_slice(), key.as_slice()) {
                (b"core", b"ignorecase") => settings.ignores_case = is_on(),
                (b"core", b"excludesfile") => settings.excludes_file = value,
                (b"extensions", b"objectformat") => {
                    settings.is_sha256 = value.is_some_and(|value| value.eq_ignore_ascii_case(b"sha256"));
                }
                _ => {}
            }
        }
        settings
    }
}

/// A value without its comment, quotes and escapes.
fn unquote(raw: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    let mut kept = 0;
    let mut is_quoted = false;
    let mut bytes = raw.trim_ascii().iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'#' | b';' if !is_quoted => break,
            b'\\' => match bytes.next() {
                Some(b'n') => value.push(b'\n'),
                Some(b't') => value.push(b'\t'),
                Some(other) => value.push(*other),
                None => {}
            },
            byte => value.push(*byte),
        }
        if is_quoted || !byte.is_ascii_whitespace() {
            kept = value.len();
        }
    }
    value.truncate(kept);
    value
}

/// A path of the configuration.
fn expand(file: &[u8], top: &Path, home: Option<&Path>) -> PathBuf {
    match (file.strip_prefix(b"~/"), home) {
        (Some(rest), Some(home)) => home.join(OsStr::from_bytes(rest)),
        _ => top.join(OsStr::from_bytes(file)),
    }
}

/// The nearest repository at or above a directory, on its file system: its top and its own directory.
fn discover(directory: &Path) -> Result<Option<(PathBuf, PathBuf)>, GitError> {
    let mut device = None;
    for top in directory.ancestors() {
        let metadata = std::fs::metadata(top).map_err(unread(top))?;
        // As git does without GIT_DISCOVERY_ACROSS_FILESYSTEM (git(1)).
        if *device.get_or_insert(metadata.dev()) != metadata.dev() {
            return Ok(None);
        }
        if let Some(git) = git_directory(top)? {
            return Ok(Some((top.to_owned(), git)));
        }
    }
    Ok(None)
}

/// A repository's own directory, whose top this is (gitrepository-layout(5)).
fn git_directory(top: &Path) -> Result<Option<PathBuf>, GitError> {
    let git = top.join(".git");
    let metadata = match std::fs::metadata(&git) {
        Ok(metadata) => metadata,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(unread(&git)(error)),
    };
    if metadata.is_dir() {
        return Ok(is_git_directory(&git).then_some(git));
    }
    let text = read(&git, GIT_FILE_BYTES_MAX)?.unwrap_or_default();
    let Some(target) = text.strip_prefix(b"gitdir:") else { return Ok(None) };
    let target = top.join(OsStr::from_bytes(target.trim_ascii()));
    match is_git_directory(&target) {
        true => Ok(Some(target)),
        false => Err(GitError::NoRepository { path: git }),
    }
}

fn is_git_directory(git: &Path) -> bool {
    std::fs::symlink_metadata(git.join("HEAD")).is_ok()
        && (git.join("objects").is_dir() || git.join("commondir").is_file())
}

/// Where a worktree's repository keeps what all its worktrees share.
fn shared_directory(git: &Path) -> Result<PathBuf, GitError> {
    Ok(match read(&git.join("commondir"), GIT_FILE_BYTES_MAX)? {
        Some(text) => git.join(OsStr::from_bytes(text.trim_ascii())),
        None => git.to_owned(),
    })
}

/// A file of git's, if there is one.
fn read(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, GitError> {
    use std::os::unix::fs::OpenOptionsExt;
    // A fifo must not make this wait for its writer.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    match File::options().read(true).custom_flags(nonblocking).open(path) {
        Ok(file) => read_bounded(file, bytes_max).map_err(unread(path)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(unread(path)(error)),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The settings are found as git writes them, and as people do.
    #[test]
    fn settings_are_read() {
        let text =
            b"# c\n[core]\n\tbare = false\n\tignoreCase = yes ; really\n[Extensions] objectformat=sha256\n\
            [core \"x\"]\nexcludesfile = no\n[CORE]\n\texcludesFile = \"~/a # b\"  # c\n";
        let settings = Settings::parse(text);
        assert_eq!(
            settings,
            Settings { ignores_case: true, is_sha256: true, excludes_file: Some(b"~/a # b".to_vec()) }
        );
        assert_eq!(Settings::parse(b"[core\nignorecase"), Settings::default());
        assert!(Settings::parse(b"[core]\nignorecase").ignores_case);
    }
}
