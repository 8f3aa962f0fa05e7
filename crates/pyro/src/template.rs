//! Templates: which one a VM needs, and making it once.

use std::path::{Path, PathBuf};

use pyro_image::{GuestKit, InstalledEnvironment};
use pyro_proto::shim::{Accelerator, HostPath, Machine, Purpose, Readiness, Transport};
use pyro_store::{FileLock, LockMode};
use pyro_vmm::{BLANK_RECIPE, KeyInputs, Qemu, TemplateKey};

use crate::environments::image_failure;
use crate::failure::{chain, unusable};
use crate::identity::new_id;
use crate::limits::RELEASE;
use crate::supervisor::Supervisor;
use crate::ways::Way;
use crate::{Code, Failure, Pyro, Shape};

mod blank;
pub(crate) mod parent;
pub(crate) mod place;

use parent::{Kind, Parent};

/// Everything that a VM of one environment and shape is made of.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) environment: String,
    pub(crate) machine: Machine,
    /// For disks that there are already.
    pub(crate) bare: Parent,
    /// For what starts empty.
    pub(crate) ready: Parent,
    pub(crate) base: PathBuf,
    pub(crate) base_digest: String,
    pub(crate) blank: PathBuf,
}

/// A root image that guests stand on.
#[derive(Debug)]
pub(crate) struct Root {
    /// The environment it is, or was, of.
    pub(crate) environment: String,
    pub(crate) image: PathBuf,
    pub(crate) digest: String,
}

impl Guest {
    pub(crate) fn accelerator(&self) -> Accelerator {
        self.machine.accelerator
    }
}

impl Pyro {
    /// Works out what a VM needs; tries KVM when nobody has yet.
    pub(crate) async fn guest(
        &self,
        environment: &InstalledEnvironment,
        shape: Shape,
    ) -> Result<Guest, Failure> {
        let root = Root {
            environment: environment.name().to_string(),
            image: environment.rootfs(),
            digest: environment.manifest().rootfs.digest.to_string(),
        };
        self.guest_on(root, self.kit(environment)?, shape).await
    }

    /// The same for a root image that need not be an environment's any more.
    pub(crate) async fn guest_on(&self, root: Root, kit: GuestKit, shape: Shape) -> Result<Guest, Failure> {
        let qemu = self.qemu()?;
        let way = self.proven_way(&qemu, &kit).await?;
        let blank = self.blank_disk()?;
        let vmm = format!("qemu {}", qemu.version());
        let machine = machine(&qemu, &kit, way, shape);
        let vmm_shape = vmm_shape(&machine)?;
        let kit_digest = kit.digest.to_string();
        let family = self.config.directories.templates().join(place::family(&kit, &root.digest, &vmm));
        let template = |kind: Kind, readiness: &str| {
            let parts = [
                ("kit", kit_digest.as_str()),
                ("base", root.digest.as_str()),
                ("blank", BLANK_RECIPE),
                ("release", RELEASE),
                ("readiness", readiness),
            ];
            let key = TemplateKey::new(&KeyInputs { shape: vmm_shape, vmm: &vmm, parts: &parts });
            Parent { kind, directory: family.join(key.as_str()), key, transport: way.transport }
        };
        Ok(Guest {
            bare: template(Kind::Template(Readiness::Bare), "bare"),
            ready: template(Kind::Template(Readiness::Ready), "ready"),
            environment: root.environment,
            machine,
            base: root.image,
            base_digest: root.digest,
            blank,
        })
    }

    /// Boots the guest once and saves it, unless another process has done so meanwhile.
    pub(crate) async fn make_template(
        &self,
        guest: &Guest,
        template: &Parent,
        readiness: Readiness,
    ) -> Result<(), Failure> {
        let _lock = self.template_lock(&template.directory).await?;
        if template.exists() {
            return Ok(());
        }
        place::remove_drafts(&template.directory)?;
        let purpose = Purpose::MakeTemplate {
            readiness,
            template: HostPath::from(template.directory.as_path()),
            template_key: template.key.as_str().to_owned(),
            base: HostPath::from(guest.base.as_path()),
            blank: HostPath::from(guest.blank.as_path()),
        };
        let start = self.start(&new_id()?, &guest.environment, guest.machine.clone(), purpose);
        let (mut supervisor, _) = Supervisor::start(&self.config.program, start, |_| {}).await?;
        supervisor.ended().await;
        Ok(())
    }

    /// Removes the template that could not be used, `seen` before it was tried; one that another process has
    /// made meanwhile stays. VMs that run on it keep its files until they end.
    pub(crate) async fn discard_template(
        &self,
        template: &Parent,
        seen: Option<place::Identity>,
    ) -> Result<(), Failure> {
        let _lock = self.template_lock(&template.directory).await?;
        if template.identity() != seen {
            return Ok(());
        }
        let removed = std::fs::remove_dir_all(&template.directory);
        self.drain_orphans();
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::new(
                Code::StateUnusable,
                format!("the damaged template {} cannot be removed", template.directory.display()),
            )
            .because(error)
            .fix("remove it by hand")),
            _ => Ok(()),
        }
    }

    /// A start without environment and template: for probes and builders.
    pub(crate) fn bare_start(
        &self,
        qemu: &Qemu,
        kit: &GuestKit,
        way: Way,
        purpose: Purpose,
    ) -> Result<pyro_proto::shim::Start, Failure> {
        Ok(self.start(&new_id()?, "", machine(qemu, kit, way, BARE_SHAPE), purpose))
    }

    /// Kernel and initramfs for an environment.
    pub(crate) fn kit(&self, environment: &InstalledEnvironment) -> Result<GuestKit, Failure> {
        let kernel = environment.kernel(&self.cache()).map_err(image_failure)?;
        self.kit_of(&kernel)
    }

    /// One process makes a template; others wait for it, without holding up this one's signals.
    async fn template_lock(&self, template: &Path) -> Result<FileLock, Failure> {
        let parent = template.parent().unwrap_or(template);
        std::fs::create_dir_all(parent).map_err(|error| unusable(parent, error))?;
        let path = template.with_extension("lock");
        let taken = tokio::task::spawn_blocking(move || FileLock::take(&path, LockMode::Exclusive)).await;
        match taken {
            Ok(Ok(lock)) => Ok(lock),
            Ok(Err(error)) => Err(Failure::new(Code::StateUnusable, chain(&error)).fix(blank::CACHE_REMEDY)),
            Err(error) => Err(Failure::new(Code::System, "waiting for a template failed")
                .because(error)
                .fix("run the command again")),
        }
    }
}

/// Probes and builders get what a Debian guest needs to unpack with room for its page cache.
const BARE_SHAPE: Shape = Shape { vcpu_count: 1, memory_mib: 1024 };

fn machine(qemu: &Qemu, kit: &GuestKit, way: Way, shape: Shape) -> Machine {
    Machine {
        vmm_path: HostPath::from(qemu.path()),
        vmm_version: qemu.version().to_string(),
        accelerator: way.accelerator,
        transport: way.transport,
        vcpu_count: shape.vcpu_count,
        memory_mib: shape.memory_mib,
        kernel: HostPath::from(kit.kernel.as_path()),
        initrd: HostPath::from(kit.initrd.as_path()),
    }
}

/// The machine's shape as the VMM knows it.
fn vmm_shape(machine: &Machine) -> Result<pyro_vmm::Shape, Failure> {
    let accelerator = match machine.accelerator {
        Accelerator::Kvm => pyro_vmm::Accelerator::Kvm,
        Accelerator::Tcg => pyro_vmm::Accelerator::Tcg,
    };
    let transport = match machine.transport {
        Transport::Vsock => pyro_vmm::Transport::Vsock,
        Transport::Serial => pyro_vmm::Transport::Serial,
    };
    pyro_vmm::Shape::new(accelerator, transport, machine.vcpu_count.into(), machine.memory_mib)
        .map_err(|error| Failure::new(Code::InvalidArgument, chain(&error)))
}
