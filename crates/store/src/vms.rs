//! Which VMs there are.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Row, params};

use crate::limits::VMS_MAX;
use crate::{ProcessIdentity, Store, StoreError, VmId};

/// A VM about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVm {
    /// Its id.
    pub id: VmId,
    /// Its environment's name.
    pub environment: String,
    /// What it is for.
    pub purpose: String,
    /// `kvm` or `tcg`.
    pub accelerator: String,
    /// Virtual processors.
    pub vcpu_count: u8,
    /// Memory in MiB.
    pub memory_mib: u32,
}

/// A VM as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmRecord {
    /// What it was made as.
    pub vm: NewVm,
    /// When.
    pub created: SystemTime,
    /// Its VMM, once that runs.
    pub vmm: Option<ProcessIdentity>,
}

impl Store {
    /// Records a VM.
    pub fn insert_vm(&self, vm: &NewVm) -> Result<(), StoreError> {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let created_ms = i64::try_from(created.as_millis()).unwrap_or(i64::MAX);
        self.connection
            .execute(
                "INSERT INTO vms (id, environment, purpose, accelerator, vcpu_count, memory_mib, created_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    vm.id.as_str(),
                    vm.environment,
                    vm.purpose,
                    vm.accelerator,
                    vm.vcpu_count,
                    vm.memory_mib,
                    created_ms
                ],
            )
            .map_err(|error| self.fail(error))?;
        Ok(())
    }

    /// Records which process runs a VM.
    pub fn set_vmm(&self, id: &VmId, vmm: ProcessIdentity) -> Result<(), StoreError> {
        let ticks = i64::try_from(vmm.start_ticks).unwrap_or(i64::MAX);
        self.connection
            .execute(
                "UPDATE vms SET vmm_pid = ?2, vmm_start_ticks = ?3 WHERE id = ?1",
                params![id.as_str(), vmm.pid, ticks],
            )
            .map_err(|error| self.fail(error))?;
        Ok(())
    }

    /// A VM is for something else from now on.
    pub fn set_purpose(&self, id: &VmId, purpose: &str) -> Result<(), StoreError> {
        self.connection
            .execute("UPDATE vms SET purpose = ?2 WHERE id = ?1", params![id.as_str(), purpose])
            .map_err(|error| self.fail(error))?;
        Ok(())
    }

    /// Forgets a VM; one that is not there is fine.
    pub fn remove_vm(&self, id: &VmId) -> Result<(), StoreError> {
        self.connection
            .execute("DELETE FROM vms WHERE id = ?1", params![id.as_str()])
            .map_err(|error| self.fail(error))?;
        Ok(())
    }

    /// All VMs recorded, oldest first.
    pub fn vms(&self) -> Result<Vec<VmRecord>, StoreError> {
        let query = || -> rusqlite::Result<Vec<Option<VmRecord>>> {
            let mut statement = self.connection.prepare_cached(
                "SELECT id, environment, purpose, accelerator, vcpu_count, memory_mib, created_ms,
                        vmm_pid, vmm_start_ticks FROM vms ORDER BY created_ms, id LIMIT ?1",
            )?;
            statement.query_map(params![VMS_MAX as i64], read_record)?.collect()
        };
        let records = query().map_err(|error| self.fail(error))?;
        Ok(records.into_iter().flatten().collect())
    }
}

/// `None` for a row whose id is none: it names no directory and is never acted on.
fn read_record(row: &Row<'_>) -> rusqlite::Result<Option<VmRecord>> {
    let Ok(id) = VmId::parse(row.get_ref(0)?.as_str()?) else { return Ok(None) };
    let created_ms: i64 = row.get(6)?;
    let pid: Option<u32> = row.get(7)?;
    let start_ticks: Option<i64> = row.get(8)?;
    let vmm = pid
        .zip(start_ticks)
        .map(|(pid, ticks)| ProcessIdentity { pid, start_ticks: u64::try_from(ticks).unwrap_or_default() });
    Ok(Some(VmRecord {
        vm: NewVm {
            id,
            environment: row.get(1)?,
            purpose: row.get(2)?,
            accelerator: row.get(3)?,
            vcpu_count: row.get(4)?,
            memory_mib: row.get(5)?,
        },
        created: UNIX_EPOCH + Duration::from_millis(u64::try_from(created_ms).unwrap_or_default()),
        vmm,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Durability;

    /// What is recorded of a VM is what is read back, until it is removed.
    #[test]
    fn records_round_trip() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("pyro.db"), Durability::Crash).unwrap();
        let vm = NewVm {
            id: VmId::random().unwrap(),
            environment: "debian:12".to_owned(),
            purpose: "run".to_owned(),
            accelerator: "tcg".to_owned(),
            vcpu_count: 2,
            memory_mib: 1024,
        };
        store.insert_vm(&vm).unwrap();
        let process = ProcessIdentity { pid: 7, start_ticks: 99 };
        store.set_vmm(&vm.id, process).unwrap();
        store.set_purpose(&vm.id, "workspace").unwrap();
        let vm = NewVm { purpose: "workspace".to_owned(), ..vm };
        let records = store.vms().unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!((&records[0].vm, records[0].vmm), (&vm, Some(process)));
        store.remove_vm(&vm.id).unwrap();
        store.remove_vm(&vm.id).unwrap();
        assert!(store.vms().unwrap().is_empty());
    }
}
