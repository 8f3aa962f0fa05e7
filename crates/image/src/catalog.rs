//! The environments that exist: their names, versions, texts and packages. It knows nothing of what is installed.

use std::fmt;

use crate::limits::{ENVIRONMENT_NAME_BYTES_MAX, NEAR_NAMES_MAX};

/// The catalog's version, printed by `env list`.
pub const CATALOG_VERSION: &str = "2.8.0";
/// The platform all environments of this catalog are for.
pub const PLATFORM: &str = "linux-x86_64";
/// The Debian package whose one dependency is the current kernel package.
pub(crate) const KERNEL_METAPACKAGE: &str = "linux-image-cloud-amd64";

/// What the catalog says of one environment.
#[derive(Debug, PartialEq, Eq)]
pub struct EnvironmentSpec {
    /// The name people type, `debian:12`.
    pub name: &'static str,
    /// The environment's version.
    pub version: &'static str,
    /// One sentence for `env list`.
    pub description: &'static str,
    /// The distribution's name, `debian`.
    pub distribution: &'static str,
    /// The distribution's release, `12`.
    pub release: &'static str,
    /// The archive suite it is made from, `bookworm`.
    pub suite: &'static str,
    /// The packages people expect, as `env pull` prints them.
    pub default_packages: &'static [&'static str],
    /// What is installed on top of the minimal system (required packages and apt).
    pub packages: &'static [&'static str],
    /// About how many packages come of it, for a progress bar that does not run backward.
    pub package_count_expected: u64,
    /// Free space without which a pull is not begun: the unpacked system, its archive and its image lie side by side.
    pub free_bytes_min: u64,
}

const MIB: u64 = 1024 * 1024;

static CATALOG: [EnvironmentSpec; 3] = [
    EnvironmentSpec {
        name: "debian:12",
        version: "1.0.0",
        description: "Debian 12 environment with Git preinstalled for common agent workflows.",
        distribution: "debian",
        release: "12",
        suite: "bookworm",
        default_packages: &["bash", "coreutils", "git"],
        packages: &[
            "ca-certificates",
            "curl",
            "git",
            "jq",
            "less",
            "patch",
            "procps",
            "ripgrep",
            "unzip",
            "xz-utils",
        ],
        package_count_expected: 130,
        free_bytes_min: 1280 * MIB,
    },
    EnvironmentSpec {
        name: "debian:12-base",
        version: "1.0.0",
        description: "Minimal Debian 12 environment for shell and core Unix tooling.",
        distribution: "debian",
        release: "12",
        suite: "bookworm",
        default_packages: &["bash", "coreutils"],
        packages: &["procps"],
        package_count_expected: 100,
        free_bytes_min: 1024 * MIB,
    },
    EnvironmentSpec {
        name: "debian:12-build",
        version: "1.0.0",
        description: "Debian 12 environment with Git and common build tools preinstalled.",
        distribution: "debian",
        release: "12",
        suite: "bookworm",
        default_packages: &["bash", "coreutils", "git", "build-essential"],
        packages: &[
            "build-essential",
            "ca-certificates",
            "curl",
            "git",
            "jq",
            "less",
            "patch",
            "pkg-config",
            "procps",
            "python3",
            "python3-venv",
            "ripgrep",
            "unzip",
            "xz-utils",
        ],
        package_count_expected: 195,
        free_bytes_min: 2048 * MIB,
    },
];

/// All environments, in the order they are listed.
pub fn catalog() -> &'static [EnvironmentSpec] {
    &CATALOG
}

/// The name of an environment that the catalog has. Made only by [`EnvironmentName::parse`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EnvironmentName(&'static EnvironmentSpec);

/// No environment has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no environment named {name:?}")]
pub struct UnknownEnvironment {
    /// What was asked for, cut to a printable length.
    pub name: String,
    /// The nearest names, best first; never empty while the catalog is not.
    pub nearest: Vec<&'static str>,
}

impl EnvironmentName {
    /// Looks a name up in the catalog.
    pub fn parse(text: &str) -> Result<Self, UnknownEnvironment> {
        CATALOG
            .iter()
            .find(|spec| spec.name == text)
            .map(EnvironmentName)
            .ok_or_else(|| UnknownEnvironment::new(text))
    }

    /// Every name, in catalog order.
    pub fn all() -> impl Iterator<Item = Self> {
        CATALOG.iter().map(EnvironmentName)
    }

    /// The name as people type it.
    pub fn as_str(self) -> &'static str {
        self.0.name
    }

    /// What the catalog says of it.
    pub fn spec(self) -> &'static EnvironmentSpec {
        self.0
    }

    /// The name of its directory in the cache, `debian_12-1.0.0`.
    pub fn directory_name(self) -> String {
        format!("{}-{}", self.0.name.replace(':', "_"), self.0.version)
    }
}

impl fmt::Display for EnvironmentName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.name)
    }
}

impl fmt::Debug for EnvironmentName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "EnvironmentName({})", self.0.name)
    }
}

impl UnknownEnvironment {
    fn new(text: &str) -> Self {
        let name: String = text.chars().take(ENVIRONMENT_NAME_BYTES_MAX).collect();
        let nearest = nearest(&name);
        Self { name, nearest }
    }
}

fn nearest(name: &str) -> Vec<&'static str> {
    let mut names: Vec<_> =
        CATALOG.iter().map(|spec| (strsim::damerau_levenshtein(name, spec.name), spec.name)).collect();
    names.sort();
    names.into_iter().map(|(_, name)| name).take(NEAR_NAMES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps: every listed name parses to itself, and its directory is one path component.
    #[test]
    fn every_catalog_name_parses() {
        for spec in catalog() {
            let name = EnvironmentName::parse(spec.name).unwrap();
            assert_eq!(name.as_str(), spec.name);
            assert!(!name.directory_name().contains(['/', ':']));
        }
    }

    /// Keeps: an unknown name is refused with the nearest names, best first.
    #[test]
    fn unknown_name_suggests_the_nearest() {
        let error = EnvironmentName::parse("debain:12").unwrap_err();
        assert_eq!(error.nearest.first(), Some(&"debian:12"));
        let error = EnvironmentName::parse("debian:12-biuld").unwrap_err();
        assert_eq!(error.nearest.first(), Some(&"debian:12-build"));
        assert_eq!(error.to_string(), "there is no environment named \"debian:12-biuld\"");
    }

    /// Keeps: a hostile name costs bounded work and memory.
    #[test]
    fn a_huge_name_is_cut() {
        let error = EnvironmentName::parse(&"x".repeat(1 << 20)).unwrap_err();
        assert_eq!(error.name.len(), ENVIRONMENT_NAME_BYTES_MAX);
    }

    /// Keeps: the default packages printed are packages that are really installed (bash and coreutils are essential).
    #[test]
    fn default_packages_are_installed() {
        for spec in catalog() {
            for package in spec.default_packages {
                let essential = ["bash", "coreutils"].contains(package);
                assert!(essential || spec.packages.contains(package), "{package} of {}", spec.name);
            }
        }
    }
}
