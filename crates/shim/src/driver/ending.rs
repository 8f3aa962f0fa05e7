//! The end of a VM in good order: its services first, then the disk, then the VM.

use pyro_proto::shim::{Failure, Reply};
use pyro_vmm::Vm;
use tokio::time::Instant;

use super::Driver;
use crate::call::Owner;
use crate::limits::{SERVICE_GRACE_SECONDS, SERVICE_KILL_SECONDS_MAX};

/// A VM whose services have been told to end.
#[derive(Debug)]
pub(crate) struct Ending {
    /// Why.
    pub(crate) failure: Failure,
    /// Who asked for it, and what they hear when it is done.
    pub(crate) stopper: Option<(Owner, Reply)>,
    /// When it ends though they have not.
    pub(crate) deadline: Instant,
    /// Who asks meanwhile whether it is well, or for its end: the end of their connection is the answer.
    pub(crate) asking: Vec<Owner>,
}

impl<V: Vm> Driver<V> {
    /// It was decided that the VM ends. A guest that is copied, or whose disk is thrown away, ends as it is.
    pub(super) fn begin_end(&mut self, failure: Failure, stopper: Option<(Owner, Reply)>) {
        if let Some(ending) = &mut self.ending {
            // Told twice to end, it does not wait any longer.
            ending.deadline = Instant::now();
            ending.stopper = ending.stopper.take().or(stopper);
            return;
        }
        let now = Instant::now();
        let waits = !self.discards && self.capture.is_none() && self.stop_services();
        let patience = SERVICE_GRACE_SECONDS + SERVICE_KILL_SECONDS_MAX;
        let deadline = if waits { now.checked_add(patience).unwrap_or(now) } else { now };
        self.ending = Some(Ending { failure, stopper, deadline, asking: Vec::new() });
    }

    /// The end, once it has come.
    pub(super) fn take_ended(&mut self) -> Option<Ending> {
        let ending = self.ending.as_ref()?;
        let services = self.session.as_ref().map(|session| session.services.keys());
        let is_over = services.is_none_or(|keys| keys.is_empty()) || ending.deadline <= Instant::now();
        self.ending.take_if(|_| is_over)
    }
}
