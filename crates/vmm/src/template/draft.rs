//! A template in the making: a hidden sibling directory that becomes the template by one rename, or goes.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::RenameFlags;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::metadata::{Identity, Metadata, SavedDisk};
use super::{DISK_FILE, RAM_FILE, STATE_FILE, Template, TemplateError, TemplateKey};
use crate::limits::TEMPLATE_STATE_BYTES_MAX;

/// Mode of a finished template's files.
const READ_ONLY: u32 = 0o444;

/// Tells drafts apart: the path of the one directory a draft has to itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DraftId(PathBuf);

/// A template in the making. Dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub struct Draft {
    target: PathBuf,
    directory: TempDir,
    ram: File,
    state: File,
    disk: Option<(File, String)>,
}

impl Draft {
    /// Begins a template that shall be at `target`, with room for `memory_bytes` of guest memory.
    ///
    /// # Errors
    /// When the directory beside `target` cannot be written.
    pub fn create(target: &Path, memory_bytes: u64) -> Result<Self, TemplateError> {
        let parent = target.parent().unwrap_or(Path::new("."));
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let directory = tempfile::Builder::new()
            .prefix(&format!(".{name}."))
            .tempdir_in(parent)
            .map_err(|source| TemplateError::File { path: parent.to_owned(), source })?;
        let ram = create_file(&directory.path().join(RAM_FILE))?;
        ram.set_len(memory_bytes).map_err(failed(directory.path().join(RAM_FILE)))?;
        let state = create_file(&directory.path().join(STATE_FILE))?;
        Ok(Self { target: target.to_owned(), directory, ram, state, disk: None })
    }

    /// Where the template's disk will be. One that is made there need not be moved.
    pub fn disk_path(&self) -> PathBuf {
        self.directory.path().join(DISK_FILE)
    }

    /// Moves a disk in, on which the template's guest stands, as layer `id` of others. A VM may still have it open:
    /// it is stored, and never written again, when the template is finished.
    ///
    /// # Errors
    /// When it cannot be moved, as to another file system.
    pub fn add_disk(&mut self, file: &Path, id: &str) -> Result<(), TemplateError> {
        let path = self.disk_path();
        let add = || {
            if file != path {
                fs::rename(file, &path)?;
            }
            File::open(&path)
        };
        let disk = add().map_err(failed(file.to_owned()))?;
        self.disk = Some((disk, id.to_owned()));
        Ok(())
    }

    /// Puts a small file of the caller's beside the template, stored: [`Template::note`] reads it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_note(&self, name: &str, contents: &[u8]) -> Result<(), TemplateError> {
        let path = self.directory.path().join(name);
        let mut file = create_file(&path)?;
        file.write_all(contents).and_then(|()| file.sync_all()).map_err(failed(path))
    }

    pub(crate) fn id(&self) -> DraftId {
        DraftId(self.directory.path().to_owned())
    }

    /// The memory file, open for reading and writing.
    pub(crate) fn ram(&self) -> &File {
        &self.ram
    }

    /// The state file, empty and open for writing alone, which is how a VMM opens it.
    pub(crate) fn state_writer(&self) -> Result<File, TemplateError> {
        let path = self.directory.path().join(STATE_FILE);
        OpenOptions::new().write(true).truncate(true).open(&path).map_err(failed(path))
    }

    /// Makes the memory file ready for a machine: empty, whatever an earlier attempt left in it, and open to
    /// the user id the machine runs under.
    pub(crate) fn lend_ram(&self, owner: Option<(u32, u32)>) -> Result<(), TemplateError> {
        let lent = || {
            let bytes = self.ram.metadata()?.len();
            self.ram.set_len(0)?;
            self.ram.set_len(bytes)?;
            owner.map_or(Ok(()), |(uid, gid)| fchown(&self.ram, Some(uid), Some(gid)))
        };
        lent().map_err(failed(self.directory.path().join(RAM_FILE)))
    }

    /// Makes the draft a template, once no process has its memory any more. Blocks for as long as the disk
    /// takes to store the memory that was touched.
    ///
    /// # Errors
    /// When a file cannot be stored. The old template at the target, if any, is then still there.
    pub fn finish(self, key: &TemplateKey) -> Result<Template, TemplateError> {
        let path = self.directory.path().to_owned();
        let metadata = self.seal(key).map_err(failed(path))?;
        let directory = self.directory.keep();
        let placed = put_in_place(&directory, &self.target);
        // What is left under the draft's name, be it the draft or the template it replaced, is in the way.
        let _best_effort = fs::remove_dir_all(&directory);
        placed.map_err(failed(self.target.clone()))?;
        Ok(Template { directory: self.target, metadata })
    }

    fn seal(&self, key: &TemplateKey) -> io::Result<Metadata> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let disk = self.disk.as_ref().map(|(file, _)| file);
        for file in [&self.ram, &self.state].into_iter().chain(disk) {
            fchown(file, Some(uid), Some(gid))?;
            file.set_permissions(Permissions::from_mode(READ_ONLY))?;
            file.sync_all()?;
        }
        let digest = digest(&self.state)?;
        let (ram, state) = (Identity::of(&self.ram)?, Identity::of(&self.state)?);
        let disk = self.disk.as_ref().map(|(file, id)| SavedDisk::of(file, id)).transpose()?;
        let metadata = Metadata::new(key.as_str().to_owned(), ram, state, digest, disk);
        metadata.write(self.directory.path())?;
        File::open(self.directory.path())?.sync_all()?;
        Ok(metadata)
    }
}

fn failed(path: PathBuf) -> impl FnOnce(io::Error) -> TemplateError {
    move |source| TemplateError::File { path, source }
}

fn create_file(path: &Path) -> Result<File, TemplateError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    options.open(path).map_err(failed(path.to_owned()))
}

/// Renames; where a template already is, exchanges, so that there is one at every moment.
fn put_in_place(directory: &Path, target: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, renameat_with};
    match renameat_with(CWD, directory, CWD, target, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::EXIST) => {
            renameat_with(CWD, directory, CWD, target, RenameFlags::EXCHANGE)?;
        }
        other => other?,
    }
    File::open(target.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// The digest of a whole state file.
pub(super) fn digest(mut file: &File) -> io::Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(TEMPLATE_STATE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}
