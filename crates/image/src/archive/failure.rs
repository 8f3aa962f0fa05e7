//! What went wrong with the archive, told from apt's own lines. The line itself is always in the error.

use std::path::Path;

use crate::child::ToolError;
use crate::disk::DiskError;

/// The packages of an environment could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The archive cannot be reached.
    #[error("the package archive cannot be reached: {line}")]
    Network {
        /// apt's line.
        line: String,
    },
    /// What was downloaded is not what the archive signed.
    #[error("a download does not have the checksum that the archive signed: {line}")]
    Checksum {
        /// apt's line.
        line: String,
    },
    /// A download ended early.
    #[error("a download ended early: {line}")]
    Truncated {
        /// apt's line.
        line: String,
    },
    /// The archive's signature is missing, wrong or by an unknown key.
    #[error("the archive's signature cannot be verified: {line}")]
    Signature {
        /// apt's line.
        line: String,
    },
    /// The archive has no such file or package.
    #[error("the archive lacks something: {line}")]
    Lacking {
        /// apt's line.
        line: String,
    },
    /// The archive tool succeeded and left a record out.
    #[error("the archive tool's {record} record lacks {missing}")]
    Record {
        /// Which record.
        record: &'static str,
        /// What it lacks.
        missing: &'static str,
    },
    /// The tool failed in another way.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

type Make = fn(String) -> ArchiveError;

/// Signs of each failure in apt's, dpkg's and tar's messages (apt 2.2 to 3.0), the more telling ones first: a refused
/// signature or a short file also ends in "Failed to fetch".
const SIGNS: &[(&[&str], Make)] = &[
    (
        &[
            "NO_PUBKEY",
            "is not signed",
            "BADSIG",
            "EXPKEYSIG",
            "signatures were invalid",
            "signatures couldn't be verified",
            "no longer has a Release file",
            "is not valid yet",
            "Sub-process sqv returned",
            "OpenPGP signature verification failed",
        ],
        |line| ArchiveError::Signature { line },
    ),
    (
        &[
            "File has unexpected size",
            "Unexpected end of file",
            "unexpected end of file",
            "unexpected EOF",
            "Connection closed prematurely",
            "Error reading from server",
            "corrupted filesystem tarfile",
        ],
        |line| ArchiveError::Truncated { line },
    ),
    (&["Hash Sum mismatch", "Hashes of received file", "Hashes of expected file"], |line| {
        ArchiveError::Checksum { line }
    }),
    (
        &[
            "Unable to locate package",
            "No packages found",
            "has no installation candidate",
            "404  Not Found",
            "404 Not Found",
        ],
        |line| ArchiveError::Lacking { line },
    ),
    (
        &[
            "Could not resolve",
            "Could not connect",
            "Cannot initiate the connection",
            "Temporary failure resolving",
            "Connection failed",
            "Connection timed out",
            "onnection reset",
            "Unable to connect",
            "Network is unreachable",
            "Failed to fetch",
        ],
        |line| ArchiveError::Network { line },
    ),
];

const NO_SPACE: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// Names the failure of a run whose files were in `directory`.
pub(super) fn failure(error: ToolError, directory: &Path) -> ArchiveError {
    let ToolError::Failed { output, .. } = &error else { return error.into() };
    let find = |signs: &[&str]| {
        let line = output.lines().find(|line| signs.iter().any(|sign| line.contains(sign)))?;
        Some(line.strip_prefix("E: ").unwrap_or(line).trim().to_owned())
    };
    if find(&NO_SPACE).is_some() {
        // The directory itself is about to be removed.
        let path = directory.parent().unwrap_or(directory).to_owned();
        return DiskError::Full { path }.into();
    }
    SIGNS.iter().find_map(|(signs, make)| find(signs).map(make)).unwrap_or_else(|| error.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;
    use crate::child::ToolOutput;

    fn named(lines: &[&str]) -> ArchiveError {
        let output = ToolOutput {
            errors: lines.iter().map(|line| (*line).to_owned()).collect(),
            ..Default::default()
        };
        let status = ExitStatus::from_raw(256);
        failure(ToolError::Failed { program: "mmdebstrap", status, output }, Path::new("/cache"))
    }

    /// Keeps: each way a download fails has its own error, with apt's line in it.
    #[test]
    fn failures_are_told_apart() {
        let fetch = "E: Failed to fetch http://mirror.example/g.deb  ";
        let mismatch = named(&[&format!("{fetch}Hash Sum mismatch"), "   Hashes of expected file:"]);
        assert!(matches!(&mismatch, ArchiveError::Checksum { line } if line.ends_with("Hash Sum mismatch")));
        let size =
            named(&[&format!("{fetch}File has unexpected size (100 != 200). Mirror sync in progress?")]);
        assert!(matches!(size, ArchiveError::Truncated { .. }));
        let resolve = named(&[&format!("{fetch}Could not resolve 'mirror.example'")]);
        assert!(matches!(resolve, ArchiveError::Network { .. }));
        let key = named(&["E: The repository 'http://mirror.example bookworm InRelease' is not signed."]);
        assert!(matches!(key, ArchiveError::Signature { .. }));
        let package = named(&["E: Unable to locate package nonexistent"]);
        assert!(matches!(package, ArchiveError::Lacking { .. }));
        let space = named(&["E: Write error - write (28: No space left on device)", "E: Failed to fetch x"]);
        assert!(matches!(space, ArchiveError::Disk(DiskError::Full { .. })));
        let other = named(&["E: something new"]);
        assert!(matches!(other, ArchiveError::Tool(ToolError::Failed { .. })));
    }
}
