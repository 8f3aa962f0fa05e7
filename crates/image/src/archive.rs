//! Debian's signed archive, through `mmdebstrap`: one run gives the root file system as a tar and the kernel's package.
//! apt verifies every byte against the archive's signature. It never unpacks anything itself.

mod failure;
mod meter;

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

pub use failure::ArchiveError;

use crate::catalog::{EnvironmentSpec, KERNEL_METAPACKAGE};
use crate::child::Bounds;
use crate::digest::Digest;
use crate::disk::{create_dir_of_mode, read_bounded};
use crate::limits::{ARCHIVE_RUN_MAX, RECORD_BYTES_MAX};
use crate::namespace::{Program, World};
use crate::progress::{Cancel, Progress};
use crate::stanza::stanzas;
use crate::tools::{Tool, Tools};
use failure::failure;
use meter::Meter;

/// What to fetch, and with what.
pub(crate) struct Fetch<'a> {
    pub(crate) spec: &'a EnvironmentSpec,
    /// Another mirror than the archive tool's default.
    pub(crate) mirror: Option<&'a str>,
    /// An empty directory that takes all files, the tool's temporary ones too.
    pub(crate) directory: &'a Path,
    /// Kernel packages that are already here and need no download.
    pub(crate) kernels_here: &'a [Digest],
    pub(crate) tools: &'a Tools,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) cancel: &'a Cancel,
    /// Held open by every process of the run.
    pub(crate) lock: Option<File>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) rootfs_tar: PathBuf,
    pub(crate) kernel: KernelPackage,
    /// The `sources.list` lines that were used.
    pub(crate) sources: Vec<String>,
    /// The `Date` of the suite's release file, as the archive signed it.
    pub(crate) release_date: String,
}

/// The kernel's package as the signed archive describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KernelPackage {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) deb_digest: Digest,
    /// The downloaded file; absent when this kernel is already here.
    pub(crate) deb: Option<PathBuf>,
}

/// Left out of every image: documentation but for the licenses, and translations.
const PATHS_LEFT_OUT: [&str; 6] = [
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/lintian/*",
];

/// The directory, under the request's, that the tool works in; and what it holds.
pub(crate) const WORKING_DIRECTORY: &str = "archive";
pub(crate) const WORKING_PARTS: [&str; 3] = [TEMPORARY, OUTPUT, ROOTFS_TAR];
const TEMPORARY: &str = "tmp";
const OUTPUT: &str = "hook";
const DEBS: &str = "hook/deb";
const ROOTFS_TAR: &str = "rootfs.tar";

/// Fetches an environment's packages and its kernel's.
pub(crate) fn fetch(request: &Fetch<'_>) -> Result<Fetched, ArchiveError> {
    let world = World::of_this_process(request.tools, request.cancel)?;
    let directory = request.directory.join(WORKING_DIRECTORY);
    for part in ["", TEMPORARY, OUTPUT, DEBS] {
        create_dir_of_mode(&directory.join(part), world.directory_mode())?;
    }
    let inside = world.inside(&directory);
    let program = Program {
        tool: Tool::Mmdebstrap,
        arguments: arguments(request, &world, &inside),
        environment: environment(request, &inside),
        directory: &directory,
        bounds: Bounds { program: "mmdebstrap", limit: ARCHIVE_RUN_MAX, cancel: request.cancel },
        held: request.lock.as_ref().and_then(|lock| lock.try_clone().ok()),
    };
    let mut meter = Meter::new(request.progress, request.spec.package_count_expected);
    world
        .run(request.tools, program, &mut |line| meter.line(line))
        .map_err(|error| failure(error, request.directory))?;
    collect(&directory, request.spec.suite)
}

fn arguments(request: &Fetch<'_>, world: &World, directory: &Path) -> Vec<OsString> {
    let mode = match world {
        World::Root | World::Bare => "root",
        World::User(_) | World::Archive => "unshare",
    };
    let mut arguments: Vec<OsString> =
        ["--verbose", "--variant=minbase", "--components=main", "--architectures=amd64", "--format=tar"]
            .map(OsString::from)
            .into();
    arguments.push(format!("--mode={mode}").into());
    arguments.push(format!("--include={}", request.spec.packages.join(",")).into());
    arguments.extend(PATHS_LEFT_OUT.iter().map(|option| format!("--dpkgopt={option}").into()));
    arguments.push(concat!("--customize-hook=", include_str!("archive/hook.sh")).into());
    arguments.push(request.spec.suite.into());
    arguments.push(directory.join(ROOTFS_TAR).into());
    arguments.extend(request.mirror.map(OsString::from));
    arguments
}

fn environment(request: &Fetch<'_>, directory: &Path) -> Vec<(&'static str, OsString)> {
    let here: Vec<_> = request.kernels_here.iter().map(Digest::to_string).collect();
    vec![
        ("TMPDIR", directory.join(TEMPORARY).into()),
        ("DEBIAN_FRONTEND", "noninteractive".into()),
        ("PYRO_HOOK_OUTPUT", directory.join(OUTPUT).into()),
        ("PYRO_HOOK_KERNEL", KERNEL_METAPACKAGE.into()),
        ("PYRO_HOOK_KERNELS_HERE", here.join(" ").into()),
    ]
}

fn collect(directory: &Path, suite: &str) -> Result<Fetched, ArchiveError> {
    let (rootfs_tar, output) = (directory.join(ROOTFS_TAR), &directory.join(OUTPUT));
    let kernel = kernel_package(&record(output, "kernel")?, &directory.join(DEBS))?;
    let sources = record(output, "sources")?;
    let sources =
        sources.lines().map(str::trim).filter(|line| line.starts_with("deb ")).map(str::to_owned).collect();
    let release_date = release_date(&record(output, "releases")?, suite)?;
    Ok(Fetched { rootfs_tar, kernel, sources, release_date })
}

fn record(output: &Path, name: &'static str) -> Result<String, ArchiveError> {
    let bytes = read_bounded(&output.join(name), RECORD_BYTES_MAX)?;
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or(ArchiveError::Record { record: name, missing: "readable text" })
}

fn kernel_package(record: &str, debs: &Path) -> Result<KernelPackage, ArchiveError> {
    let missing = |missing| ArchiveError::Record { record: "kernel", missing };
    let stanza = stanzas(record).next().ok_or(missing("Package"))?;
    let field = |name: &'static str| stanza.get(name).ok_or(missing(name));
    let deb_digest = Digest::parse(field("SHA256")?).map_err(|_| missing("a valid SHA256"))?;
    let package = KernelPackage {
        name: plain(field("Package")?).ok_or(missing("a plain Package"))?,
        version: plain(field("Version")?).ok_or(missing("a plain Version"))?,
        deb_digest,
        deb: only_file(debs),
    };
    Ok(package)
}

/// Package names and versions become parts of paths: deb-version(7) allows no more than these, and never a slash.
fn plain(text: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".+-:~".contains(&byte);
    (!text.is_empty() && !text.starts_with('.') && text.bytes().all(allowed)).then(|| text.to_owned())
}

fn only_file(directory: &Path) -> Option<PathBuf> {
    let mut files = fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path());
    files.find(|path| path.extension().is_some_and(|extension| extension == "deb"))
}

/// The date of the suite itself; its updates and security parts have their own.
fn release_date(releases: &str, suite: &str) -> Result<String, ArchiveError> {
    stanzas(releases)
        .filter(|stanza| stanza.get("Codename") == Some(suite))
        .find_map(|stanza| stanza.get("Date"))
        .map(str::to_owned)
        .ok_or(ArchiveError::Record { record: "releases", missing: "Date" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "Package: linux-image-6.1.0-56-cloud-amd64\nVersion: 6.1.192-2\n\
        SHA256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n";

    /// Keeps: the kernel's package is what the archive's record says, and its parts are safe in paths.
    #[test]
    fn the_kernel_record_is_parsed() {
        let directory = tempfile::tempdir().unwrap();
        let kernel = kernel_package(RECORD, directory.path()).unwrap();
        assert_eq!(kernel.version, "6.1.192-2");
        assert_eq!(kernel.deb_digest, Digest::of(b"abc"));
        assert_eq!(kernel.deb, None);
        for (from, to) in
            [("6.1.192-2", "../../etc"), ("6.1.192-2", ""), ("ba78", "zz78"), ("SHA256", "MD5sum")]
        {
            let record = RECORD.replace(from, to);
            assert!(kernel_package(&record, directory.path()).is_err(), "{record}");
        }
    }

    /// Keeps: the date is that of the suite's own release file.
    #[test]
    fn the_release_date_is_the_suites() {
        let releases = "Codename: bookworm-updates\nDate: Mon\n\nCodename: bookworm\nDate: Sat, 11 Jul 2026 10:16:37 UTC\n";
        assert_eq!(release_date(releases, "bookworm").unwrap(), "Sat, 11 Jul 2026 10:16:37 UTC");
        assert!(release_date(releases, "trixie").is_err());
    }
}
