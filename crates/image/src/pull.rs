//! A pull: packages, kernel, root image, manifest, in a partial directory that is renamed when all of it is whole.
//! Any failure, and cancellation at any moment, leaves nothing that could be taken for an environment.

mod error;
mod remedy;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use error::PullError;

use crate::archive::{self, Fetch, Fetched};
use crate::cache::Cache;
use crate::catalog::{EnvironmentName, PLATFORM};
use crate::clock::now_rfc3339;
use crate::disk::{DiskError, create_file, require_free, seal_file};
use crate::installed::{HOLD_NAME, InstalledEnvironment, MANIFEST_NAME, ROOTFS_NAME, VMLINUX_NAME};
use crate::kernel::{self, Kernel};
use crate::lock::{Lock, LockError, Mode};
use crate::manifest::{
    ENVIRONMENT_MANIFEST_VERSION, EnvironmentManifest, FileRecord, KernelRecord, SourceRecord, write_manifest,
};
use crate::partial::{Partial, remove_leftovers};
use crate::progress::{Cancel, Phase, Progress};
use crate::root_image::{self, RootImageError, RootJob, RootWriter};
use crate::rootfs::{self, Rootfs};
use crate::tools::Tools;

/// What to pull, where to, and how to tell of it.
#[derive(Clone, Copy)]
pub struct PullRequest<'a> {
    /// The environment.
    pub name: EnvironmentName,
    /// Where it goes.
    pub cache: &'a Cache,
    /// The programs to use.
    pub tools: &'a Tools,
    /// A mirror instead of the archive tool's default (which has the suite, its updates and its security updates).
    pub mirror: Option<&'a str>,
    /// Who is told.
    pub progress: &'a dyn Progress,
    /// Who may stop it.
    pub cancel: &'a Cancel,
}

/// A pull that succeeded.
#[derive(Debug)]
pub struct Pulled {
    /// The environment.
    pub environment: InstalledEnvironment,
    /// Whether it was installed now; otherwise it was there already.
    pub fresh: bool,
}

/// Pulls an environment. One that is installed is given back at once, without a lock or any network.
pub fn pull(request: &PullRequest<'_>, writer: &mut dyn RootWriter) -> Result<Pulled, PullError> {
    if let Some(environment) = installed(request) {
        return Ok(Pulled { environment, fresh: false });
    }
    request.cache.create()?;
    let _making = Lock::wait(&request.cache.lock_file(), Mode::Shared, request.cancel, || {})?;
    let lock = lock_environment(request)?;
    // Another pull may have installed it while this one waited.
    if let Some(environment) = installed(request) {
        return Ok(Pulled { environment, fresh: false });
    }
    install(request, writer, &lock)?;
    request.progress.phase(Phase::Ready);
    let environment = InstalledEnvironment::open(request.cache, request.name)?;
    Ok(Pulled { environment, fresh: true })
}

fn installed(request: &PullRequest<'_>) -> Option<InstalledEnvironment> {
    let environment = InstalledEnvironment::open(request.cache, request.name).ok()?;
    environment.kernel(request.cache).ok()?;
    Some(environment)
}

fn lock_environment(request: &PullRequest<'_>) -> Result<Lock, LockError> {
    let path = request.cache.environment_lock_file(&request.name.directory_name());
    Lock::wait(&path, Mode::Exclusive, request.cancel, || {
        request.progress.phase(Phase::Wait);
        request.progress.note("waiting for another pull");
    })
}

fn install(request: &PullRequest<'_>, writer: &mut dyn RootWriter, lock: &Lock) -> Result<(), PullError> {
    let (parent, place) = (request.cache.environments_dir(), request.cache.environment_dir(request.name));
    // Known now, it would be a pity to learn it in the end.
    drop(exclude_users(request, &place)?);
    remove_leftovers(&parent, Some(&request.name.directory_name()), request.tools)?;
    require_free(&parent, request.name.spec().free_bytes_min)?;
    let partial = Partial::create(&parent, &request.name.directory_name(), request.tools)?;
    let work = Partial::create(&parent, &request.name.directory_name(), request.tools)?;
    let (fetched, rootfs) = fetch(request, work.path(), lock)?;
    let kernel = kernel::ensure_kernel(
        request.cache,
        &fetched.kernel,
        request.tools,
        request.progress,
        request.cancel,
    )?;
    let image = write_image(request, writer, partial.path(), &fetched, &rootfs, &kernel)?;
    drop(work);
    link_kernel(&kernel, &partial.path().join(VMLINUX_NAME))?;
    let hold = partial.path().join(HOLD_NAME);
    seal_file(&create_file(&hold)?, &hold)?;
    let manifest = manifest(request.name, fetched, rootfs, &kernel, image);
    write_manifest(&partial.path().join(MANIFEST_NAME), &manifest)?;
    request.cancel.check()?;
    let _in_nobodys_use = exclude_users(request, &place)?;
    Ok(partial.install(&place)?)
}

fn fetch(request: &PullRequest<'_>, directory: &Path, lock: &Lock) -> Result<(Fetched, Rootfs), PullError> {
    let spec = request.name.spec();
    let fetched = archive::fetch(&Fetch {
        spec,
        mirror: request.mirror,
        directory,
        kernels_here: &kernel::digests_here(request.cache),
        tools: request.tools,
        progress: request.progress,
        cancel: request.cancel,
        lock: lock.share(),
    })?;
    let rootfs = rootfs::inspect(&fetched.rootfs_tar, spec.packages, request.cancel)?;
    Ok((fetched, rootfs))
}

fn write_image(
    request: &PullRequest<'_>,
    writer: &mut dyn RootWriter,
    directory: &Path,
    fetched: &Fetched,
    rootfs: &Rootfs,
    kernel: &Kernel,
) -> Result<FileRecord, RootImageError> {
    let image = directory.join(ROOTFS_NAME);
    request.progress.phase(Phase::Image);
    let image_bytes = root_image::make_blank(&image, rootfs, request.tools, request.cancel)?;
    let job = RootJob {
        tar: &fetched.rootfs_tar,
        tar_bytes: rootfs.record.bytes,
        entries: rootfs.entries,
        image: &image,
        image_bytes,
        kernel,
    };
    root_image::write(&job, writer, request.progress, request.cancel)?;
    request.progress.phase(Phase::Verify);
    root_image::seal(&image, request.tools, request.progress, request.cancel)
}

/// The same file twice, where the file system can; otherwise a copy.
fn link_kernel(kernel: &Kernel, place: &Path) -> Result<(), DiskError> {
    let vmlinux = kernel.vmlinux();
    if std::fs::hard_link(&vmlinux, place).is_ok() {
        return Ok(());
    }
    std::fs::copy(&vmlinux, place).map_err(DiskError::io("copy the kernel to", place))?;
    seal_file(&crate::disk::open_file(place)?, place)
}

/// A damaged environment is replaced only while no VM holds it.
fn exclude_users(request: &PullRequest<'_>, place: &Path) -> Result<Option<Lock>, PullError> {
    let hold = place.join(HOLD_NAME);
    if !hold.exists() {
        return Ok(None);
    }
    let lock = Lock::attempt(&hold, Mode::Exclusive)?;
    lock.map(Some).ok_or(PullError::InUse { name: request.name })
}

fn manifest(
    name: EnvironmentName,
    fetched: Fetched,
    rootfs: Rootfs,
    kernel: &Kernel,
    image: FileRecord,
) -> EnvironmentManifest {
    let spec = name.spec();
    let owned = |text: &str| text.to_owned();
    let kernel_manifest = kernel.manifest();
    EnvironmentManifest {
        manifest_version: ENVIRONMENT_MANIFEST_VERSION,
        name: owned(spec.name),
        version: owned(spec.version),
        distribution: owned(spec.distribution),
        release: owned(spec.release),
        platform: owned(PLATFORM),
        source: source(spec.suite, fetched),
        created: now_rfc3339(),
        default_packages: spec.default_packages.iter().map(|package| owned(package)).collect(),
        packages: rootfs.packages,
        kernel: KernelRecord {
            key: owned(kernel.key()),
            package: kernel_manifest.package.clone(),
            package_version: kernel_manifest.package_version.clone(),
            release: kernel_manifest.release.clone(),
        },
        rootfs_tar: rootfs.record,
        rootfs: image,
        vmlinux: kernel_manifest.vmlinux,
    }
}

fn source(suite: &str, fetched: Fetched) -> SourceRecord {
    // `deb [options] URI suite component`, sources.list(5).
    let address = |line: &String| line.split(' ').find(|word| word.contains(":/")).map(str::to_owned);
    SourceRecord {
        archive: fetched.sources.iter().find_map(address).unwrap_or_default(),
        suite: suite.to_owned(),
        date: fetched.release_date,
        sources: fetched.sources,
    }
}
