//! Packages of the guest's Debian, for tests that install some: fetched by apt, which mmdebstrap has brought, from
//! the archive that environments are made from, whatever the host itself runs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where from, and whose signature it must have.
const SOURCE: &str = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main";

/// Two that need nothing else.
pub(crate) const SMALL: [&str; 2] = ["hello", "tree"];

/// A Python, with what it needs beside `debian:12`.
pub(crate) const PYTHON: [&str; 4] = ["python3.11-minimal", "libpython3.11-minimal", "libexpat1", "libssl3"];

/// Copies packages into a new directory.
pub(crate) fn put(names: &[&str], into: &Path) {
    fs::create_dir(into).unwrap();
    for name in names {
        let path = find(&fetched(), name).unwrap();
        fs::copy(&path, into.join(path.file_name().unwrap())).unwrap();
    }
}

/// Where they are: fetched by the first test that asks, and kept beside what cargo builds.
fn fetched() -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
    let (parts, debs) = (["state/lists/partial", "cache/archives/partial", "debs"], place.join("debs"));
    parts.iter().for_each(|part| fs::create_dir_all(place.join(part)).unwrap());
    let lock = File::options().append(true).create(true).open(place.join("lock")).unwrap();
    lock.lock().unwrap();
    let all = SMALL.iter().chain(&PYTHON);
    let missing: Vec<&str> = all.filter(|name| find(&debs, name).is_none()).copied().collect();
    if !missing.is_empty() {
        fs::write(place.join("sources.list"), format!("{SOURCE}\n")).unwrap();
        fs::write(place.join("status"), "").unwrap();
        apt(&place, &["update"]);
        apt(&place, &[&["download"], &missing[..]].concat());
    }
    debs
}

fn find(debs: &Path, name: &str) -> Option<PathBuf> {
    let paths = fs::read_dir(debs).unwrap().map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&format!("{name}_"));
    paths.filter(|path| path.extension().is_some_and(|suffix| suffix == "deb")).find(is_it)
}

/// An apt that knows nothing of the host's packages and sources, and may be an ordinary user's.
fn apt(place: &Path, words: &[&str]) {
    let mut apt = Command::new("apt-get");
    let own = |option: &str, part: &str| format!("{option}={}", place.join(part).display());
    let options = [
        own("Dir::Etc::SourceList", "sources.list"),
        "Dir::Etc::SourceParts=-".to_owned(),
        own("Dir::State", "state"),
        own("Dir::State::Status", "status"),
        own("Dir::Cache", "cache"),
        "APT::Architecture=amd64".to_owned(),
        "APT::Architectures=amd64".to_owned(),
        "APT::Sandbox::User=".to_owned(),
        "Acquire::Languages=none".to_owned(),
    ];
    let options = options.iter().flat_map(|option| ["-o", option]);
    let done =
        apt.args(options).args(["-q", "-y"]).args(words).current_dir(place.join("debs")).output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "apt-get {words:?}: {told}");
}
