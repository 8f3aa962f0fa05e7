//! Who waits for what of one service. Pure.

use pyro_proto::agent;
use pyro_proto::shim::{Failure, FailureCode, Reply};
use pyro_store::ServiceName;

use crate::call::{ClientId, Owner};

/// Everybody who waits for something of one service.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    /// Until it is ready.
    starters: Vec<Owner>,
    /// Until nothing of it runs.
    stoppers: Vec<Owner>,
    /// Until it is ready again; some may have left.
    restarters: Vec<Owner>,
    is_stopping: bool,
    /// It is to be started again when it has stopped.
    is_restarting: bool,
    /// It is to come back with the workspace.
    returns: bool,
}

/// A service that is to be started again, and who waits for it.
#[derive(Debug)]
pub(crate) struct Again {
    pub(crate) name: ServiceName,
    pub(crate) definition: agent::Service,
    pub(crate) waiters: Waiters,
}

impl Waiters {
    /// Somebody who waits until it is ready.
    pub(crate) fn starter(owner: Owner) -> Waiters {
        Waiters { starters: vec![owner], ..Waiters::default() }
    }

    /// One that is to come back with the workspace, also if it does not become ready now.
    pub(crate) fn returning(self, returns: bool) -> Waiters {
        Waiters { returns, ..self }
    }

    /// Somebody who wants it to stop; whether that is news.
    pub(crate) fn stop(&mut self, owner: Owner) -> bool {
        self.stoppers.push(owner);
        self.returns = false;
        !std::mem::replace(&mut self.is_stopping, true)
    }

    /// Somebody who wants it to stop and start again; whether that it stops is news.
    pub(crate) fn restart(&mut self, owner: Owner) -> bool {
        self.restarters.push(owner);
        self.is_restarting = true;
        !std::mem::replace(&mut self.is_stopping, true)
    }

    /// The workspace stops; whether that it stops is news.
    pub(crate) fn stop_with_workspace(&mut self) -> bool {
        self.returns = !self.is_stopping || self.is_restarting;
        self.is_restarting = false;
        !std::mem::replace(&mut self.is_stopping, true)
    }

    /// Whether it was told to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Whether it shall run again, though it has been told to stop.
    pub(crate) fn is_wanted(&self) -> bool {
        self.returns || self.is_restarting
    }

    /// It is ready: nobody waits for that any more, and whether it comes back is decided by its end.
    pub(crate) fn take_starters(&mut self) -> impl Iterator<Item = Owner> + use<> {
        self.returns = self.is_stopping && self.returns;
        std::mem::take(&mut self.starters).into_iter()
    }

    /// It has ended: who is told what, and whether it is started again.
    pub(crate) fn at_end(
        self,
        failed: &agent::Failure,
        (name, definition): (ServiceName, agent::Service),
    ) -> (Vec<(Owner, Reply)>, Option<Again>) {
        let refused = self.starters.into_iter().map(|owner| (owner, Reply::Refused(failed.clone())));
        let stopped = self.stoppers.into_iter().map(|owner| (owner, Reply::ServiceStopped));
        let mut told: Vec<(Owner, Reply)> = refused.chain(stopped).collect();
        if self.is_restarting {
            // It ran until somebody wanted it to run anew: should that fail, it is still wanted.
            let waiters = Waiters { starters: self.restarters, returns: true, ..Waiters::default() };
            return (told, Some(Again { name, definition, waiters }));
        }
        told.extend(self.restarters.into_iter().map(|owner| (owner, Reply::Failed(workspace_stops()))));
        (told, None)
    }

    /// A client has left.
    pub(crate) fn forget(&mut self, client: ClientId) {
        for owners in [&mut self.starters, &mut self.stoppers, &mut self.restarters] {
            owners.retain(|owner| owner.0 != client);
        }
    }

    /// All of them.
    pub(crate) fn owners(&self) -> impl Iterator<Item = Owner> + '_ {
        [&self.starters, &self.stoppers, &self.restarters].into_iter().flatten().copied()
    }
}

fn workspace_stops() -> Failure {
    crate::failure::failure(FailureCode::Stopped, "the workspace is being stopped")
}
