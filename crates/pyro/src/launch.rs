//! Bringing a VM up: environment, template, shim.

use std::time::Instant;

use pyro_image::Hold;
use pyro_proto::agent;
use pyro_proto::shim::{HostPath, Machine, Purpose, Readiness, Start, Started};
use pyro_store::VmId;

use crate::execution::Execution;
use crate::identity::{new_id, run_as};
use crate::limits::TEMPLATE_REMAKES_MAX;
use crate::supervisor::Supervisor;
use crate::template::Guest;
use crate::template::parent::{Kind, Parent};
use crate::{Code, Failure, Pyro, Shape};

/// A VM to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchRequest {
    /// Its environment, which must be installed.
    pub environment: String,
    /// Its size.
    pub shape: Shape,
    /// Its longest life.
    pub ttl_seconds: Option<u64>,
}

/// News of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// The shape is used for the first time: it is booted once, which takes seconds.
    MakingTemplate,
    /// The VM's supervisor starts.
    Starting {
        /// The VM's id.
        vm_id: &'a str,
    },
    /// A workspace is filled.
    Seeding,
    /// A service did not come back with its workspace.
    ServiceFailed {
        /// Its name.
        name: &'a str,
        /// Why.
        failure: &'a crate::Failure,
    },
}

/// A VM that is up. Dropping it ends the VM soon after; [`Vm::stop`] waits until nothing of it is left.
#[derive(Debug)]
pub struct Vm {
    supervisor: Supervisor,
    id: VmId,
    guest: Guest,
    started: Started,
    timings: Vec<(String, u64)>,
    _environment: Hold,
}

/// A VM that a shim has brought up.
#[derive(Debug)]
pub(crate) struct UpVm {
    pub(crate) supervisor: Supervisor,
    pub(crate) id: VmId,
    pub(crate) started: Started,
    /// What each step took, in microseconds.
    pub(crate) timings: Vec<(String, u64)>,
}

impl Pyro {
    /// Brings a VM up.
    pub async fn launch(
        &self,
        request: LaunchRequest,
        mut on_notice: impl FnMut(Notice<'_>),
    ) -> Result<Vm, Failure> {
        let begun = Instant::now();
        let environment = self.installed(&request.environment)?;
        let hold = environment.hold().map_err(crate::environments::image_failure)?;
        let guest = self.guest(&environment, request.shape).await?;
        let start = |id: &VmId| {
            let purpose = Purpose::Run {
                template: HostPath::from(guest.ready.directory.as_path()),
                template_key: guest.ready.key.as_str().to_owned(),
                base: HostPath::from(guest.base.as_path()),
                blank: HostPath::from(guest.blank.as_path()),
            };
            let mut start = self.start(id, &guest.environment, guest.machine.clone(), purpose);
            start.ttl_seconds = request.ttl_seconds;
            Ok(start)
        };
        let up = self.bring_up(&guest, &guest.ready, begun, start, &mut on_notice).await?;
        let UpVm { supervisor, id, started, timings } = up;
        Ok(Vm { supervisor, id, guest, started, timings, _environment: hold })
    }

    /// Takes a parked VM where there is one that fits, else starts a shim that forks `parent`. A template is made
    /// first where it is missing, and made anew where it turns out unusable; the image of a memory never is.
    pub(crate) async fn bring_up(
        &self,
        guest: &Guest,
        parent: &Parent,
        begun: Instant,
        mut start: impl FnMut(&VmId) -> Result<Start, Failure>,
        on_notice: &mut impl FnMut(Notice<'_>),
    ) -> Result<UpVm, Failure> {
        if parent.kind == Kind::Template(Readiness::Ready)
            && let Some(up) = self.claim_parked(parent, begun, &mut start, on_notice).await?
        {
            return Ok(up);
        }
        let mut remakes = 0;
        loop {
            self.ensure_template(guest, parent, on_notice).await?;
            let (seen, prepared) = (parent.identity(), begun.elapsed());
            let id = new_id()?;
            if remakes == 0 {
                on_notice(Notice::Starting { vm_id: id.as_str() });
            }
            match Supervisor::start(&self.config.program, start(&id)?, |_| {}).await {
                Ok((supervisor, started)) => {
                    let mut timings = vec![("plan".to_owned(), micros(prepared))];
                    timings.extend(started.timings.iter().cloned());
                    timings.push(("launch".to_owned(), micros(begun.elapsed())));
                    return Ok(UpVm { supervisor, id, started, timings });
                }
                Err(failure)
                    if failure.code == Code::TemplateUnusable
                        && parent.kind != Kind::Memory
                        && remakes < TEMPLATE_REMAKES_MAX =>
                {
                    remakes += 1;
                    self.discard_template(parent, seen).await?;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Makes a template that is missing; of a memory, there is an image or there is none.
    pub(crate) async fn ensure_template(
        &self,
        guest: &Guest,
        parent: &Parent,
        on_notice: &mut impl FnMut(Notice<'_>),
    ) -> Result<(), Failure> {
        match parent.kind {
            Kind::Template(readiness) if !parent.exists() => {
                on_notice(Notice::MakingTemplate);
                self.make_template(guest, parent, readiness).await
            }
            Kind::Template(_) | Kind::Memory => Ok(()),
        }
    }

    /// What every shim is told.
    pub(crate) fn start(&self, id: &VmId, environment: &str, machine: Machine, purpose: Purpose) -> Start {
        let directories = &self.config.directories;
        Start {
            vm_id: id.as_str().to_owned(),
            purpose,
            environment: environment.to_owned(),
            machine,
            state_directory: HostPath::from(directories.state.as_path()),
            cache_directory: HostPath::from(directories.cache.as_path()),
            runtime_directory: HostPath::from(directories.runtime.as_path()),
            ttl_seconds: None,
            run_as: run_as(id),
        }
    }
}

impl Vm {
    /// The VM's id.
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// `kvm` or `tcg`.
    pub fn accelerator(&self) -> &'static str {
        self.guest.accelerator().as_str()
    }

    /// `guest_vsock` or `guest_serial`: how the guest is reached.
    pub fn execution_mode(&self) -> &'static str {
        self.started.transport.execution_mode()
    }

    /// What each step of the launch took, in microseconds: `plan`, the shim's own steps, and `launch`, the whole.
    pub fn timings(&self) -> &[(String, u64)] {
        &self.timings
    }

    /// What this machine could not give of the VMM's confinement.
    pub fn unconfined(&self) -> &[String] {
        &self.started.unconfined
    }

    /// Starts a command.
    pub fn exec(&mut self, exec: agent::Exec) -> Result<Execution<'_>, Failure> {
        self.supervisor.connection.exec(exec)
    }

    /// Memory of the VMM that it shares with nothing, in KiB.
    pub async fn private_kib(&mut self) -> Result<u64, Failure> {
        self.supervisor.private_kib().await
    }

    /// Ends the VM and waits until nothing of it is left.
    pub async fn stop(self) -> Result<(), Failure> {
        self.supervisor.stop().await
    }
}

/// For timings.
pub(crate) fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
