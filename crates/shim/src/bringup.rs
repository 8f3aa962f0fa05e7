//! From a `Start` to a VM that is ready, or a work that is done.
//!
//! ```text
//!   Run           fork ─ hello ─ prepare ─► running
//!   Park          fork ─ hello ─ prepare ─ warm up ─► waiting to be taken
//!   Workspace     fork ─ hello ─ prepare ─► running, with a disk that is kept
//!   MakeTemplate  boot ─ hello ─ warm, or prepare and warm up ─ save ─► done
//!   WriteRoot     boot ─ hello ─ write ─► done
//!   Probe         boot ─ hello ─► done
//! ```
//!
//! Every wait for the guest has a bound, and races with the VM's end, so that a guest that hangs, panics or
//! dies gives one clear failure.

use std::path::Path;
use std::time::Duration;

use pyro_proto::agent::{self, ARGUMENT_SERIAL, ARGUMENT_VSOCK, DISK_ARCHIVE, DISK_IMAGE, Prepare};
use pyro_proto::shim::{Event, Failure, FailureCode, HostPath, Phase, Purpose, Readiness, Start, Transport};
use pyro_store::{LayerId, VmPlace};
use pyro_vmm::{Disk, Draft, Image, Machine, Shape, Template, TemplateError, TemplateKey, Vm, Vmm, VmmError};

use crate::continued::Continued;
use crate::disks::{self, disk};
use crate::failure::{failure, system, vmm_failed};
use crate::guest::{Guest, watched};
use crate::identity;
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
    Running(Box<Running<V>>),
    /// The work is done and the VM gone.
    Done {
        /// Archive entries written.
        entries: u64,
    },
}

/// A VM that is ready.
#[derive(Debug)]
pub(crate) struct Running<V> {
    pub(crate) guest: Guest<V>,
    /// Commands that go on in it.
    pub(crate) continued: Continued,
    /// The template's disk that it stands on, if that is what it stands on.
    pub(crate) on_disk: Option<String>,
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
                let (template, disks) = self.on_template((template, template_key), base, blank)?;
                let prepare = identity::of_vm(&self.start.vm_id)?;
                let guest = self.fork(&template, disks, prepare, None).await?;
                Ok(running(guest, Continued::default()))
            }
            Purpose::Park { template, template_key, base, blank, .. } => {
                let (template, disks) = self.on_template((template, template_key), base, blank)?;
                let prepare = identity::of_vm(&self.start.vm_id)?;
                let mut guest = self.fork(&template, disks, prepare, None).await?;
                guest.warm_up().await?;
                self.timeline.step("warm_up");
                let on_disk = template.disk().map(|disk| disk.id.to_owned());
                Ok(Up::Running(Box::new(Running { guest, continued: Continued::default(), on_disk })))
            }
            Purpose::Workspace(order) => self.workspace(&order.template, &order.template_key).await,
            Purpose::MakeTemplate { readiness, template, template_key, base, blank } => {
                let (base, blank) = (base.to_path(), blank.to_path());
                self.make_template(*readiness, (&template.to_path(), template_key), &base, &blank).await
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

    async fn workspace(&mut self, template: &HostPath, key: &str) -> Result<Up<M::Vm>, Failure> {
        let workspace =
            self.workspace.ok_or_else(|| failure(FailureCode::System, "the VM's workspace is not held"))?;
        let has_memory = workspace.coming.has_memory();
        let ours = |failure: Failure| if has_memory { of_memory(failure) } else { failure };
        let template = open_template(template, key).map_err(ours)?;
        let continued = match has_memory {
            true => Continued::read(&template).map_err(|error| of_memory(template_failed(error)))?,
            false => Continued::default(),
        };
        let disks = vec![disks::base(&workspace.base)?, disks::of_workspace(workspace)?];
        let prepare = identity::of_workspace(workspace)?;
        let takes_over = has_memory.then_some(continued.last_stream);
        let guest = self.fork(&template, disks, prepare, takes_over).await.map_err(ours)?;
        Ok(running(guest, continued))
    }

    /// A template with a disk, and the disks of a VM on it that goes without a trace.
    fn on_template(
        &self,
        (template, key): (&HostPath, &str),
        base: &HostPath,
        blank: &HostPath,
    ) -> Result<(Template, Vec<Disk>), Failure> {
        let template = open_template(template, key)?;
        let scratch = disks::disposable(self.place.scratch(), &blank.to_path(), Some(&template))?;
        Ok((template, vec![disks::base(&base.to_path())?, scratch]))
    }

    /// Forks a template or an image of a memory; of the latter, `takes_over` is the last stream that its guest knows.
    async fn fork(
        &mut self,
        template: &Template,
        disks: Vec<Disk>,
        prepare: Prepare,
        takes_over: Option<u32>,
    ) -> Result<Guest<M::Vm>, Failure> {
        (self.tell)(Event::Phase(Phase::Fork));
        let machine = self.machine(disks)?;
        self.timeline.step("files");
        let vm = self.vmm.fork(&machine, template).await.map_err(|error| vmm_failed(&error))?;
        let timings = vm.timings();
        self.timeline.measured("vmm_spawn", timings.spawn);
        self.timeline.measured("vmm_ready", timings.qmp_ready);
        self.timeline.measured("state_load", timings.load + timings.cont);
        let mut guest = self.greet(vm, FORK_ANSWER_SECONDS_MAX, takes_over).await?;
        // The clock that it is told ages from here on.
        let prepare = Prepare { realtime_ns: identity::realtime_ns(), ..prepare };
        guest.prepare(prepare).await?;
        self.timeline.step("prepare");
        Ok(guest)
    }

    async fn make_template(
        &mut self,
        readiness: Readiness,
        (directory, key): (&Path, &str),
        base: &Path,
        blank: &Path,
    ) -> Result<Up<M::Vm>, Failure> {
        let key = parse_key(key)?;
        let memory_bytes = self.machine(Vec::new())?.shape.memory_bytes();
        let mut draft = Draft::create(directory, memory_bytes).map_err(template_failed)?;
        // A disk that becomes part of the template is made where it will be: that may be another file system.
        let scratch = match readiness {
            Readiness::Bare => self.place.scratch(),
            Readiness::Ready => draft.disk_path(),
        };
        let scratch = disks::disposable(scratch, blank, None)?;
        let machine = self.machine(vec![disks::base(base)?, scratch])?;
        let mut guest = self.boot(&machine, Some(&draft)).await?;
        match readiness {
            Readiness::Bare => {
                guest.ask("warm itself up", PREPARE_SECONDS_MAX, &agent::Request::Warm, |_| {}).await?;
            }
            Readiness::Ready => {
                guest.prepare(identity::of_template()?).await?;
                guest.warm_up().await?;
                for prepare in identity::of_rehearsal()? {
                    guest.prepare(prepare).await?;
                }
                guest.sync().await?;
                let id = LayerId::random().map_err(|error| system("no random numbers can be had", &error))?;
                let disk = draft.disk_path();
                draft.add_disk(&disk, id.as_str()).map_err(template_failed)?;
            }
        }
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
        self.greet(vm, patience, None).await
    }

    /// Waits for the agent's first word; `takes_over` as for [`Self::fork`].
    async fn greet(
        &mut self,
        mut vm: M::Vm,
        patience: Duration,
        takes_over: Option<u32>,
    ) -> Result<Guest<M::Vm>, Failure> {
        (self.on_vmm)(vm.pid());
        let approach = vm
            .take_channels()
            .ok_or_else(|| failure(FailureCode::System, "the VM has no channels to its guest"))?;
        let nonce = u64::from_le_bytes(identity::random()?);
        let greeting = async {
            let channels = approach.arrive().await.map_err(LinkError::Awaited)?;
            let mut link = AgentLink::new(channels);
            link.hello(nonce, takes_over).await?;
            Ok(link)
        };
        let link = watched(&mut vm, "answer", patience, greeting).await?;
        self.timeline.step("hello");
        Ok(Guest { vm, link })
    }

    fn machine(&self, disks: Vec<Disk>) -> Result<Machine, Failure> {
        let asked = &self.start.machine;
        let shape = shape_of(asked)?;
        let (kernel, initrd) = (asked.kernel.to_path(), asked.initrd.to_path());
        let argument = match asked.transport {
            Transport::Vsock => ARGUMENT_VSOCK,
            Transport::Serial => ARGUMENT_SERIAL,
        };
        Ok(Machine { shape, kernel, initrd, kernel_arguments: vec![argument.to_owned()], disks })
    }
}

fn running<V>(guest: Guest<V>, continued: Continued) -> Up<V> {
    Up::Running(Box::new(Running { guest, continued, on_disk: None }))
}

fn open_template(directory: &HostPath, key: &str) -> Result<Template, Failure> {
    Template::open(&directory.to_path(), &parse_key(key)?).map_err(template_failed)
}

fn template_failed(error: TemplateError) -> Failure {
    vmm_failed(&VmmError::Template(error))
}

/// An image of a memory cannot be made anew: what is wrong with it is not for who makes templates.
fn of_memory(failure: Failure) -> Failure {
    match failure.code {
        FailureCode::TemplateUnusable => Failure { code: FailureCode::MemoryUnusable, ..failure },
        _ => failure,
    }
}

/// Reads a key that came in an order.
pub(crate) fn parse_key(text: &str) -> Result<TemplateKey, Failure> {
    TemplateKey::parse(text).ok_or_else(|| failure(FailureCode::System, "the template's key is none"))
}

/// Processor and memory as the VMM knows them.
pub(crate) fn shape_of(machine: &pyro_proto::shim::Machine) -> Result<Shape, Failure> {
    let accelerator = match machine.accelerator {
        pyro_proto::shim::Accelerator::Kvm => pyro_vmm::Accelerator::Kvm,
        pyro_proto::shim::Accelerator::Tcg => pyro_vmm::Accelerator::Tcg,
    };
    let transport = match machine.transport {
        Transport::Vsock => pyro_vmm::Transport::Vsock,
        Transport::Serial => pyro_vmm::Transport::Serial,
    };
    Shape::new(accelerator, transport, u32::from(machine.vcpu_count), machine.memory_mib)
        .map_err(|error| system("the machine cannot be built", &error))
}

fn out_of_turn(reply: &agent::Reply) -> Failure {
    failure(FailureCode::GuestFaulty, format!("the guest answered {reply:?} out of turn"))
}
