//! Bringing the pool to its size. Quick: the VMs come up behind this process's back.

use std::collections::BTreeSet;
use std::time::Duration;

use pyro_proto::shim::{HostPath, Purpose};
use pyro_store::{FileLock, LockError, LockMode, ProcessIdentity, VmId};

use super::birth;
use super::census::Census;
use crate::failure::{chain, unusable};
use crate::identity::new_id;
use crate::limits::{POOL_IDLE_SECONDS, POOL_VMS_MAX};
use crate::supervisor::{Supervisor, parting};
use crate::template::{Guest, place};
use crate::{Code, Failure, Pyro};

impl Pyro {
    /// Parks as many VMs as the pool lacks; gives how many were started. Waits no longer than `patience` for another
    /// who counts, and who will start them.
    pub(super) fn park_missing(&self, guest: &Guest, patience: Duration) -> Result<usize, Failure> {
        let (directories, size) = (&self.config.directories, self.config.pool.min(POOL_VMS_MAX));
        let Some(lot) = place::lot(&guest.ready.directory).filter(|_| size > 0) else { return Ok(0) };
        let lock = directories.parked().join("refill.lock");
        let alone = match FileLock::take_within(&lock, LockMode::Exclusive, patience) {
            Ok(lock) => lock,
            Err(LockError::Held(_)) => return Ok(0),
            Err(error) => return Err(Failure::new(Code::StateUnusable, chain(&error)).fix(REMEDY)),
        };
        let census = self.census()?;
        let change = census.change(&lot, size);
        let places = change.end.into_iter().filter_map(|ticket| ticket.claim(directories));
        let ending: Vec<_> = places.filter_map(|place| parting::end(&place.socket())).collect();
        if change.start > 0 {
            let tickets = directories.parked().join(&lot);
            std::fs::create_dir_all(&tickets).map_err(|error| unusable(&tickets, error))?;
        }
        (0..change.start).try_for_each(|_| self.park(guest, &lot))?;
        drop(alone);
        // They end while others come up.
        ending.into_iter().for_each(parting::gone);
        Ok(change.start)
    }

    /// Everybody in the pool.
    pub(super) fn census(&self) -> Result<Census, Failure> {
        // Before births and tickets: one that comes to be meanwhile has a mark.
        let records = self.store.vms()?.into_iter().filter(|record| record.vm.purpose == PARKED);
        let recorded: BTreeSet<VmId> = records.map(|record| record.vm.id).collect();
        Ok(Census::take(&self.config.directories, &recorded))
    }

    fn park(&self, guest: &Guest, lot: &str) -> Result<(), Failure> {
        let (directories, id) = (&self.config.directories, new_id()?);
        let purpose = Purpose::Park {
            template: HostPath::from(guest.ready.directory.as_path()),
            template_key: guest.ready.key.as_str().to_owned(),
            base: HostPath::from(guest.base.as_path()),
            blank: HostPath::from(guest.blank.as_path()),
            tickets: HostPath::from(directories.parked().join(lot).as_path()),
            idle_seconds: POOL_IDLE_SECONDS,
        };
        let mark = |process: ProcessIdentity| {
            birth::mark(directories, &id, lot, process)
                .map_err(|error| unusable(&directories.parked(), error))
        };
        mark(ProcessIdentity::of(std::process::id()).ok_or_else(no_processes)?)?;
        let start = self.start(&id, &guest.environment, guest.machine.clone(), purpose);
        let shim = Supervisor::start_alone(&self.config.program, start)
            .inspect_err(|_| birth::over(directories, &id))?;
        // One that cannot be marked again counts for as long as this process lives, and by its record.
        let _ = mark(shim);
        Ok(())
    }
}

/// What the record of a parked VM says that it is for, as the shim writes it.
const PARKED: &str = "park";

fn no_processes() -> Failure {
    Failure::new(Code::System, "processes cannot be told apart").because("/proc is not there").fix("mount it")
}

const REMEDY: &str = "make the runtime directory writable, or point PYRO_RUNTIME_DIR at one that is";
