//! Taking a VM out of the pool.

use std::time::Instant;

use pyro_proto::shim::Start;
use pyro_store::VmId;

use super::ticket;
use crate::launch::{Notice, UpVm, micros};
use crate::limits::POOL_VMS_MAX;
use crate::socket::connect_to;
use crate::supervisor::{Supervisor, Taken};
use crate::template::parent::Parent;
use crate::template::place;
use crate::{Failure, Pyro};

impl Pyro {
    /// A parked VM of this template that has taken the order; `None` where there is none, or none that is of any use.
    pub(crate) async fn claim_parked(
        &self,
        template: &Parent,
        begun: Instant,
        start: &mut impl FnMut(&VmId) -> Result<Start, Failure>,
        on_notice: &mut impl FnMut(Notice<'_>),
    ) -> Result<Option<UpVm>, Failure> {
        if self.config.pool == 0 {
            return Ok(None);
        }
        let directories = &self.config.directories;
        let Some(lot) = place::lot(&template.directory) else { return Ok(None) };
        let planned = begun.elapsed();
        for ticket in ticket::of_lot(directories, &lot).into_iter().take(POOL_VMS_MAX) {
            let Some(place) = ticket.claim(directories) else { continue };
            let claimed = begun.elapsed();
            let Ok(socket) = connect_to(&place.socket()).await else { continue };
            let mut connected = claimed;
            match Supervisor::take(socket, start(&ticket.vm)?, || connected = begun.elapsed()).await {
                Taken::Up(supervisor, started) => {
                    // Not before: of those that are of no use nobody wants to hear.
                    on_notice(Notice::Starting { vm_id: ticket.vm.as_str() });
                    let mut timings = vec![
                        ("plan".to_owned(), micros(planned)),
                        ("pool_claim".to_owned(), micros(claimed.saturating_sub(planned))),
                        ("connect".to_owned(), micros(connected.saturating_sub(claimed))),
                    ];
                    timings.extend(started.timings.iter().cloned());
                    timings.push(("launch".to_owned(), micros(begun.elapsed())));
                    return Ok(Some(UpVm { supervisor: *supervisor, id: ticket.vm, started, timings }));
                }
                Taken::Refused(failure) => return Err(failure),
                Taken::Useless => {
                    // What it began is nobody's, and the next command's to remove if it cannot be removed now.
                    let _ = self.store.reconcile(directories);
                }
            }
        }
        Ok(None)
    }
}
