//! From a `Start` to a VM that is ready, or a work that is done.
//!
//! ```text
//!   Run           fork ─ hello ─ prepare ─► running
//!   Workspace     fork ─ hello ─ prepare ─► running, with a disk that is kept
//!   MakeTemplate  boot ─ hello ─ warm ─ save ─► done
//!   WriteRoot     boot ─ hello ─ write ─► done
//!   Probe         boot ─ hello ─► done
//! ```
//!
//! Every wait for the guest has a bound, and races with the VM's end, so that a guest that hangs, panics or
//! dies gives one clear failure.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyro_proto::agent::{self, DISK_ARCHIVE, DISK_BASE, DISK_IMAGE, DISK_SCRATCH, WorkspaceDisk};
use pyro_proto::shim::{Event, Failure, FailureCode, Phase, Purpose, Start};
use pyro_store::VmPlace;
use pyro_vmm::{Disk, Draft, Flush, Image, Machine, Template, TemplateKey, Vm, Vmm};

use crate::failure::{agent_failed, failure, guest_silent, link_failed, system, vm_ended, vmm_failed};
use crate::limits::{
    BOOT_ATTEMPTS_MAX, BOOT_SECONDS_MAX, FORK_ANSWER_SECONDS_MAX, PREPARE_SECONDS_MAX, PROBE_SECONDS_MAX,
    WRITE_ROOT_SECONDS_MAX,
};
use crate::link::{AgentLink, LinkError};
use crate::timeline::Timeline;
use crate::workspace::Opened;

/// How a start ended well.
#[derive(Debug)]
pub(crate) enum Up<V> {
    /// The VM is ready for commands.
    Running(Box<Guest<V>>),
    /// The work is done and the VM gone.
    Done {
        /// Archive entries written.
        entries: u64,
    },
}

/// A VM and the way to its agent.
#[derive(Debug)]
pub(crate) struct Guest<V> {
    pub(crate) vm: V,
    pub(crate) link: AgentLink,
}

/// What a start is made with.
pub(crate) struct Bringup<'a, M> {
    pub(crate) vmm: &'a M,
    pub(crate) start: &'a Start,
    pub(crate) place: &'a VmPlace,
    /// The workspace that the VM is for, if it is for one.
    pub(crate) workspace: Option<&'a Opened>,
    pub(crate) timeline: &'a mut Timeline,
    /// News for the starter.
    pub(crate) tell: &'a mut dyn FnMut(Event),
    /// Told the VMM's process id as soon as there is one.
    pub(crate) on_vmm: &'a mut dyn FnMut(u32),
}

impl<M: Vmm> Bringup<'_, M> {
    /// Does what the start's purpose asks for.
    pub(crate) async fn run(mut self) -> Result<Up<M::Vm>, Failure> {
        match &self.start.purpose {
            Purpose::Run { template, template_key, base, blank } => {
                let disks = vec![base_disk(&base.to_path())?, self.scratch_disk(&blank.to_path())?];
                self.fork(&template.to_path(), template_key, disks)
                    .await
                    .map(|guest| Up::Running(Box::new(guest)))
            }
            Purpose::Workspace(order) => {
                let workspace = self
                    .workspace
                    .ok_or_else(|| failure(FailureCode::System, "the VM's workspace is not held"))?;
                let disks = vec![base_disk(&workspace.base)?, workspace_disk(workspace)?];
                let mut guest = self.fork(&order.template.to_path(), &order.template_key, disks).await?;
                if workspace.disk == WorkspaceDisk::Empty {
                    // What makes it a workspace must be on the disk before anybody is told that it is one.
                    guest.ask("write its disk", PREPARE_SECONDS_MAX, &agent::Request::Sync, |_| {}).await?;
                    self.timeline.step("sync");
                }
                Ok(Up::Running(Box::new(guest)))
            }
            Purpose::MakeTemplate { template, template_key, base, blank } => {
                let disks = vec![base_disk(&base.to_path())?, self.scratch_disk(&blank.to_path())?];
                self.make_template(&template.to_path(), template_key, disks).await
            }
            Purpose::WriteRoot { archive, archive_bytes, image } => {
                let disks = vec![
                    disk(DISK_ARCHIVE, Image::ReadOnly(archive.to_path()))?,
                    disk(DISK_IMAGE, Image::Writable(image.to_path()))?,
                ];
                self.write_root(*archive_bytes, disks).await
            }
            Purpose::Probe { proven } => {
                let patience = if *proven { BOOT_SECONDS_MAX } else { PROBE_SECONDS_MAX };
                let machine = self.machine(Vec::new())?;
                let mut guest = self.boot_once(&machine, None, patience).await?;
                guest.vm.kill().await;
                Ok(Up::Done { entries: 0 })
            }
        }
    }

    async fn fork(&mut self, directory: &Path, key: &str, disks: Vec<Disk>) -> Result<Guest<M::Vm>, Failure> {
        (self.tell)(Event::Phase(Phase::Fork));
        let key = parse_key(key)?;
        let template = Template::open(directory, &key)
            .map_err(|error| vmm_failed(&pyro_vmm::VmmError::Template(error)))?;
        let machine = self.machine(disks)?;
        self.timeline.step("files");
        let vm = self.vmm.fork(&machine, &template).await.map_err(|error| vmm_failed(&error))?;
        let timings = vm.timings();
        self.timeline.measured("vmm_spawn", timings.spawn);
        self.timeline.measured("vmm_ready", timings.qmp_ready);
        self.timeline.measured("state_load", timings.load + timings.cont);
        let mut guest = self.greet(vm, FORK_ANSWER_SECONDS_MAX).await?;
        let prepare = agent::Request::Prepare(self.identity()?);
        guest.ask("prepare itself", PREPARE_SECONDS_MAX, &prepare, |_| {}).await?;
        self.timeline.step("prepare");
        Ok(guest)
    }

    async fn make_template(
        &mut self,
        directory: &Path,
        key: &str,
        disks: Vec<Disk>,
    ) -> Result<Up<M::Vm>, Failure> {
        let key = parse_key(key)?;
        let machine = self.machine(disks)?;
        let draft = Draft::create(directory, machine.shape.memory_bytes())
            .map_err(|error| vmm_failed(&pyro_vmm::VmmError::Template(error)))?;
        let mut guest = self.boot(&machine, Some(&draft)).await?;
        guest.ask("warm itself up", PREPARE_SECONDS_MAX, &agent::Request::Warm, |_| {}).await?;
        self.timeline.step("warm");
        (self.tell)(Event::Phase(Phase::Save));
        guest.vm.save(draft, &key).await.map_err(|error| vmm_failed(&error))?;
        self.timeline.step("save");
        Ok(Up::Done { entries: 0 })
    }

    async fn write_root(&mut self, archive_bytes: u64, disks: Vec<Disk>) -> Result<Up<M::Vm>, Failure> {
        let machine = self.machine(disks)?;
        let mut guest = self.boot(&machine, None).await?;
        (self.tell)(Event::Phase(Phase::Write));
        let request = agent::Request::WriteRoot(agent::WriteRoot { archive_bytes });
        let tell = &mut self.tell;
        let reply = guest
            .ask("write the root image", WRITE_ROOT_SECONDS_MAX, &request, |event| {
                if let agent::Event::Progress { done, total } = event {
                    tell(Event::Progress { done, total });
                }
            })
            .await?;
        self.timeline.step("write");
        guest.vm.kill().await;
        match reply {
            agent::Reply::RootWritten { entries, .. } => Ok(Up::Done { entries }),
            other => Err(out_of_turn(&other)),
        }
    }

    /// Boots with one relaunch: now and then an emulated guest hangs as it calibrates its clock.
    async fn boot(&mut self, machine: &Machine, draft: Option<&Draft>) -> Result<Guest<M::Vm>, Failure> {
        (self.tell)(Event::Phase(Phase::Boot));
        let mut attempt = 1;
        loop {
            match self.boot_once(machine, draft, BOOT_SECONDS_MAX).await {
                Err(failure) if failure.code == FailureCode::GuestSilent && attempt < BOOT_ATTEMPTS_MAX => {
                    attempt += 1;
                    (self.tell)(Event::Phase(Phase::BootAgain));
                }
                result => return result,
            }
        }
    }

    async fn boot_once(
        &mut self,
        machine: &Machine,
        draft: Option<&Draft>,
        patience: Duration,
    ) -> Result<Guest<M::Vm>, Failure> {
        let vm = self.vmm.boot(machine, draft).await.map_err(|error| vmm_failed(&error))?;
        let timings = vm.timings();
        self.timeline.measured("vmm_spawn", timings.spawn);
        self.timeline.measured("vmm_ready", timings.qmp_ready);
        self.greet(vm, patience).await
    }

    /// Waits for the agent's first word.
    async fn greet(&mut self, mut vm: M::Vm, patience: Duration) -> Result<Guest<M::Vm>, Failure> {
        (self.on_vmm)(vm.pid());
        let channels = vm
            .take_channels()
            .ok_or_else(|| failure(FailureCode::System, "the VM has no channels to its guest"))?;
        let mut guest = Guest { vm, link: AgentLink::new(channels.control, channels.bulk) };
        let nonce = u64::from_le_bytes(random()?);
        let (vm, link) = (&mut guest.vm, &mut guest.link);
        watched(vm, "answer", patience, link.hello(nonce)).await?;
        self.timeline.step("hello");
        Ok(guest)
    }

    fn machine(&self, disks: Vec<Disk>) -> Result<Machine, Failure> {
        let asked = &self.start.machine;
        let shape = pyro_vmm::Shape::new(
            accelerator(asked.accelerator),
            u32::from(asked.vcpu_count),
            asked.memory_mib,
        )
        .map_err(|error| system("the machine cannot be built", &error))?;
        let (kernel, initrd) = (asked.kernel.to_path(), asked.initrd.to_path());
        Ok(Machine { shape, kernel, initrd, kernel_arguments: Vec::new(), disks })
    }

    fn scratch_disk(&self, blank: &Path) -> Result<Disk, Failure> {
        crate::room::check(&self.place.disks)?;
        let overlay = self.place.scratch();
        pyro_vmm::create_disposable_overlay(&overlay, blank_bytes(blank)?)
            .map_err(|error| system("the VM's disk could not be made", &error))?;
        disk(DISK_SCRATCH, Image::Overlay { overlay, backing: blank.to_owned() })
    }

    fn identity(&self) -> Result<agent::Prepare, Failure> {
        let (hostname, machine_id, workspace) = match self.workspace {
            Some(opened) => (opened.hostname.clone(), opened.machine_id(), opened.disk),
            None => (self.start.vm_id.clone(), random_machine_id()?, WorkspaceDisk::Plain),
        };
        Ok(agent::Prepare { entropy: random()?, realtime_ns: realtime_ns(), hostname, machine_id, workspace })
    }
}

impl<V: Vm> Guest<V> {
    /// Asks the agent for something, within bounds.
    async fn ask(
        &mut self,
        what: &str,
        patience: Duration,
        request: &agent::Request,
        on_event: impl FnMut(agent::Event),
    ) -> Result<agent::Reply, Failure> {
        match watched(&mut self.vm, what, patience, self.link.request(request, on_event)).await? {
            agent::Reply::Failed(error) => Err(agent_failed(&error)),
            reply => Ok(reply),
        }
    }
}

/// Waits for the guest, but no longer than `patience`, and not beyond the VM's end.
async fn watched<V: Vm, T>(
    vm: &mut V,
    what: &str,
    patience: Duration,
    work: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, Failure> {
    let outcome = tokio::select! {
        biased;
        done = work => Some(done),
        exit = vm.wait() => return Err(vm_ended(&exit, &vm.console_tail())),
        () = tokio::time::sleep(patience) => None,
    };
    match outcome {
        Some(Ok(value)) => Ok(value),
        // A channel closes because the VM ends: how it ended says more.
        Some(Err(error)) if error.is_end() => {
            match tokio::time::timeout(Duration::from_secs(1), vm.wait()).await {
                Ok(exit) => Err(vm_ended(&exit, &vm.console_tail())),
                Err(_) => Err(link_failed(&error, &vm.console_tail())),
            }
        }
        Some(Err(error)) => Err(link_failed(&error, &vm.console_tail())),
        None => {
            let console = vm.console_tail();
            vm.kill().await;
            Err(guest_silent(what, &console))
        }
    }
}

/// The disk of a workspace: everything on it that the guest was told is stored, is.
fn workspace_disk(workspace: &Opened) -> Result<Disk, Failure> {
    crate::room::check(&workspace.claim.place.directory)?;
    let overlay = workspace.claim.place.disk();
    if workspace.disk != WorkspaceDisk::Existing {
        pyro_vmm::create_overlay(&overlay, blank_bytes(&workspace.blank)?)
            .map_err(|error| system("the workspace's disk could not be made", &error))?;
    }
    let image = Image::Overlay { overlay, backing: workspace.blank.clone() };
    Ok(Disk { flush: Flush::Honored, ..disk(DISK_SCRATCH, image)? })
}

fn blank_bytes(blank: &Path) -> Result<u64, Failure> {
    let metadata =
        std::fs::metadata(blank).map_err(|error| system("the blank disk cannot be used", &error))?;
    Ok(metadata.len())
}

fn random_machine_id() -> Result<String, Failure> {
    let bytes: [u8; 16] = random()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn base_disk(path: &Path) -> Result<Disk, Failure> {
    disk(DISK_BASE, Image::ReadOnly(path.to_owned()))
}

/// A disk that does not outlive its VM with anything acknowledged on it: what is kept is synced by its owner.
fn disk(serial: &str, image: Image) -> Result<Disk, Failure> {
    let serial = serial.parse().map_err(|error| system("the machine cannot be built", &error))?;
    Ok(Disk { serial, image, flush: Flush::Ignored })
}

fn accelerator(asked: pyro_proto::shim::Accelerator) -> pyro_vmm::Accelerator {
    match asked {
        pyro_proto::shim::Accelerator::Kvm => pyro_vmm::Accelerator::Kvm,
        pyro_proto::shim::Accelerator::Tcg => pyro_vmm::Accelerator::Tcg,
    }
}

fn parse_key(text: &str) -> Result<TemplateKey, Failure> {
    TemplateKey::parse(text).ok_or_else(|| failure(FailureCode::System, "the template's key is none"))
}

fn out_of_turn(reply: &agent::Reply) -> Failure {
    failure(FailureCode::GuestFaulty, format!("the guest answered {reply:?} out of turn"))
}

fn random<const BYTES: usize>() -> Result<[u8; BYTES], Failure> {
    let mut bytes = [0; BYTES];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| system("no random numbers can be had", &std::io::Error::from(errno)))?;
    Ok(bytes)
}

fn realtime_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
