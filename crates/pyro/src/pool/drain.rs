//! Emptying the pool.

use std::collections::BTreeSet;
use std::time::Instant;

use pyro_store::{FileLock, LockMode};

use super::refilling::filling_lock;
use super::ticket::{self, Ticket};
use crate::limits::{POOL_BIRTH_SECONDS_MAX, POOL_FILL_POLL};
use crate::supervisor::parting;
use crate::template::place;
use crate::{Failure, Pyro};

impl Pyro {
    /// Ends every parked VM, those that are being born as well; gives how many there were.
    pub fn drain_pool(&self) -> Result<usize, Failure> {
        let deadline = Instant::now() + POOL_BIRTH_SECONDS_MAX;
        // What a command that is over has begun comes first, or it would come behind. One that hangs is not waited for.
        let lock = filling_lock(&self.config.directories);
        let _alone = FileLock::take_within(&lock, LockMode::Exclusive, POOL_BIRTH_SECONDS_MAX).ok();
        let mut ended = 0;
        loop {
            let census = self.census()?;
            ended += self.end_parked(&census.parked);
            if census.coming.is_empty() || Instant::now() > deadline {
                return Ok(ended);
            }
            std::thread::sleep(POOL_FILL_POLL);
        }
    }

    /// Ends the VMs that were forked from templates that are gone; gives how many there were.
    pub(crate) fn drain_orphans(&self) -> usize {
        let directories = &self.config.directories;
        let lots: BTreeSet<String> =
            place::all(&directories.templates()).filter_map(|template| place::lot(&template)).collect();
        let parked = ticket::all(directories).into_iter();
        let orphans: Vec<Ticket> = parked.filter(|ticket| !lots.contains(&ticket.lot)).collect();
        let ended = self.end_parked(&orphans);
        for lot in ticket::lots(directories).filter(|lot| !lots.contains(lot)) {
            // One in which a ticket was laid meanwhile is not empty, and stays.
            let _ = std::fs::remove_dir(directories.parked().join(lot));
        }
        ended
    }

    /// Ends those that nobody else takes, all at once, and waits until they are gone; one that does not answer is
    /// killed, and what it leaves is removed.
    fn end_parked(&self, tickets: &[Ticket]) -> usize {
        let directories = &self.config.directories;
        let taken: Vec<_> = tickets.iter().filter_map(|ticket| ticket.claim(directories)).collect();
        let ending: Vec<_> = taken.iter().filter_map(|place| parting::end(&place.socket())).collect();
        ending.into_iter().for_each(parting::gone);
        if !taken.is_empty() {
            // What cannot be removed now the next command removes.
            let _ = self.store.reconcile(directories);
        }
        taken.len()
    }
}
