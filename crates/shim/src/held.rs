//! What a shim holds on disk: the VM's directories and record, and the workspace the VM is for.

use std::rc::Rc;

use pyro_proto::agent::WorkspaceDisk;
use pyro_proto::shim::{Failure, FailureCode, Purpose, Start};
use pyro_store::{Claim, Directories, Durability, NewVm, ProcessIdentity, Store, VmId};
use tokio::net::UnixListener;

use crate::failure::{claim_failed, failure, system};
use crate::socket::listen;
use crate::workspace::Opened;

/// What belongs to the VM for as long as it lives.
pub(crate) struct Held {
    pub(crate) store: Rc<Store>,
    directories: Directories,
    pub(crate) vm_id: VmId,
    pub(crate) claim: Claim,
    pub(crate) workspace: Option<Opened>,
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
            Ok(claim) => Ok(Held { store: Rc::new(store), directories, vm_id, claim, workspace }),
            Err(error) => {
                if let Some(unborn) = workspace.filter(|workspace| !workspace.is_ready) {
                    // What cannot be removed now the next command removes.
                    let _ = store.remove_workspace(unborn.claim);
                }
                Err(system("the VM's directories cannot be made", &error))
            }
        }
    }

    /// Takes note of the VM's process.
    pub(crate) fn record_vmm(&self, pid: u32) {
        let Some(process) = ProcessIdentity::of(pid) else { return };
        // Only what a crash leaves is found by it; without, the kernel's parent-death signal remains.
        let _ = self.store.set_vmm(&self.vm_id, process);
        if let Some(workspace) = &self.workspace {
            let _ = workspace.claim.record_vmm(process);
        }
    }

    /// Leaves nothing of the VM, and lets go of its workspace, which stays, unless it never came to be.
    pub(crate) fn release(self) -> Result<(), Failure> {
        let workspace = match self.workspace {
            Some(workspace) if workspace.is_ready => {
                let recorded = self.store.set_vm(&workspace.claim.id, None);
                drop(workspace.claim);
                recorded.map(drop).map_err(|error| system("the state cannot be used", &error))
            }
            Some(workspace) => {
                self.store.remove_workspace(workspace.claim).map_err(|error| claim_failed(&error))
            }
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

    /// The workspace exists from now on, unless it is still to be seeded, and others find its VM.
    fn announce(&mut self) -> Result<(), Failure> {
        let Some(workspace) = self.workspace.as_mut() else { return Ok(()) };
        let vm_id = Some(&self.vm_id);
        let announced = match workspace.disk {
            WorkspaceDisk::Existing => self.store.set_vm(&workspace.claim.id, vm_id),
            WorkspaceDisk::Empty => self.store.set_ready(&workspace.claim.id, vm_id),
            WorkspaceDisk::Unseeded | WorkspaceDisk::Plain => return Ok(()),
        };
        match announced {
            Ok(true) => workspace.is_ready = true,
            Ok(false) => return Err(failure(FailureCode::WorkspaceGone, "the workspace is being deleted")),
            Err(error) => return Err(system("the workspace cannot be recorded", &error)),
        }
        Ok(())
    }
}

fn purpose(purpose: &Purpose) -> &'static str {
    match purpose {
        Purpose::Run { .. } => "run",
        Purpose::Workspace(_) => "workspace",
        Purpose::MakeTemplate { .. } => "template",
        Purpose::WriteRoot { .. } => "build",
        Purpose::Probe { .. } => "probe",
    }
}
