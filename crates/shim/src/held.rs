//! What a shim holds on disk: the VM's directories and record, and the workspace the VM is for.

use std::cell::Cell;
use std::rc::Rc;

use pyro_proto::agent::WorkspaceDisk;
use pyro_proto::shim::{Failure, FailureCode, Purpose, Start, Workspace};
use pyro_store::{Claim, Directories, Durability, LayerId, NewVm, ProcessIdentity, Store, StoreError, VmId};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tokio::net::UnixListener;

use crate::failure::{claim_failed, failure, record_failed, system};
use crate::socket::listen;
use crate::workspace::{Coming, Opened};

/// What belongs to the VM for as long as it lives.
pub(crate) struct Held {
    pub(crate) store: Rc<Store>,
    pub(crate) directories: Directories,
    pub(crate) vm_id: VmId,
    pub(crate) claim: Claim,
    pub(crate) workspace: Option<Opened>,
    vmm: Cell<Option<ProcessIdentity>>,
}

impl Held {
    /// Takes hold of what `start` is about: its workspace, if it has one, then the VM's own directories.
    pub(crate) async fn claim(start: &Start) -> Result<Held, Failure> {
        let directories = Directories {
            state: start.state_directory.to_path(),
            cache: start.cache_directory.to_path(),
            runtime: start.runtime_directory.to_path(),
        };
        let vm_id = VmId::parse(&start.vm_id).map_err(|error| system("the order makes no sense", &error))?;
        let durability = match start.purpose {
            Purpose::Workspace(_) => Durability::PowerCut,
            _ => Durability::Crash,
        };
        let store = Store::open(&directories.database(), durability)
            .map_err(|error| system("the state cannot be used", &error))?;
        let workspace = match &start.purpose {
            Purpose::Workspace(order) => Some(Opened::from_order(&store, &directories, start, order).await?),
            _ => None,
        };
        let vm = NewVm {
            id: vm_id.clone(),
            environment: start.environment.clone(),
            purpose: purpose(&start.purpose).to_owned(),
            accelerator: start.machine.accelerator.as_str().to_owned(),
            vcpu_count: start.machine.vcpu_count,
            memory_mib: start.machine.memory_mib,
        };
        match store.claim(&directories, &vm) {
            Ok(claim) => {
                Ok(Held { store: Rc::new(store), directories, vm_id, claim, workspace, vmm: Cell::default() })
            }
            Err(error) => {
                if let Some(unborn) = workspace.filter(|workspace| !workspace.is_ready) {
                    // What cannot be removed now the next command removes.
                    let _ = remove(&store, unborn);
                }
                Err(system("the VM's directories cannot be made", &error))
            }
        }
    }

    /// Takes note of the VM's process.
    pub(crate) fn record_vmm(&self, pid: u32) {
        let Some(process) = ProcessIdentity::of(pid) else { return };
        self.vmm.set(Some(process));
        // Only what a crash leaves is found by it; without, the kernel's parent-death signal remains.
        let _ = self.store.set_vmm(&self.vm_id, process);
        if let Some(workspace) = &self.workspace {
            let _ = workspace.claim.record_vmm(process);
        }
    }

    /// A parked VM is one command's from now on.
    pub(crate) fn become_run(&self) -> Result<(), Failure> {
        self.store.set_purpose(&self.vm_id, RUN).map_err(|error| state_unusable(&error))
    }

    /// A parked VM is a new workspace's from now on: its disk becomes the layer that the workspace writes.
    pub(crate) async fn become_workspace(
        &mut self,
        start: &Start,
        order: &Workspace,
        on_disk: Option<&str>,
    ) -> Result<(), Failure> {
        let (store, directories) = (Rc::clone(&self.store), &self.directories);
        store.set_durability(Durability::PowerCut).map_err(|error| state_unusable(&error))?;
        let workspace = Opened::from_order(&store, directories, start, order).await?;
        store.set_purpose(&self.vm_id, WORKSPACE).map_err(|error| state_unusable(&error))?;
        if let Some(vmm) = self.vmm.get() {
            let _ = workspace.claim.record_vmm(vmm);
        }
        // The template may have been made anew since this VM was forked: then its disk is another one.
        let stands_on = on_disk.and_then(|id| LayerId::parse(id).ok()).map(|id| directories.layer(&id));
        let is_same = stands_on.is_some_and(|layer| workspace.layers == [layer]);
        let moved = match is_same {
            true => {
                renameat_with(CWD, self.claim.place.scratch(), CWD, &workspace.head, RenameFlags::NOREPLACE)
            }
            false => Ok(()),
        };
        self.workspace = Some(workspace);
        if !is_same {
            let other = "the template was made anew since the VM was parked";
            return Err(failure(FailureCode::TemplateUnusable, other));
        }
        let moved = moved.map_err(std::io::Error::from);
        moved.map_err(|error| system("the VM's disk cannot become the workspace's", &error))
    }

    /// Leaves nothing of the VM, and lets go of its workspace, which stays, unless it never came to be.
    pub(crate) fn release(self) -> Result<(), Failure> {
        let workspace = match self.workspace {
            Some(workspace) if workspace.is_ready => {
                let recorded = self.store.set_vm(&workspace.claim.id, None);
                drop(workspace.claim);
                recorded.map(drop).map_err(|error| state_unusable(&error))
            }
            Some(workspace) => remove(&self.store, workspace),
            None => Ok(()),
        };
        let vm = self.store.release(&self.directories, self.claim);
        vm.map_err(|error| system("cleaning up failed", &error)).and(workspace)
    }

    /// Lets others come.
    pub(crate) fn open_door(&mut self) -> Result<Option<UnixListener>, Failure> {
        let listener = listen(&self.claim.place.socket());
        if self.workspace.is_none() {
            // Without a socket the starter's own connection still works.
            return Ok(listener.ok());
        }
        let listener = listener.map_err(|error| system("the VM's socket cannot be made", &error))?;
        self.announce().map(|()| Some(listener))
    }

    /// The workspace exists from now on, unless it is still to be seeded, in the state that its VM was brought up in,
    /// and others find that VM.
    pub(crate) fn announce(&mut self) -> Result<(), Failure> {
        let Some(workspace) = self.workspace.as_mut() else { return Ok(()) };
        let (store, id, vm_id) = (&self.store, &workspace.claim.id, Some(&self.vm_id));
        let announced = match &workspace.coming {
            Coming::Unseeded => {
                workspace.birth = None;
                return Ok(());
            }
            Coming::Empty | Coming::Forked { .. } => store.set_ready(id, vm_id),
            Coming::Stopped => store.set_vm(id, vm_id),
            Coming::Paused => store.set_paused(id, None).and_then(|_| store.set_vm(id, vm_id)),
            Coming::Reset(reset) => {
                store.reset(id, &reset.head, &reset.parent).map_err(|error| record_failed(&error))?;
                store.prune_outputs(&workspace.claim);
                store.set_vm(id, vm_id)
            }
        };
        match announced {
            Ok(true) => {
                workspace.is_ready = true;
                workspace.coming = Coming::Stopped;
                workspace.birth = None;
                Ok(())
            }
            Ok(false) => Err(failure(FailureCode::WorkspaceGone, "the workspace is being deleted")),
            Err(error) => Err(system("the workspace cannot be recorded", &error)),
        }
    }

    /// Whether the guest must write its disk out before the workspace is announced: what makes it a workspace is
    /// on the disk before anybody is told that it is one.
    pub(crate) fn wants_sync(&self) -> bool {
        let kind = self.workspace.as_ref().map(|workspace| workspace.coming.disk());
        kind == Some(WorkspaceDisk::Empty)
    }
}

/// A workspace that never came to be. Removing its layers takes the lock that it holds itself.
fn remove(store: &Store, workspace: Opened) -> Result<(), Failure> {
    let Opened { claim, birth, .. } = workspace;
    drop(birth);
    store.remove_workspace(claim).map_err(|error| claim_failed(&error))
}

const RUN: &str = "run";
const WORKSPACE: &str = "workspace";
const PARK: &str = "park";

fn purpose(purpose: &Purpose) -> &'static str {
    match purpose {
        Purpose::Run { .. } => RUN,
        Purpose::Workspace(_) => WORKSPACE,
        Purpose::Park { .. } => PARK,
        Purpose::MakeTemplate { .. } => "template",
        Purpose::WriteRoot { .. } => "build",
        Purpose::Probe { .. } => "probe",
    }
}

fn state_unusable(error: &StoreError) -> Failure {
    system("the state cannot be used", error)
}
