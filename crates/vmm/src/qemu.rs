//! The QEMU program: found, and known by version.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use crate::limits::{VERSION_MAX, VERSION_OUTPUT_BYTES_MAX};

/// The program's name.
pub const QEMU_PROGRAM: &str = "qemu-system-x86_64";

/// The oldest version that works: `-chardev socket,fd=` for serial ports and `x-ignore-shared` together.
pub const QEMU_VERSION_MIN: QemuVersion = QemuVersion { major: 7, minor: 2, micro: 0 };

/// The first version that can map a file privately from a read-only descriptor.
const READ_ONLY_RAM_FROM: QemuVersion = QemuVersion { major: 8, minor: 2, micro: 0 };

/// A version of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QemuVersion {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number.
    pub micro: u32,
}

impl fmt::Display for QemuVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

impl FromStr for QemuVersion {
    type Err = ();

    /// Parses `7.2.22` and `10.0`; what follows the numbers is the distribution's.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut numbers = text.splitn(3, '.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).map_or(part, |at| part.split_at(at).0);
            digits.parse::<u32>().map_err(|_| ())
        });
        let mut next = || numbers.next();
        let major = next().ok_or(())??;
        let minor = next().ok_or(())??;
        let micro = next().unwrap_or(Ok(0))?;
        Ok(Self { major, minor, micro })
    }
}

/// QEMU cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QemuError {
    /// No such program.
    #[error("{} was not found", name.display())]
    NotFound {
        /// The name or path looked for.
        name: PathBuf,
    },
    /// The program could not be run.
    #[error("cannot run {}", path.display())]
    Run {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program does not say a version.
    #[error("{} does not say its version: {output:?}", path.display())]
    NoVersion {
        /// The program.
        path: PathBuf,
        /// What it said.
        output: String,
    },
    /// The program is too old.
    #[error("{} is version {version}; {QEMU_VERSION_MIN} or newer is needed", path.display())]
    TooOld {
        /// The program.
        path: PathBuf,
        /// Its version.
        version: QemuVersion,
    },
}

/// A QEMU that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    path: PathBuf,
    version: QemuVersion,
}

impl Qemu {
    /// Finds QEMU at `path`, or on `search_path` (a `PATH` value), and asks its version, which takes some
    /// 20 ms: callers cache it by the file's identity and use [`Qemu::trusted`].
    ///
    /// # Errors
    /// When there is none, or it is too old.
    pub fn discover(path: Option<&Path>, search_path: &OsStr) -> Result<Self, QemuError> {
        let path = Self::locate(path, search_path)?;
        let output = version_output(&path)?;
        let version =
            parse_version(&output).ok_or_else(|| QemuError::NoVersion { path: path.clone(), output })?;
        Self::trusted(path, version)
    }

    /// Finds QEMU without running it.
    ///
    /// # Errors
    /// When there is none.
    pub fn locate(path: Option<&Path>, search_path: &OsStr) -> Result<PathBuf, QemuError> {
        let name = path.unwrap_or(Path::new(QEMU_PROGRAM));
        find_program(name, search_path)
            .and_then(|found| found.canonicalize().ok())
            .ok_or_else(|| QemuError::NotFound { name: name.to_owned() })
    }

    /// A QEMU whose version is already known.
    ///
    /// # Errors
    /// When the version is too old.
    pub fn trusted(path: PathBuf, version: QemuVersion) -> Result<Self, QemuError> {
        if version < QEMU_VERSION_MIN {
            return Err(QemuError::TooOld { path, version });
        }
        Ok(Self { path, version })
    }

    /// Where the program is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its version.
    pub fn version(&self) -> QemuVersion {
        self.version
    }

    /// Whether a template's memory can be opened read-only by this version itself.
    pub(crate) fn opens_memory_read_only(&self) -> bool {
        self.version >= READ_ONLY_RAM_FROM
    }
}

/// Looks a program up: a path with a slash as it is, a bare name in the directories given.
pub(crate) fn find_program(name: &Path, search_path: &OsStr) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return is_executable(name).then(|| name.to_owned());
    }
    std::env::split_paths(search_path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn version_output(path: &Path) -> Result<String, QemuError> {
    let run = |source| QemuError::Run { path: path.to_owned(), source };
    let mut child = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(run)?;
    let output = read_with_deadline(&mut child).map_err(run);
    // The child has printed a line and left, or is to be ended whatever it does.
    let _gone = child.kill();
    let _reaped = child.wait();
    output
}

fn read_with_deadline(child: &mut std::process::Child) -> io::Result<String> {
    let Some(mut stdout) = child.stdout.take() else { return Ok(String::new()) };
    let wait = rustix::event::Timespec::try_from(VERSION_MAX).map_err(io::Error::other)?;
    let mut fds = [rustix::event::PollFd::new(&stdout, rustix::event::PollFlags::IN)];
    // The client's own signals, such as Ctrl-C in a pull, are no failure of QEMU's.
    if rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&wait)))? == 0 {
        return Err(io::Error::from(io::ErrorKind::TimedOut));
    }
    let mut output = vec![0; VERSION_OUTPUT_BYTES_MAX as usize];
    let read = stdout.read(&mut output)?;
    output.truncate(read);
    Ok(String::from_utf8_lossy(&output).into_owned())
}

fn parse_version(output: &str) -> Option<QemuVersion> {
    let rest = output.lines().next()?.split_once("version ")?.1;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(major: u32, minor: u32, micro: u32) -> Option<QemuVersion> {
        Some(QemuVersion { major, minor, micro })
    }

    #[test]
    fn versions_parse_as_distributions_print_them() {
        // Promise: the version is read from what Debian, Fedora and upstream print.
        let debian = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright";
        assert_eq!(parse_version(debian), version(7, 2, 22));
        assert_eq!(parse_version("QEMU emulator version 10.0.2 (qemu-10.0.2-1.fc42)"), version(10, 0, 2));
        assert_eq!(parse_version("QEMU emulator version 9.1.0-rc3"), version(9, 1, 0));
        assert_eq!(parse_version("QEMU emulator version 8.2"), version(8, 2, 0));
        for bad in ["", "QEMU", "version ", "version x.y", "version 7"] {
            assert_eq!(parse_version(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_old_qemu_is_refused_with_both_versions() {
        // Promise: too old a QEMU is named together with what is needed.
        let old = QemuVersion { major: 6, minor: 2, micro: 0 };
        let error = Qemu::trusted(PathBuf::from("/usr/bin/qemu"), old).unwrap_err();
        assert_eq!(error.to_string(), "/usr/bin/qemu is version 6.2.0; 7.2.0 or newer is needed");
    }

    #[test]
    fn no_qemu_is_a_name_not_found() {
        // Promise: a machine without QEMU is told what is missing.
        let error = Qemu::discover(None, OsStr::new("/nonexistent")).unwrap_err();
        assert_eq!(error.to_string(), "qemu-system-x86_64 was not found");
    }

    #[test]
    fn a_program_that_is_no_qemu_is_refused() {
        // Promise: anything else under the name is not taken for QEMU.
        let error = Qemu::discover(Some(Path::new("/bin/echo")), OsStr::new("")).unwrap_err();
        assert!(matches!(error, QemuError::NoVersion { .. }), "{error}");
    }

    proptest! {
        #[test]
        fn no_output_panics(output in ".{0,80}") {
            // Promise: any output is a version or none.
            let _ = parse_version(&output);
            let _ = parse_version(&format!("version {output}"));
        }
    }
}
