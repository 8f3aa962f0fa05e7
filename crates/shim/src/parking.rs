//! A VM that is ready and waits for somebody to take it.
//!
//! ```text
//!   ticket laid ── renamed by a claimer ──► claimed ── Start ──► taken
//!        └── idle for too long: taken back ──► gone
//! ```
//!
//! Whose rename of the ticket succeeds, has the VM: there is no other lock. So a VM is never given to two, and one
//! whose shim dies is a ticket that leads to no socket. The shim takes its own ticket back in the same way, before
//! it gives up.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use pyro_proto::shim::{Failure, FailureCode, Purpose, Reply, Request, Start, WorkspaceOrder};
use pyro_proto::{Kind, StreamId, decode};
use pyro_store::VmPlace;
use pyro_vmm::Vm;
use tokio::net::UnixListener;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{Connection, reply};
use crate::failure::{failure, system};
use crate::guest::Guest;
use crate::limits::{CLAIM_POLL, CLAIMED_SECONDS_MAX, FLUSH_SECONDS_MAX};
use crate::signals::Signals;
use crate::socket::listen;

/// Somebody has taken the VM.
pub(crate) struct Taken {
    pub(crate) connection: Connection,
    /// Where others may come to the same VM.
    pub(crate) listener: UnixListener,
    /// What for.
    pub(crate) start: Start,
    /// Where the answer goes.
    pub(crate) stream: StreamId,
}

/// How the waiting ended.
pub(crate) enum Parked {
    /// Somebody has taken the VM.
    Taken(Box<Taken>),
    /// Nobody will.
    Over,
    /// Somebody has taken it to end it, and waits to hear that it is gone.
    Ended(Connection, StreamId),
}

/// The sign that a VM can be had.
struct Ticket {
    path: PathBuf,
    claimed: PathBuf,
}

impl Ticket {
    fn lay(tickets: PathBuf, vm_id: &str, place: &VmPlace) -> io::Result<Ticket> {
        let path = tickets.join(vm_id);
        fs::File::create_new(&path)?;
        Ok(Ticket { path, claimed: place.claimed() })
    }

    fn is_claimed(&self) -> bool {
        self.claimed.exists()
    }

    /// `false` when somebody was quicker.
    fn take_back(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.take_back();
    }
}

/// Waits until somebody takes the VM, it has waited for too long, or it ends.
pub(crate) async fn wait<V: Vm>(
    guest: &mut Guest<V>,
    place: &VmPlace,
    start: &Start,
    signals: &mut Signals,
) -> Result<Parked, Failure> {
    let Purpose::Park { tickets, idle_seconds, .. } = &start.purpose else {
        return Err(failure(FailureCode::System, "the VM is not one to be parked"));
    };
    let listener =
        listen(&place.socket()).map_err(|error| system("the VM's socket cannot be made", &error))?;
    let ticket = Ticket::lay(tickets.to_path(), &start.vm_id, place)
        .map_err(|error| system("the VM cannot be parked", &error))?;
    // Until somebody has taken the ticket, and then until they come.
    let mut deadline = Instant::now() + Duration::from_secs(*idle_seconds);
    let mut is_awaited = false;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((socket, _)) = accepted else {
                    sleep(Duration::from_millis(100)).await;
                    continue;
                };
                // Who has not taken the ticket has no business here.
                let Ok(Ok(connection)) = timeout(CLAIMED_SECONDS_MAX, Connection::accept(socket)).await else {
                    continue;
                };
                if !ticket.is_claimed() {
                    continue;
                }
                match order(connection, start).await {
                    Some(Order::Start(connection, stream, start)) => {
                        let taken = Taken { connection, listener, start: *start, stream };
                        return Ok(Parked::Taken(Box::new(taken)));
                    }
                    Some(Order::Stop(connection, stream)) => return Ok(Parked::Ended(connection, stream)),
                    None => return Ok(Parked::Over),
                }
            }
            _ = guest.vm.wait() => return Ok(Parked::Over),
            () = signals.next() => return Ok(Parked::Over),
            // A guest that nobody has asked anything says nothing.
            _ = guest.link.next() => return Ok(Parked::Over),
            () = sleep(CLAIM_POLL) => {
                if !is_awaited && ticket.is_claimed() {
                    is_awaited = true;
                    deadline = Instant::now() + CLAIMED_SECONDS_MAX;
                }
                if Instant::now() >= deadline && (is_awaited || ticket.take_back()) {
                    return Ok(Parked::Over);
                }
            }
        }
    }
}

/// What a claimer wants.
enum Order {
    Start(Connection, StreamId, Box<Start>),
    Stop(Connection, StreamId),
}

/// The first frame says what for; `None` for what nobody may ask of a parked VM: its claimer is lost, and it with it.
async fn order(mut connection: Connection, parked: &Start) -> Option<Order> {
    let frame = timeout(CLAIMED_SECONDS_MAX, connection.frames.next()).await.ok()?.ok()??;
    let stream = frame.stream;
    match (frame.kind, decode::<Request>(&frame.payload)) {
        (Kind::Open, Ok(Request::Start(start))) if fits(&start, parked) => {
            Some(Order::Start(connection, stream, start))
        }
        (Kind::Open, Ok(Request::Stop { .. })) => Some(Order::Stop(connection, stream)),
        _ => {
            let refusal = failure(FailureCode::Refused, "this is not what the parked VM was made for");
            refuse(connection, stream, refusal).await;
            None
        }
    }
}

/// Whether what is asked for is what this VM is.
fn fits(asked: &Start, parked: &Start) -> bool {
    let key = |start: &Start| match &start.purpose {
        Purpose::Run { template_key, .. } | Purpose::Park { template_key, .. } => Some(template_key.clone()),
        Purpose::Workspace(order) if matches!(order.order, WorkspaceOrder::Create(_)) => {
            Some(order.template_key.clone())
        }
        _ => None,
    };
    let places = |start: &Start| (start.state_directory.clone(), start.runtime_directory.clone());
    asked.vm_id == parked.vm_id
        && asked.machine == parked.machine
        && places(asked) == places(parked)
        && key(asked) == key(parked)
}

async fn refuse(connection: Connection, stream: StreamId, failure: Failure) {
    if let Some(frame) = reply(stream, &Reply::Failed(failure)) {
        let _ = connection.client.outbox.send(frame);
    }
    connection.client.flush(FLUSH_SECONDS_MAX).await;
}
