//! Finding a workspace, and starting it where it does not run.
//!
//! A client connects to the shim of the workspace's VM. Where there is none, one client at a time, the holder
//! of the start lock, starts one; the others wait for it and connect.

use std::path::Path;
use std::time::Instant;

use pyro_proto::shim::{self, HostPath, Machine, Purpose, Start, Started, WorkspaceOrder};
use pyro_store::{
    FileLock, Hold, KeptImage, LayerId, LockMode, NewWorkspace, VmId, WorkspaceId, WorkspaceRecord,
};

use super::{Workspace, called};
use crate::connection::{Connection, unexpected};
use crate::failure::{chain, remedies};
use crate::launch::Notice;
use crate::limits::{LAYERS_UNMERGED_MAX, MERGE_AT_ONCE_BYTES_MAX, STARTS_MAX};
use crate::merge::Merging;
use crate::socket::connect_to;
use crate::template::parent::{Kind, Parent};
use crate::template::{Guest, Root};
use crate::ways::Way;
use crate::{Code, Failure, Pyro, Shape};

/// What to do with a workspace whose VM does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starting {
    /// Start it, or resume it.
    IfStopped,
    /// Fail.
    Never,
}

impl Pyro {
    /// Connects to a workspace, and starts it first where it does not run. Services that come back with it are ready then,
    /// or told of.
    pub async fn open_workspace(
        &self,
        reference: &str,
        starting: Starting,
        mut on_notice: impl FnMut(Notice<'_>),
    ) -> Result<Workspace, Failure> {
        let record = self.find_workspace(reference)?;
        let mut workspace = match self.connect(&record).await? {
            Some(workspace) => workspace,
            // It may have been paused a moment ago.
            None if starting == Starting::Never => {
                return Err(not_running(&self.find_workspace(reference)?, "leave out --no-start"));
            }
            None => self.start_workspace(reference, &mut on_notice).await?,
        };
        if std::mem::take(&mut workspace.services_pending) {
            for (name, failure) in workspace.await_services().await? {
                on_notice(Notice::ServiceFailed { name: &name, failure: &failure });
            }
        }
        Ok(workspace)
    }

    /// The environment that a start of this workspace needs and that is not installed.
    pub fn workspace_lacks(&self, reference: &str) -> Result<Option<String>, Failure> {
        let environment = self.find_workspace(reference)?.workspace.environment;
        Ok(if self.is_installed(&environment)? { None } else { Some(environment) })
    }

    /// The record of a workspace that may be used.
    pub(crate) fn find_workspace(&self, reference: &str) -> Result<WorkspaceRecord, Failure> {
        Ok(self.store.resolve(reference)?)
    }

    /// A connection to the shim, when there is one.
    pub(crate) async fn connect(&self, record: &WorkspaceRecord) -> Result<Option<Workspace>, Failure> {
        let Some(vm_id) = &record.vm_id else { return Ok(None) };
        let Ok(socket) = connect_to(&self.config.directories.vm(vm_id).socket()).await else {
            return Ok(None);
        };
        // A shim that is ending accepts nothing, or closes before it answers.
        let Ok(mut connection) = Connection::greet(socket).await else { return Ok(None) };
        match connection.request(&shim::Request::Status, |_| {}).await {
            Ok(shim::Reply::Status(status)) => Ok(Some(Workspace {
                record: record.clone(),
                connection,
                accelerator: status.accelerator,
                transport: status.transport,
                services_pending: status.services_pending,
                timings: Vec::new(),
            })),
            Ok(shim::Reply::Failed(_)) | Err(_) => Ok(None),
            Ok(other) => Err(unexpected(&other)),
        }
    }

    /// Starts the workspace's VM, unless another client does so right now.
    async fn start_workspace(
        &self,
        reference: &str,
        on_notice: &mut impl FnMut(Notice<'_>),
    ) -> Result<Workspace, Failure> {
        let begun = Instant::now();
        let id = self.find_workspace(reference)?.workspace.id;
        let _starting = self.start_lock(&self.config.directories.workspace(&id).start_lock()).await?;
        let mut tries = 0;
        loop {
            // Whoever held the lock before may have started it.
            let record = self.find_workspace(id.as_str())?;
            if let Some(workspace) = self.connect(&record).await? {
                return Ok(workspace);
            }
            tries += 1;
            match self.start_vm(record, begun, on_notice).await {
                // So did the supervisor of one that was killed, who had no lock any more.
                Err(failure) if failure.code == Code::WorkspaceHeld && tries < STARTS_MAX => {}
                started => return started,
            }
        }
    }

    async fn start_vm(
        &self,
        mut record: WorkspaceRecord,
        begun: Instant,
        on_notice: &mut impl FnMut(Notice<'_>),
    ) -> Result<Workspace, Failure> {
        let id = record.workspace.id.clone();
        if self.store.chain(&record.head)?.len() > LAYERS_UNMERGED_MAX {
            // A VM's layers stay as they are for as long as it lives; what cannot be merged now stays for another time.
            let merging =
                Merging { workspace: Some(&id), bytes_max: MERGE_AT_ONCE_BYTES_MAX, holds_start: true };
            let _ = self.merge_layers(&merging, |_| {});
            record = self.find_workspace(id.as_str())?;
        }
        let guest = self.guest_of(&record).await?;
        // Until the shim has opened it nobody merges, renames or removes what is gone on from.
        let hold = record.paused.as_ref().map(|_| self.hold()).transpose()?;
        let paused = match &hold {
            Some(hold) => self.store.hold_paused(&self.config.directories, hold, &id)?,
            None => None,
        };
        let parent = match &paused {
            Some(layer) => self.memory(&guest, layer).map_err(|failure| of_paused(failure, &record))?,
            None => guest.bare.clone(),
        };
        let start = |vm_id: &VmId| {
            let NewWorkspace { id, ttl_seconds, .. } = &record.workspace;
            Ok(self.workspace_start(id, *ttl_seconds, (&guest, &parent), vm_id, WorkspaceOrder::Open))
        };
        let up = self.bring_up(&guest, &parent, begun, start, on_notice).await;
        let up = up.map_err(|failure| of_paused(failure, &record))?;
        drop(hold);
        Ok(Workspace::up(record, up.supervisor.detach(), &guest, &up.started, up.timings))
    }

    /// What a workspace's VM is forked from: its own base image, with the kernel of its environment.
    pub(super) async fn guest_of(&self, record: &WorkspaceRecord) -> Result<Guest, Failure> {
        let workspace = &record.workspace;
        let kit = self.kit(&self.installed(&workspace.environment)?)?;
        let root = Root {
            environment: workspace.environment.clone(),
            image: self.config.directories.kept_image(KeptImage::Base(&workspace.base_digest)),
            digest: workspace.base_digest.as_str().to_owned(),
        };
        let shape = Shape { vcpu_count: workspace.vcpu_count, memory_mib: workspace.memory_mib };
        self.guest_on(root, kit, shape).await
    }

    /// The image of the memory that belongs to a layer, if it can be used.
    pub(super) fn memory(&self, guest: &Guest, layer: &LayerId) -> Result<Parent, Failure> {
        let of = |transport| Parent::memory(&self.config.directories, &guest.machine, transport, layer);
        let parent = of(guest.machine.transport)?;
        let Err(failure) = parent.check() else { return Ok(parent) };
        // It may be of a guest that was reached in the other way, and goes on being reached so.
        let other = of(guest.machine.transport.other())?;
        if other.check().is_err() {
            return Err(failure);
        }
        match self.check_way(Way { accelerator: guest.accelerator(), transport: other.transport }) {
            Ok(()) => Ok(other),
            Err(why) => Err(Failure::new(Code::MemoryUnusable, "the memory that was kept cannot be used")
                .because(format!("its guest is reached over {} alone, and {why}", other.transport.as_str()))
                .fix(remedies::MEMORY_UNUSABLE)),
        }
    }

    /// A hold of nothing yet: for layers that are looked up here and opened by a shim.
    pub(super) fn hold(&self) -> Result<Hold, Failure> {
        self.store.take_hold(&self.config.directories).map_err(|error| {
            Failure::new(Code::StateUnusable, chain(&error))
                .fix("make the state directory writable, or point PYRO_STATE_DIR at one that is")
        })
    }

    /// What the shim of a workspace is told.
    pub(super) fn workspace_start(
        &self,
        id: &WorkspaceId,
        ttl_seconds: Option<u64>,
        (guest, parent): (&Guest, &Parent),
        vm_id: &VmId,
        order: WorkspaceOrder,
    ) -> Start {
        let purpose = Purpose::Workspace(Box::new(shim::Workspace {
            id: id.as_str().to_owned(),
            template: HostPath::from(parent.directory.as_path()),
            template_key: parent.key.as_str().to_owned(),
            order,
            memory: parent.kind == Kind::Memory,
        }));
        let machine = Machine { transport: parent.transport, ..guest.machine.clone() };
        let mut start = self.start(vm_id, &guest.environment, machine, purpose);
        start.ttl_seconds = ttl_seconds;
        start
    }

    /// Waits for the lock without holding up this process's signals.
    pub(super) async fn start_lock(&self, path: &Path) -> Result<FileLock, Failure> {
        let path = path.to_owned();
        let taken = tokio::task::spawn_blocking(move || FileLock::take(&path, LockMode::Exclusive)).await;
        match taken {
            Ok(Ok(lock)) => Ok(lock),
            Ok(Err(error)) => Err(Failure::new(Code::StateUnusable, chain(&error))
                .fix("make the state directory writable, or point PYRO_STATE_DIR at one that is")),
            Err(error) => Err(Failure::new(Code::System, "waiting for the workspace failed")
                .because(error)
                .fix("run the command again")),
        }
    }
}

impl Workspace {
    /// A workspace that this client has brought up.
    pub(super) fn up(
        record: WorkspaceRecord,
        connection: Connection,
        guest: &Guest,
        started: &Started,
        timings: Vec<(String, u64)>,
    ) -> Workspace {
        Workspace {
            record,
            connection,
            accelerator: guest.accelerator(),
            transport: started.transport,
            services_pending: true,
            timings,
        }
    }
}

/// A command needs a workspace's VM, and there is none; `or` is what else the person may do.
pub(super) fn not_running(record: &WorkspaceRecord, or: &str) -> Failure {
    let called = called(record);
    if record.paused.is_some() {
        return Failure::new(Code::WorkspacePaused, format!("the workspace {called} is paused"))
            .fix(format!("run `pyro workspace resume {called}`, or {or}"));
    }
    Failure::new(Code::WorkspaceStopped, format!("the workspace {called} is stopped"))
        .fix(format!("run `pyro workspace start {called}`, or {or}"))
}

/// A memory that cannot be used is kept until somebody gives it up.
fn of_paused(failure: Failure, record: &WorkspaceRecord) -> Failure {
    if failure.code != Code::MemoryUnusable {
        return failure;
    }
    let called = called(record);
    failure.fix(format!("run `pyro workspace stop {called}`: it drops the memory and keeps the disk"))
}
