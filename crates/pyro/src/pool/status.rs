//! What is in the pool, for people and programs.

use schemars::JsonSchema;
use serde::Serialize;

use crate::workspace::timestamp;
use crate::{Failure, Pyro};

/// The pool at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PoolStatus {
    /// VMs that it holds when it is full.
    pub size: usize,
    /// VMs that can be had, the oldest first.
    pub parked: Vec<ParkedVm>,
    /// VMs that are coming up.
    pub starting: usize,
}

/// A VM that waits for whoever comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ParkedVm {
    /// Its id.
    pub vm_id: String,
    /// Its environment.
    pub environment: String,
    /// Virtual processors.
    pub vcpu_count: u8,
    /// Memory in MiB.
    pub mem_mib: u32,
    /// `kvm` or `tcg`.
    pub accelerator: String,
    /// Since when it can be had.
    pub parked_at: String,
}

impl Pyro {
    /// What is in the pool.
    pub fn pool_status(&self) -> Result<PoolStatus, Failure> {
        let census = self.census()?;
        let records = self.store.vms()?;
        let parked = census.parked.iter().filter_map(|ticket| {
            let vm = &records.iter().find(|record| record.vm.id == ticket.vm)?.vm;
            Some(ParkedVm {
                vm_id: vm.id.as_str().to_owned(),
                environment: vm.environment.clone(),
                vcpu_count: vm.vcpu_count,
                mem_mib: vm.memory_mib,
                accelerator: vm.accelerator.clone(),
                parked_at: timestamp(ticket.laid),
            })
        });
        Ok(PoolStatus { size: self.config.pool, parked: parked.collect(), starting: census.coming.len() })
    }
}
