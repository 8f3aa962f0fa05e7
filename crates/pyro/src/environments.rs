//! Environments: the catalog, pulling, inspecting, removing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyro_image::{
    Agent, Cache, Cancel, DiskError, EnvironmentName, GuestKit, InstalledEnvironment, InstalledError, Kernel,
    Phase, Progress, PullRequest, Tools,
};
use pyro_proto::shim::{Event, HostPath, Purpose};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::agent_binary::{AGENT, AGENT_DIGEST};
use crate::environments::writer::{VmWriter, WriteJob, WriteNews};
use crate::failure::chain;
use crate::limits::COLLECT_PATIENCE;
use crate::supervisor::Supervisor;
use crate::ways::Next;
use crate::{Code, Failure, Pruned, Pyro};

mod failures;
mod writer;

pub(crate) use failures::image_failure;

/// How often a pull looks whether it was called off while a VM works for it.
const CANCEL_POLL: Duration = Duration::from_millis(50);

/// The catalog, and what of it is installed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Catalog {
    /// Its version.
    pub catalog_version: String,
    /// Its entries.
    pub environments: Vec<CatalogEntry>,
}

/// One environment of the catalog.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CatalogEntry {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether it is installed, whole.
    pub installed: bool,
}

/// An installed environment.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Environment {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Distribution and release.
    pub distribution: String,
    /// Always true.
    pub installed: bool,
    /// Directory of all environments.
    pub cache_dir: PathBuf,
    /// What people expect in it.
    pub default_packages: Vec<String>,
    /// Its directory.
    pub install_dir: PathBuf,
    /// Its manifest.
    pub install_manifest: PathBuf,
    /// Its kernel.
    pub kernel_image: PathBuf,
    /// Its root image.
    pub rootfs_image: PathBuf,
    /// Archive, suite and date.
    pub source: String,
    /// The whole manifest, with every package and digest.
    pub manifest: serde_json::Value,
}

/// The steps of a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPhase {
    /// Another process pulls the same environment.
    Wait,
    /// The work begins.
    Install,
    /// Packages are downloaded and unpacked.
    Packages,
    /// The kernel is unpacked.
    Kernel,
    /// A VM writes the root image.
    Image,
    /// The result is checked.
    Verify,
    /// The environment is installed.
    Ready,
}

/// Where a pull's progress goes. Called from another thread, often; must not block.
pub trait PullProgress: Send + Sync {
    /// A phase begins.
    fn phase(&self, phase: PullPhase);
    /// So much of the phase is done.
    fn advance(&self, done: u64, total: Option<u64>);
    /// What happens right now, in the words of a tool: not trusted.
    fn note(&self, text: &str);
}

impl Pyro {
    /// The catalog, and what of it is installed.
    pub fn catalog(&self) -> Catalog {
        let cache = self.cache();
        let environments = EnvironmentName::all().map(|name| CatalogEntry {
            name: name.as_str().to_owned(),
            description: name.spec().description.to_owned(),
            installed: whole(&cache, name).is_some(),
        });
        Catalog {
            catalog_version: pyro_image::CATALOG_VERSION.to_owned(),
            environments: environments.collect(),
        }
    }

    /// Whether an environment of the catalog is installed, whole.
    pub fn is_installed(&self, name: &str) -> Result<bool, Failure> {
        let name = parse_name(name)?;
        Ok(whole(&self.cache(), name).is_some())
    }

    /// An installed environment.
    pub fn inspect(&self, name: &str) -> Result<Environment, Failure> {
        let installed = self.installed(name)?;
        Ok(self.describe(&installed))
    }

    /// Installs an environment; one that is installed is given as it is.
    pub async fn pull(
        &self,
        name: &str,
        progress: Arc<dyn PullProgress>,
        cancel: Cancel,
    ) -> Result<Environment, Failure> {
        let name = parse_name(name)?;
        progress.phase(PullPhase::Install);
        let cache = self.cache();
        if let Some(installed) = whole(&cache, name) {
            progress.phase(PullPhase::Ready);
            return Ok(self.describe(&installed));
        }
        // What cannot work is said before a hundred megabytes are downloaded.
        self.qemu()?;
        let (jobs, mut requests) = mpsc::unbounded_channel::<WriteJob>();
        let (tools, flag) = (self.tools(), cancel.clone());
        let mut pulling = tokio::task::spawn_blocking(move || {
            let relay = Relay(progress);
            let mut writer = VmWriter::new(cache.clone(), agent(), jobs);
            let request = PullRequest {
                name,
                cache: &cache,
                tools: &tools,
                mirror: None,
                progress: &relay,
                cancel: &flag,
            };
            pyro_image::pull(&request, &mut writer).map(|pulled| pulled.environment)
        });
        loop {
            tokio::select! {
                pulled = &mut pulling => {
                    let installed = match pulled {
                        Ok(result) => result.map_err(|error| failures::pull_failure(&name.to_string(), error))?,
                        Err(error) => return Err(Failure::new(Code::System, "the pull broke off").because(error)),
                    };
                    return Ok(self.describe(&installed));
                }
                Some(job) = requests.recv() => {
                    let written = self.write_root(&job, &cancel).await;
                    // A pull that no longer waits has been called off.
                    let _ = job.news.send(WriteNews::Done(written));
                }
            }
        }
    }

    /// Removes an installed environment and the templates made of it; gives the bytes freed.
    pub fn remove(&self, name: &str) -> Result<u64, Failure> {
        let name = parse_name(name)?;
        let freed =
            pyro_image::remove(&self.cache(), name, &self.tools()).map_err(failures::remove_failure)?;
        Ok(freed + self.prune_templates()?)
    }

    /// Removes what nothing refers to.
    pub fn prune(&self) -> Result<Pruned, Failure> {
        let pruned = pyro_image::prune(&self.cache(), Some(agent().digest), &self.tools(), &Cancel::new())
            .map_err(failures::remove_failure)?;
        let layers = self.store.collect_layers_within(&self.config.directories, COLLECT_PATIENCE)?;
        let freed_bytes = pruned.bytes_freed + layers.bytes + self.prune_templates()?;
        Ok(Pruned { freed_bytes, was_busy: layers.was_busy })
    }

    pub(crate) fn installed(&self, name: &str) -> Result<InstalledEnvironment, Failure> {
        let parsed = parse_name(name)?;
        InstalledEnvironment::open(&self.cache(), parsed).map_err(image_failure)
    }

    pub(crate) fn cache(&self) -> Cache {
        Cache::new(&self.config.directories.cache)
    }

    pub(crate) fn tools(&self) -> Tools {
        let places: Vec<PathBuf> = std::env::split_paths(&self.config.search_path).collect();
        Tools::find(places.iter().map(PathBuf::as_path))
    }

    pub(crate) fn kit_of(&self, kernel: &Kernel) -> Result<GuestKit, Failure> {
        pyro_image::ensure_guest(&self.cache(), kernel, agent()).map_err(|error| {
            let code = match &error {
                pyro_image::GuestError::Disk(DiskError::Full { .. } | DiskError::LowSpace { .. }) => {
                    Code::NoSpace
                }
                _ => Code::EnvironmentDamaged,
            };
            Failure::new(code, "the guest's initial file system could not be made")
                .because(chain(&error))
                .fix("free some space, or remove the environment and pull it again")
        })
    }

    /// Has a VM write a root image: as root, on a real kernel, whoever the user is.
    async fn write_root(&self, job: &WriteJob, cancel: &Cancel) -> Result<u64, Failure> {
        let qemu = self.qemu()?;
        let working = async {
            if let Next::Untried(_) = self.next_way(&qemu)? {
                let _ = job.news.send(WriteNews::Note("trying how a guest runs here"));
            }
            let way = self.proven_way(&qemu, &job.kit).await?;
            let purpose = Purpose::WriteRoot {
                archive: HostPath::from(job.tar.as_path()),
                archive_bytes: job.tar_bytes,
                image: HostPath::from(job.image.as_path()),
            };
            let start = self.bare_start(&qemu, &job.kit, way, purpose)?;
            let (mut supervisor, started) = Supervisor::start(&self.config.program, start, |event| {
                if let Event::Progress { done, total } = event {
                    let _ = job.news.send(WriteNews::Progress { done, total });
                }
            })
            .await?;
            supervisor.ended().await;
            Ok(started.entries)
        };
        tokio::select! {
            written = working => written,
            () = canceled(cancel) => Err(Failure::new(Code::Interrupted, "the pull was called off")),
        }
    }

    fn describe(&self, installed: &InstalledEnvironment) -> Environment {
        let manifest = installed.manifest();
        Environment {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            distribution: format!("{} {}", manifest.distribution, manifest.release),
            installed: true,
            cache_dir: self.cache().environments_root(),
            default_packages: manifest.default_packages.clone(),
            install_dir: installed.directory().to_owned(),
            install_manifest: installed.manifest_path(),
            kernel_image: installed.vmlinux(),
            rootfs_image: installed.rootfs(),
            source: format!("{} {} {}", manifest.source.archive, manifest.source.suite, manifest.source.date),
            manifest: serde_json::to_value(manifest).unwrap_or_default(),
        }
    }
}

/// An environment with its kernel: all that a VM of it needs.
fn whole(cache: &Cache, name: EnvironmentName) -> Option<InstalledEnvironment> {
    let installed = InstalledEnvironment::open(cache, name).ok()?;
    installed.kernel(cache).ok().map(|_| installed)
}

async fn canceled(cancel: &Cancel) {
    while !cancel.is_canceled() {
        tokio::time::sleep(CANCEL_POLL).await;
    }
}

fn agent() -> Agent<'static> {
    // The build computed it; a digest that does not parse would be this release's own fault.
    let digest = pyro_image::Digest::parse(AGENT_DIGEST).unwrap_or_else(|_| pyro_image::Digest::of(AGENT));
    Agent { bytes: AGENT, digest }
}

/// Reads an environment's name; an unknown one is answered with the nearest.
pub(crate) fn parse_name(text: &str) -> Result<EnvironmentName, Failure> {
    EnvironmentName::parse(text).map_err(failures::unknown)
}

/// The caller's progress behind the image crate's.
struct Relay(Arc<dyn PullProgress>);

impl Progress for Relay {
    fn phase(&self, phase: Phase) {
        self.0.phase(match phase {
            Phase::Wait => PullPhase::Wait,
            Phase::Packages => PullPhase::Packages,
            Phase::Kernel => PullPhase::Kernel,
            Phase::Image => PullPhase::Image,
            Phase::Verify => PullPhase::Verify,
            Phase::Ready => PullPhase::Ready,
        });
    }

    fn advance(&self, done: u64, total: Option<u64>) {
        self.0.advance(done, total);
    }

    fn note(&self, text: &str) {
        self.0.note(text);
    }
}

/// What an installed environment is opened or held with can fail in few ways.
impl From<InstalledError> for Failure {
    fn from(error: InstalledError) -> Self {
        image_failure(error)
    }
}
