//! The calls that a shim relays between its clients and the agent: who owns which stream, and until
//! when the guest has to answer. Pure: no I/O, no clock.

use std::collections::HashMap;
use std::time::Duration;

use pyro_proto::StreamId;
use tokio::time::Instant;

use crate::call::{Call, ClientId, Owner};

/// All calls open now, by the agent's stream.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    by_agent: HashMap<StreamId, Call>,
    by_client: HashMap<Owner, StreamId>,
}

impl Calls {
    /// Calls open now.
    pub(crate) fn len(&self) -> usize {
        self.by_agent.len()
    }

    /// Whether a client has a call open on this stream.
    pub(crate) fn has(&self, owner: Owner) -> bool {
        self.by_client.contains_key(&owner)
    }

    /// Enters a call.
    pub(crate) fn open(&mut self, agent: StreamId, call: Call) {
        if let Some(owner) = call.owner {
            self.by_client.insert(owner, agent);
        }
        self.by_agent.insert(agent, call);
    }

    /// The agent's side of a client's call.
    pub(crate) fn of_client(&mut self, owner: Owner) -> Option<(StreamId, &mut Call)> {
        let agent = *self.by_client.get(&owner)?;
        self.by_agent.get_mut(&agent).map(|call| (agent, call))
    }

    /// The call behind an agent's stream.
    pub(crate) fn of_agent(&mut self, agent: StreamId) -> Option<&mut Call> {
        self.by_agent.get_mut(&agent)
    }

    /// Removes a call at its end.
    pub(crate) fn close(&mut self, agent: StreamId) -> Option<Call> {
        let call = self.by_agent.remove(&agent)?;
        if let Some(owner) = call.owner {
            self.by_client.remove(&owner);
        }
        Some(call)
    }

    /// Lets a call go on without its client; gives who that was.
    pub(crate) fn detach(&mut self, agent: StreamId) -> Option<Owner> {
        let owner = self.by_agent.get_mut(&agent)?.owner.take()?;
        self.by_client.remove(&owner);
        Some(owner)
    }

    /// Takes note that a client left; gives its calls, which stay until the agent ends them.
    pub(crate) fn orphan(&mut self, client: ClientId) -> Vec<StreamId> {
        let mut orphans = Vec::new();
        for (agent, call) in &mut self.by_agent {
            if let Some(owner) = call.owner.filter(|owner| owner.0 == client) {
                self.by_client.remove(&owner);
                call.owner = None;
                orphans.push(*agent);
            }
        }
        orphans
    }

    /// Every open call, by the agent's stream.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (StreamId, &Call)> {
        self.by_agent.iter().map(|(stream, call)| (*stream, call))
    }

    /// The same, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamId, &mut Call)> {
        self.by_agent.iter_mut().map(|(stream, call)| (*stream, call))
    }

    /// Every owner of an open call.
    pub(crate) fn owners(&self) -> impl Iterator<Item = Owner> + '_ {
        self.by_client.keys().copied()
    }

    /// When the next call is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.by_agent.values().filter_map(|call| call.deadline).min()
    }

    /// The guest stood still for so long: it has that much more time for everything.
    pub(crate) fn postpone(&mut self, standstill: Duration) {
        for call in self.by_agent.values_mut() {
            call.deadline = call.deadline.and_then(|due| due.checked_add(standstill));
        }
    }

    /// Whether the guest has let a deadline pass; a call that its client holds up gets `recheck` more.
    pub(crate) fn is_overdue(&mut self, now: Instant, recheck: Duration) -> bool {
        let mut overdue = false;
        for call in self.by_agent.values_mut().filter(|call| call.deadline.is_some_and(|due| due <= now)) {
            if call.is_held_up_by_client() {
                call.deadline = Some(now + recheck);
            } else {
                overdue = true;
            }
        }
        overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Transfer;
    use crate::limits::{EXEC_FLUSH_SECONDS_MAX, TRANSFER_IDLE_SECONDS_MAX};
    use pyro_proto::Channel;
    use pyro_proto::limits::WINDOW_BYTES;

    fn exec(client: ClientId, deadline: Option<Instant>) -> Call {
        Call::exec((client, StreamId(5)), (None, false), true, deadline)
    }

    /// A client that left keeps no call, and its calls keep no client.
    #[tokio::test]
    async fn orphans_lose_their_owner() {
        let mut calls = Calls::default();
        calls.open(StreamId(1), exec(7, None));
        calls.open(StreamId(2), exec(8, None));
        assert_eq!(calls.orphan(7), [StreamId(1)]);
        assert!(!calls.has((7, StreamId(5))) && calls.has((8, StreamId(5))));
        assert!(calls.of_agent(StreamId(1)).unwrap().owner.is_none());
        assert_eq!(calls.owners().collect::<Vec<_>>(), [(8, StreamId(5))]);
        assert!(calls.close(StreamId(1)).is_some());
        assert_eq!(calls.len(), 1);
    }

    /// A command that has ended at its limit has the time to get a gigabyte onto the disk.
    #[tokio::test]
    async fn what_was_written_is_waited_for() {
        let now = Instant::now();
        let mut calls = Calls::default();
        calls.open(StreamId(1), exec(7, Some(now)));
        let call = calls.of_agent(StreamId(1)).unwrap();
        call.end_output(Channel::Stdout).unwrap().unwrap();
        call.await_flush(now);
        assert_eq!(call.deadline, Some(now), "it still runs");
        call.end_output(Channel::Stderr).unwrap().unwrap();
        call.await_flush(now);
        assert_eq!(calls.next_deadline(), Some(now + EXEC_FLUSH_SECONDS_MAX));
    }

    /// A guest is late only when nobody else holds it up.
    #[tokio::test]
    async fn a_slow_client_is_not_the_guests_fault() {
        let now = Instant::now();
        let recheck = Duration::from_secs(1);
        let mut calls = Calls::default();
        calls.open(StreamId(1), exec(7, Some(now)));
        calls.of_agent(StreamId(1)).unwrap().window(Channel::Stdout).receive(WINDOW_BYTES as usize).unwrap();
        assert!(!calls.is_overdue(now, recheck));
        assert_eq!(calls.next_deadline(), Some(now + recheck));
        calls.orphan(7);
        assert!(calls.is_overdue(now + recheck, recheck));
    }

    /// A guest is not blamed for the time in which it was not let run.
    #[tokio::test]
    async fn a_standstill_counts_for_nobody() {
        let now = Instant::now();
        let mut calls = Calls::default();
        calls.open(StreamId(1), exec(7, Some(now)));
        calls.postpone(Duration::from_secs(60));
        assert!(!calls.is_overdue(now + Duration::from_secs(59), Duration::ZERO));
        assert!(calls.is_overdue(now + Duration::from_secs(60), Duration::ZERO));
    }

    /// A push whose client sends nothing waits for it; once all is sent, it is the guest's turn.
    #[tokio::test]
    async fn a_push_waits_for_its_client_alone() {
        let now = Instant::now();
        let mut calls = Calls::default();
        let mut call = Call::transfer((7, StreamId(5)), Transfer::Push);
        call.flow(now);
        calls.open(StreamId(1), call);
        let late = now + TRANSFER_IDLE_SECONDS_MAX;
        assert!(!calls.is_overdue(late, Duration::ZERO));
        calls.of_agent(StreamId(1)).unwrap().takes_input = false;
        assert!(calls.is_overdue(late, Duration::ZERO));
    }
}
