//! The calls that a shim relays between its clients and the agent: who owns which stream, what may
//! still flow, and until when the guest has to answer. Pure: no I/O, no clock.

use std::collections::HashMap;
use std::time::Duration;

use pyro_proto::window::ReceiveWindow;
use pyro_proto::{Channel, StreamId};
use tokio::time::Instant;

/// Number of a client connection, never used twice.
pub(crate) type ClientId = u64;

/// One relayed call.
#[derive(Debug)]
pub(crate) struct Call {
    /// Who opened it; `None` once that client has left.
    pub(crate) owner: Option<(ClientId, StreamId)>,
    /// When the guest must have answered.
    pub(crate) deadline: Option<Instant>,
    /// Whether the client may still send standard input.
    pub(crate) takes_input: bool,
    stdin: ReceiveWindow,
    stdout: ReceiveWindow,
    stderr: ReceiveWindow,
}

/// All calls open now, by the agent's stream.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    by_agent: HashMap<StreamId, Call>,
    by_client: HashMap<(ClientId, StreamId), StreamId>,
}

impl Call {
    /// The window of a channel, seen from its receiving side.
    pub(crate) fn window(&mut self, channel: Channel) -> &mut ReceiveWindow {
        match channel {
            Channel::Stdin => &mut self.stdin,
            Channel::Stdout => &mut self.stdout,
            Channel::Stderr => &mut self.stderr,
        }
    }

    /// Whether the client's slowness, not the guest's, may be what keeps the command's end away.
    fn is_held_up_by_client(&self) -> bool {
        self.owner.is_some() && (self.stdout.is_narrow() || self.stderr.is_narrow())
    }
}

impl Calls {
    /// Calls open now.
    pub(crate) fn len(&self) -> usize {
        self.by_agent.len()
    }

    /// Whether a client has a call open on this stream.
    pub(crate) fn has(&self, client: ClientId, stream: StreamId) -> bool {
        self.by_client.contains_key(&(client, stream))
    }

    /// Enters a call.
    pub(crate) fn open(
        &mut self,
        agent: StreamId,
        client: ClientId,
        stream: StreamId,
        deadline: Option<Instant>,
        takes_input: bool,
    ) {
        let call = Call {
            owner: Some((client, stream)),
            deadline,
            takes_input,
            stdin: ReceiveWindow::default(),
            stdout: ReceiveWindow::default(),
            stderr: ReceiveWindow::default(),
        };
        self.by_agent.insert(agent, call);
        self.by_client.insert((client, stream), agent);
    }

    /// The agent's side of a client's call.
    pub(crate) fn of_client(&mut self, client: ClientId, stream: StreamId) -> Option<(StreamId, &mut Call)> {
        let agent = *self.by_client.get(&(client, stream))?;
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

    /// Every owner of an open call.
    pub(crate) fn owners(&self) -> impl Iterator<Item = (ClientId, StreamId)> + '_ {
        self.by_client.keys().copied()
    }

    /// When the next call is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.by_agent.values().filter_map(|call| call.deadline).min()
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
    use pyro_proto::limits::WINDOW_BYTES;

    /// A client that left keeps no call, and its calls keep no client.
    #[test]
    fn orphans_lose_their_owner() {
        let mut calls = Calls::default();
        calls.open(StreamId(1), 7, StreamId(5), None, true);
        calls.open(StreamId(2), 8, StreamId(5), None, true);
        assert_eq!(calls.orphan(7), [StreamId(1)]);
        assert!(!calls.has(7, StreamId(5)) && calls.has(8, StreamId(5)));
        assert!(calls.of_agent(StreamId(1)).unwrap().owner.is_none());
        assert_eq!(calls.owners().collect::<Vec<_>>(), [(8, StreamId(5))]);
        assert!(calls.close(StreamId(1)).is_some());
        assert_eq!(calls.len(), 1);
    }

    /// A guest is late only when nobody else holds it up.
    #[tokio::test]
    async fn a_slow_client_is_not_the_guests_fault() {
        let now = Instant::now();
        let recheck = Duration::from_secs(1);
        let mut calls = Calls::default();
        calls.open(StreamId(1), 7, StreamId(5), Some(now), true);
        calls.of_agent(StreamId(1)).unwrap().window(Channel::Stdout).receive(WINDOW_BYTES as usize).unwrap();
        assert!(!calls.is_overdue(now, recheck));
        assert_eq!(calls.next_deadline(), Some(now + recheck));
        calls.orphan(7);
        assert!(calls.is_overdue(now + recheck, recheck));
    }
}
