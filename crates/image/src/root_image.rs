//! The root image: a blank file system made here, filled by somebody who has a kernel for it, checked here. It never
//! mounts anything and never writes a file of the guest itself.

use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::child::{self, Bounds, ToolError};
use crate::digest::{Digest, Hashing};
use crate::disk::{DiskError, create_file, open_file, seal_file};
use crate::kernel::Kernel;
use crate::limits::{
    ROOT_IMAGE_BLOCK_BYTES, ROOT_IMAGE_SLACK_BYTES, ROOT_IMAGE_SLACK_INODES, ROOT_IMAGE_STEP_BYTES,
    SMALL_TOOL_RUN_MAX,
};
use crate::manifest::FileRecord;
use crate::progress::{Cancel, Canceled, Progress};
use crate::rootfs::Rootfs;
use crate::tools::{Tool, ToolMissing, Tools};

/// What any kernel since 4.4 mounts. No journal and no reserved blocks: the image is written once and mounted read-only for
/// ever after, a journal would only be replayed.
const FEATURES: &str = "none,dir_index,dir_nlink,ext_attr,extent,extra_isize,filetype,flex_bg,huge_file,large_file,\
                        metadata_csum,sparse_super,64bit";

/// What a writer is to do: unpack a tar into a blank ext4, as root, with every owner, mode, link and attribute.
#[derive(Debug)]
pub struct RootJob<'a> {
    /// The archive, without compression. Its size is a multiple of 512, so it can be attached as a raw disk.
    pub tar: &'a Path,
    /// Its size.
    pub tar_bytes: u64,
    /// How many entries it has. Extension headers (long names, PAX) are not counted.
    pub entries: u64,
    /// A blank ext4 without journal, large enough.
    pub image: &'a Path,
    /// The image's size.
    pub image_bytes: u64,
    /// The kernel to do it with.
    pub kernel: &'a Kernel,
}

/// What a writer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootReport {
    /// How many entries it unpacked; must be [`RootJob::entries`].
    pub entries: u64,
}

/// Somebody who can write a root image: in this product, a VM.
pub trait RootWriter {
    /// Fills the image and syncs it. `progress` is in [`crate::Phase::Image`], its units are bytes of the tar.
    fn write_root(
        &mut self,
        job: &RootJob<'_>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<RootReport, Box<dyn Error + Send + Sync>>;
}

/// The root image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RootImageError {
    /// The writer failed.
    #[error("the root image could not be written")]
    Writer(#[source] Box<dyn Error + Send + Sync>),
    /// The writer says it did less, or more.
    #[error("the root image has {written} of {expected} entries")]
    Entries {
        /// What was unpacked.
        written: u64,
        /// What there is.
        expected: u64,
    },
    /// The file system is not clean.
    #[error("the root image's file system is damaged")]
    Damaged(#[source] ToolError),
    /// A tool failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The caller stopped the work.
    #[error(transparent)]
    Canceled(#[from] Canceled),
}

impl From<ToolMissing> for RootImageError {
    fn from(error: ToolMissing) -> Self {
        Self::Tool(error.into())
    }
}

/// Makes the blank image for an archive; gives its size. The same content always gets the same UUID.
pub(crate) fn make_blank(
    image: &Path,
    rootfs: &Rootfs,
    tools: &Tools,
    cancel: &Cancel,
) -> Result<u64, RootImageError> {
    let bytes = image_bytes(rootfs);
    let inodes = rootfs.entries.saturating_add(ROOT_IMAGE_SLACK_INODES);
    create_file(image)?.set_len(bytes).map_err(DiskError::io("set the size of", image))?;
    let mut command = Command::new(tools.require(Tool::Mke2fs)?);
    // Neither the host's configuration nor its version's defaults: the same image everywhere.
    command.env("MKE2FS_CONFIG", "/dev/null").args(["-q", "-F", "-t", "ext4", "-O", FEATURES]);
    command.args(["-L", "pyro-root", "-U", &rootfs.record.digest.uuid(), "-m", "0", "-I", "256"]);
    command.args(["-b", &ROOT_IMAGE_BLOCK_BYTES.to_string(), "-N", &inodes.to_string()]);
    command.args(["-E", "root_owner=0:0,lazy_itable_init=1,nodiscard"]);
    command.arg(image).stdin(Stdio::null()).stdout(Stdio::null());
    child::run(command, Bounds { program: "mke2fs", limit: SMALL_TOOL_RUN_MAX, cancel }, &mut |_| {})
        .map_err(|error| full_disk(error, image))?;
    Ok(bytes)
}

/// Has the image written and checks what the writer says of it.
pub(crate) fn write(
    job: &RootJob<'_>,
    writer: &mut dyn RootWriter,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(), RootImageError> {
    let report = writer.write_root(job, progress, cancel);
    // A writer that was canceled fails in its own words.
    cancel.check()?;
    let written = report.map_err(RootImageError::Writer)?.entries;
    if written != job.entries {
        return Err(RootImageError::Entries { written, expected: job.entries });
    }
    Ok(())
}

/// Checks the file system where the tool for it is here, digests the image, makes it read-only and durable.
pub(crate) fn seal(
    image: &Path,
    tools: &Tools,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<FileRecord, RootImageError> {
    check_file_system(image, tools, cancel)?;
    let file = open_file(image)?;
    let record = digest(&file, image, progress, cancel)?;
    seal_file(&file, image)?;
    Ok(record)
}

fn check_file_system(image: &Path, tools: &Tools, cancel: &Cancel) -> Result<(), RootImageError> {
    let Some(e2fsck) = tools.get(Tool::E2fsck) else { return Ok(()) };
    let mut command = Command::new(e2fsck);
    command.args(["-f", "-n"]).arg(image).stdin(Stdio::null()).stdout(Stdio::null());
    child::run(command, Bounds { program: "e2fsck", limit: SMALL_TOOL_RUN_MAX, cancel }, &mut |_| {}).map_err(
        |error| match error {
            ToolError::Failed { .. } => RootImageError::Damaged(error),
            other => other.into(),
        },
    )
}

fn digest(
    file: &std::fs::File,
    image: &Path,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<FileRecord, RootImageError> {
    use std::io::Read;
    let failed = || DiskError::io("read", image);
    let total = file.metadata().map_err(failed())?.len();
    let mut reader = Hashing::new(file);
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0_u64;
    loop {
        cancel.check()?;
        match reader.read(&mut buffer).map_err(failed())? {
            0 => break,
            count => done = done.saturating_add(count as u64),
        }
        progress.advance(done, Some(total));
    }
    let (_, digest, bytes): (_, Digest, u64) = reader.finish();
    Ok(FileRecord { bytes, digest })
}

/// Files, inodes (256 bytes each) and slack, in whole steps.
fn image_bytes(rootfs: &Rootfs) -> u64 {
    let inode_bytes = rootfs.entries.saturating_mul(256);
    rootfs
        .data_bytes
        .saturating_add(rootfs.data_bytes / 32)
        .saturating_add(inode_bytes)
        .saturating_add(ROOT_IMAGE_SLACK_BYTES)
        .checked_next_multiple_of(ROOT_IMAGE_STEP_BYTES)
        .unwrap_or(u64::MAX)
}

fn full_disk(error: ToolError, image: &Path) -> RootImageError {
    match &error {
        ToolError::Failed { output, .. }
            if output.lines().any(|line| line.contains("No space left on device")) =>
        {
            DiskError::Full { path: image.to_owned() }.into()
        }
        _ => error.into(),
    }
}
