//! Reads what every command will need, so that a template's memory holds it.
//!
//! Follows the guest's own files: the usual commands, the loaders and libraries they name, the files that a
//! login reads. Never reads what must differ between forks, and leaves nothing running.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use super::elf::needs;
use crate::limits::{WARM_BYTES_MAX, WARM_FILE_BYTES_MAX, WARM_FILES_MAX};

const COMMANDS: [&str; 12] =
    ["sh", "bash", "env", "true", "echo", "cat", "ls", "mkdir", "rm", "sleep", "uname", "git"];
const COMMAND_DIRECTORIES: [&str; 4] = ["usr/local/bin", "usr/bin", "bin", "usr/sbin"];
const LIBRARY_DIRECTORIES: [&str; 6] =
    ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64", "lib", "usr/lib"];
const FILES: [&str; 9] = [
    "etc/ld.so.cache",
    "etc/passwd",
    "etc/group",
    "etc/nsswitch.conf",
    "etc/bash.bashrc",
    "etc/profile",
    "root/.bashrc",
    "root/.profile",
    "usr/share/zoneinfo/UTC",
];

/// Reads ahead, within bounds, and passes over what an image does not have.
pub(crate) fn read_ahead(base: BorrowedFd<'_>) {
    let mut reader = ReadAhead::default();
    for command in COMMANDS {
        let places = COMMAND_DIRECTORIES.iter().map(|directory| Path::new(directory).join(command));
        reader.wanted.push_back(places.collect());
    }
    reader.wanted.extend(FILES.iter().map(|file| vec![PathBuf::from(file)]));
    reader.run(base);
}

/// Files to read, each by the places where it may be: the first that is there counts.
#[derive(Default)]
struct ReadAhead {
    wanted: VecDeque<Vec<PathBuf>>,
    seen: BTreeSet<PathBuf>,
    bytes: u64,
}

impl ReadAhead {
    fn run(&mut self, base: BorrowedFd<'_>) {
        while let Some(places) = self.wanted.pop_front() {
            if self.seen.len() >= WARM_FILES_MAX || self.bytes >= WARM_BYTES_MAX {
                return;
            }
            let found = places.into_iter().find_map(|place| Some((open_regular(base, &place)?, place)));
            if let Some((file, place)) = found.filter(|(_, place)| !self.seen.contains(place)) {
                self.seen.insert(place);
                self.read(&file);
            }
        }
    }

    fn read(&mut self, file: &OwnedFd) {
        let mut contents = Vec::new();
        let mut offset = 0;
        let mut page = vec![0; 256 * 1024];
        while offset < WARM_FILE_BYTES_MAX {
            match rustix::io::pread(file, page.as_mut_slice(), offset) {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    offset += count as u64;
                    contents.extend_from_slice(page.get(..count).unwrap_or_default());
                }
            }
        }
        self.bytes += offset;
        for need in needs(&contents) {
            self.wanted.push_back(places_of(&need));
        }
    }
}

/// Where a loader or library that a program names may lie.
fn places_of(need: &[u8]) -> Vec<PathBuf> {
    let need = Path::new(OsStr::from_bytes(need));
    match need.strip_prefix("/") {
        Ok(inside) => vec![inside.to_owned()],
        Err(_) => LIBRARY_DIRECTORIES.iter().map(|directory| Path::new(directory).join(need)).collect(),
    }
}

fn open_regular(base: BorrowedFd<'_>, path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::openat2(base, path, flags, Mode::empty(), ResolveFlags::IN_ROOT).ok()?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file).ok()?.st_mode);
    (kind == FileType::RegularFile).then_some(file)
}
