//! What a host runs without being asked: by its name, or by its mode. An agent that may write one of these
//! holds the host, the next time its owner opens an editor or types `make`.

/// Why a file counts as one that the host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExecutableReason {
    /// A hook that git runs.
    GitHook,
    /// Run by a service that builds.
    ContinuousIntegration,
    /// Settings by which an editor runs something.
    Editor,
    /// Settings by which a coding agent runs something.
    Agent,
    /// Run by a shell on entering the directory.
    Shell,
    /// A file of a build.
    Build,
    /// Scripts or settings of a package manager.
    Package,
    /// Run by a tool for tests.
    Test,
    /// It is executable.
    ExecutableBit,
    /// It has setuid or setgid in the guest, which is taken off.
    SetId,
}

impl ExecutableReason {
    /// The reason in a word or two.
    pub fn word(self) -> &'static str {
        match self {
            ExecutableReason::GitHook => "git-hook",
            ExecutableReason::ContinuousIntegration => "ci",
            ExecutableReason::Editor => "editor",
            ExecutableReason::Agent => "agent",
            ExecutableReason::Shell => "shell",
            ExecutableReason::Build => "build",
            ExecutableReason::Package => "package",
            ExecutableReason::Test => "test",
            ExecutableReason::ExecutableBit => "executable",
            ExecutableReason::SetId => "setuid",
        }
    }
}

/// Directories whose contents are run, at any depth.
const DIRECTORIES: [(&str, ExecutableReason); 11] = [
    (".githooks", ExecutableReason::GitHook),
    (".husky", ExecutableReason::GitHook),
    (".circleci", ExecutableReason::ContinuousIntegration),
    (".idea", ExecutableReason::Editor),
    (".devcontainer", ExecutableReason::Editor),
    (".vscode", ExecutableReason::Editor),
    (".zed", ExecutableReason::Editor),
    (".claude", ExecutableReason::Agent),
    (".codex", ExecutableReason::Agent),
    (".cursor", ExecutableReason::Agent),
    (".opencode", ExecutableReason::Agent),
];

/// The same of directories in directories, and of files in certain directories.
const PAIRS: [(&str, &str, ExecutableReason); 3] = [
    (".github", "workflows", ExecutableReason::ContinuousIntegration),
    (".github", "actions", ExecutableReason::ContinuousIntegration),
    (".cargo", "config", ExecutableReason::Package),
];

/// Names of files, whole.
const FILES: [(&str, ExecutableReason); 36] = [
    (".gitlab-ci.yml", ExecutableReason::ContinuousIntegration),
    ("jenkinsfile", ExecutableReason::ContinuousIntegration),
    ("azure-pipelines.yml", ExecutableReason::ContinuousIntegration),
    (".devcontainer.json", ExecutableReason::Editor),
    (".mcp.json", ExecutableReason::Agent),
    ("opencode.json", ExecutableReason::Agent),
    (".gitmodules", ExecutableReason::GitHook),
    (".mise.toml", ExecutableReason::Shell),
    ("rust-toolchain.toml", ExecutableReason::Build),
    (".bazelrc", ExecutableReason::Build),
    (".exrc", ExecutableReason::Editor),
    (".nvimrc", ExecutableReason::Editor),
    (".dir-locals.el", ExecutableReason::Editor),
    (".envrc", ExecutableReason::Shell),
    ("makefile", ExecutableReason::Build),
    ("gnumakefile", ExecutableReason::Build),
    ("bsdmakefile", ExecutableReason::Build),
    ("cmakelists.txt", ExecutableReason::Build),
    ("build.rs", ExecutableReason::Build),
    ("gradlew", ExecutableReason::Build),
    ("gradlew.bat", ExecutableReason::Build),
    ("mvnw", ExecutableReason::Build),
    ("rakefile", ExecutableReason::Build),
    ("justfile", ExecutableReason::Build),
    (".justfile", ExecutableReason::Build),
    ("meson.build", ExecutableReason::Build),
    ("setup.py", ExecutableReason::Package),
    ("package.json", ExecutableReason::Package),
    (".npmrc", ExecutableReason::Package),
    (".pnpmfile.cjs", ExecutableReason::Package),
    ("conftest.py", ExecutableReason::Test),
    ("noxfile.py", ExecutableReason::Test),
    ("tox.ini", ExecutableReason::Test),
    ("sitecustomize.py", ExecutableReason::Package),
    (".pre-commit-config.yaml", ExecutableReason::GitHook),
    ("lefthook.yml", ExecutableReason::GitHook),
];

/// Beginnings and ends of names of files.
const AFFIXES: [(&str, &str, ExecutableReason); 4] = [
    ("", ".mk", ExecutableReason::Build),
    ("", ".cmake", ExecutableReason::Build),
    ("build.gradle", "", ExecutableReason::Build),
    (".yarnrc", "", ExecutableReason::Package),
];

/// Why a path counts, by its name. Case does not matter, as it does not on some disks.
pub fn by_name<'a>(names: impl Iterator<Item = &'a [u8]>) -> Option<ExecutableReason> {
    let names: Vec<Vec<u8>> = names.map(<[u8]>::to_ascii_lowercase).collect();
    let is = |name: Option<&Vec<u8>>, wanted: &str| name.is_some_and(|name| name == wanted.as_bytes());
    for (index, name) in names.iter().enumerate() {
        let next = names.get(index + 1);
        if let Some(found) = DIRECTORIES.iter().find(|entry| is(Some(name), entry.0)) {
            return Some(found.1);
        }
        let begins = |wanted: &str| next.is_some_and(|next| next.starts_with(wanted.as_bytes()));
        if let Some(found) = PAIRS.iter().find(|entry| is(Some(name), entry.0) && begins(entry.1)) {
            return Some(found.2);
        }
    }
    let last = names.last()?;
    let by_file = FILES.iter().find(|entry| is(Some(last), entry.0)).map(|entry| entry.1);
    by_file.or_else(|| {
        AFFIXES
            .iter()
            .find(|entry| last.starts_with(entry.0.as_bytes()) && last.ends_with(entry.1.as_bytes()))
            .map(|entry| entry.2)
    })
}

/// Whether a link at this path leads out of the tree, going by names alone.
pub fn leads_outside(depth: usize, target: &[u8]) -> bool {
    if target.first() == Some(&b'/') {
        return true;
    }
    let mut depth = depth;
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(outer) => depth = outer,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(path: &str) -> Option<ExecutableReason> {
        by_name(path.as_bytes().split(|byte| *byte == b'/'))
    }

    /// What a host runs unasked is known by its name, at any depth and in any case, and plain sources are not.
    #[test]
    fn names_that_run_are_known() {
        for path in [
            ".githooks/pre-commit",
            "a/.husky/_/x",
            ".github/workflows/ci.yml",
            ".gitlab-ci.yml",
            ".circleci/config.yml",
            "Jenkinsfile",
            "azure-pipelines.yml",
            ".vscode/tasks.json",
            ".vscode/settings.json",
            ".idea/x/y",
            ".devcontainer/devcontainer.json",
            ".envrc",
            "Makefile",
            "makefile",
            "sub/GNUmakefile",
            "rules.mk",
            "CMakeLists.txt",
            "build.rs",
            "setup.py",
            "tests/conftest.py",
            "noxfile.py",
            "tox.ini",
            "package.json",
            ".npmrc",
            ".yarnrc",
            ".yarnrc.yml",
            ".cargo/config",
            ".cargo/config.toml",
            ".pre-commit-config.yaml",
            "build.gradle",
            "build.gradle.kts",
            "gradlew",
            "Rakefile",
            "Justfile",
            "justfile",
            ".HUSKY/x",
        ] {
            assert!(reason(path).is_some(), "{path}");
        }
        for path in [
            "src/main.rs",
            "README.md",
            ".github/CODEOWNERS",
            "husky/x",
            "makefile.txt",
            ".cargo/audit.toml",
            "a.mkd",
        ] {
            assert_eq!(reason(path), None, "{path}");
        }
    }

    /// Links out of the tree are told from those within.
    #[test]
    fn links_outside_are_known() {
        assert!(leads_outside(0, b"/etc") && leads_outside(0, b"..") && leads_outside(1, b"../../x"));
        assert!(leads_outside(1, b"a/../../../x"));
        assert!(!leads_outside(1, b"../x") && !leads_outside(0, b"a/../b") && !leads_outside(0, b"./a"));
    }
}
