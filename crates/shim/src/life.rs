//! A shim's life: take the order, bring the VM up, drive it, leave nothing behind.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use pyro_jail::{RunAs, Support};
use pyro_proto::shim::{Event, ExecutionMode, Failure, FailureCode, Purpose, Reply, Request, Start, Started};
use pyro_proto::{Kind, StreamId, decode};
use pyro_store::{Claim, Directories, Durability, NewVm, ProcessIdentity, ReleaseError, Store, VmId};
use pyro_vmm::{Confinement, Qemu, QemuVmm, Vm, Vmm};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::bringup::{Bringup, Guest, Up};
use crate::calls::{Calls, ClientId};
use crate::client::{ClientEvent, Connection, event, reply};
use crate::driver::{Driver, End};
use crate::failure::{failure, system};
use crate::limits::{
    CLIENTS_MAX, DRIVER_QUEUE_FRAMES, FILE_BYTES_MAX, FLUSH_SECONDS_MAX, TASKS_MAX, VMM_GONE_SECONDS_MAX,
};
use crate::process::childless;
use crate::signals::Signals;
use crate::socket::listen;
use crate::timeline::Timeline;

/// The client that started this shim.
const STARTER: ClientId = 0;

/// What the starter asked for.
struct Order {
    start: Start,
    /// Where the answer goes.
    stream: StreamId,
    /// Layers of confinement that this machine does not grant.
    unconfined: Vec<String>,
}

/// Whoever may call a bring-up off.
struct Told<'a> {
    connection: &'a mut Connection,
    signals: &'a mut Signals,
}

/// What belongs to the VM for as long as it lives.
struct Held {
    store: Store,
    directories: Directories,
    claim: Claim,
}

impl Held {
    /// Leaves nothing of the VM.
    fn release(self) -> Result<(), ReleaseError> {
        self.store.release(&self.directories, self.claim)
    }
}

impl Order {
    fn started(&self, timeline: Timeline, entries: u64) -> Started {
        Started {
            execution_mode: ExecutionMode::GuestSerial,
            timings: timeline.into_steps(),
            unconfined: self.unconfined.clone(),
            entries,
        }
    }
}

/// Serves one VM from its order to its end.
pub(crate) async fn live(starter: StdUnixStream) -> io::Result<()> {
    starter.set_nonblocking(true)?;
    let mut connection = Connection::accept(UnixStream::from_std(starter)?)
        .await
        .map_err(|error| io::Error::other(error.to_string()))?;
    let (stream, start) = take_order(&mut connection).await?;
    let mut signals = Signals::install()?;
    let support = Support::probe();
    let unconfined = support.missing().iter().map(|missing| missing.layer.name().to_owned()).collect();
    match qemu_vmm(&start, support) {
        Ok(vmm) => {
            let order = Order { start, stream, unconfined };
            supervise(vmm, connection, &order, &mut signals).await;
        }
        Err(failure) => refuse(connection, stream, failure).await,
    }
    Ok(())
}

/// The first frame says what to do.
async fn take_order(connection: &mut Connection) -> io::Result<(StreamId, Start)> {
    let frame = connection.frames.next().await.map_err(io::Error::other)?;
    let frame = frame.filter(|frame| frame.kind == Kind::Open).ok_or(io::ErrorKind::InvalidData)?;
    match decode::<Request>(&frame.payload) {
        Ok(Request::Start(start)) => Ok((frame.stream, *start)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

async fn refuse(connection: Connection, stream: StreamId, failure: Failure) {
    if let Some(frame) = reply(stream, &Reply::Failed(failure)) {
        let _ = connection.client.outbox.send(frame);
    }
    connection.client.flush(FLUSH_SECONDS_MAX).await;
}

/// Everything from the claim to its release.
async fn supervise<M: Vmm>(vmm: M, connection: Connection, order: &Order, signals: &mut Signals) {
    let mut timeline = Timeline::start();
    let (start, stream) = (&order.start, order.stream);
    let held = match claim(start) {
        Ok(held) => held,
        Err(failure) => return refuse(connection, stream, failure).await,
    };
    timeline.step("claim");
    let born = Instant::now();
    let mut connection = connection;
    let told = Told { connection: &mut connection, signals };
    match bring_up(&vmm, told, order, &held, &mut timeline).await {
        Err(failure) => {
            // Why the VM did not come up says more than why its record stays; the next command removes that.
            let _ = held.release();
            refuse(connection, stream, failure).await;
        }
        Ok(Up::Done { entries }) => {
            // The work is done and stays done; what cannot be removed now the next command removes.
            let _ = held.release();
            if let Some(frame) = reply(stream, &Reply::Started(order.started(timeline, entries))) {
                let _ = connection.client.outbox.send(frame);
            }
            connection.client.flush(FLUSH_SECONDS_MAX).await;
        }
        Ok(Up::Running(guest)) => {
            let answer = Reply::Started(order.started(timeline, 0));
            if let Some(frame) = reply(stream, &answer) {
                let _ = connection.client.outbox.send(frame);
            }
            drive(*guest, connection, start, born, held, signals).await;
        }
    }
}

/// Brings the VM up, unless the starter leaves or this process is told to end.
async fn bring_up<M: Vmm>(
    vmm: &M,
    told: Told<'_>,
    order: &Order,
    held: &Held,
    timeline: &mut Timeline,
) -> Result<Up<M::Vm>, Failure> {
    let Told { connection, signals } = told;
    let (start, stream) = (&order.start, order.stream);
    let outbox = connection.client.outbox.clone();
    let mut tell = |news: Event| {
        if let Some(frame) = event(stream, &news) {
            let _ = outbox.send(frame);
        }
    };
    let mut on_vmm = |pid: u32| {
        if let (Some(process), Ok(id)) = (ProcessIdentity::of(pid), VmId::parse(&start.vm_id)) {
            // Only what a crash leaves is found by it; without, the kernel's parent-death signal remains.
            let _ = held.store.set_vmm(&id, process);
        }
    };
    let bringup =
        Bringup { vmm, start, place: &held.claim.place, timeline, tell: &mut tell, on_vmm: &mut on_vmm };
    let called_off = tokio::select! {
        up = bringup.run() => return up,
        // Nothing is sent before the answer to `Start`: a frame now is a mistake, and the end is the end.
        _ = connection.frames.next() => failure(FailureCode::Stopped, "the client left"),
        () = signals.next() => failure(FailureCode::Stopped, "the supervisor was told to end"),
    };
    // Dropping the work has killed its VMM; nothing is removed before that is gone.
    childless(VMM_GONE_SECONDS_MAX).await;
    Err(called_off)
}

/// Drives a VM that is up until its end, then leaves nothing of it.
async fn drive<V: Vm>(
    guest: Guest<V>,
    connection: Connection,
    start: &Start,
    born: Instant,
    held: Held,
    signals: &mut Signals,
) {
    let (events, queue) = mpsc::channel(DRIVER_QUEUE_FRAMES);
    tokio::spawn(connection.pump(STARTER, events.clone()));
    // Without a socket the starter's own connection still works.
    if let Ok(listener) = listen(&held.claim.place.socket()) {
        tokio::spawn(welcome(listener, events));
    }
    let driver = Driver {
        vm_id: start.vm_id.clone(),
        vm: guest.vm,
        link: guest.link,
        starter: STARTER,
        born,
        dies: start.ttl_seconds.and_then(|seconds| in_seconds(born, seconds)),
        calls: Calls::default(),
        clients: HashMap::new(),
    };
    let (mut vm, mut end) = driver.run(queue, signals).await;
    vm.kill().await;
    let released = held.release();
    farewell(&mut end, released.map_err(|error| system("cleaning up failed", &error)));
    for (_, client) in end.clients {
        client.flush(FLUSH_SECONDS_MAX).await;
    }
}

/// A moment too far away for the clock never comes.
fn in_seconds(from: Instant, seconds: u64) -> Option<Instant> {
    from.checked_add(Duration::from_secs(seconds))
}

fn farewell(end: &mut End, released: Result<(), Failure>) {
    let Some(stopper) = end.stopper else { return };
    let answer = match released {
        Ok(()) => Reply::Stopped,
        Err(failure) => Reply::Failed(failure),
    };
    if let (Some(client), Some(frame)) = (end.clients.get(&stopper.client), reply(stopper.stream, &answer)) {
        let _ = client.outbox.send(frame);
    }
}

/// Takes further clients in.
async fn welcome(listener: tokio::net::UnixListener, events: mpsc::Sender<ClientEvent>) {
    let slots = std::sync::Arc::new(tokio::sync::Semaphore::new(CLIENTS_MAX));
    let mut next = STARTER;
    loop {
        let Ok(slot) = std::sync::Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        next += 1;
        let (id, events) = (next, events.clone());
        tokio::spawn(async move {
            if let Ok(connection) = Connection::accept(socket).await {
                connection.pump(id, events).await;
            }
            drop(slot);
        });
    }
}

fn claim(start: &Start) -> Result<Held, Failure> {
    let directories = Directories {
        state: start.state_directory.to_path(),
        cache: start.cache_directory.to_path(),
        runtime: start.runtime_directory.to_path(),
    };
    let id = VmId::parse(&start.vm_id).map_err(|error| system("the order makes no sense", &error))?;
    let store = Store::open(&directories.database(), Durability::Crash)
        .map_err(|error| system("the state cannot be used", &error))?;
    let vm = NewVm {
        id,
        environment: start.environment.clone(),
        purpose: purpose(&start.purpose).to_owned(),
        accelerator: start.machine.accelerator.as_str().to_owned(),
        vcpu_count: start.machine.vcpu_count,
        memory_mib: start.machine.memory_mib,
    };
    let claim = store
        .claim(&directories, &vm)
        .map_err(|error| system("the VM's directories cannot be made", &error))?;
    Ok(Held { store, directories, claim })
}

fn purpose(purpose: &Purpose) -> &'static str {
    match purpose {
        Purpose::Run { .. } => "run",
        Purpose::MakeTemplate { .. } => "template",
        Purpose::WriteRoot { .. } => "build",
        Purpose::Probe { .. } => "probe",
    }
}

fn qemu_vmm(start: &Start, support: Support) -> Result<QemuVmm, Failure> {
    let version = start
        .machine
        .vmm_version
        .parse()
        .map_err(|()| failure(FailureCode::VmmFailed, "the order names no version of QEMU"))?;
    let qemu = Qemu::trusted(start.machine.vmm_path.to_path(), version)
        .map_err(|error| failure(FailureCode::VmmFailed, error.to_string()))?;
    let confinement = Confinement {
        run_as: start.run_as.map(|ids| RunAs { uid: ids.uid, gid: ids.gid, groups: Vec::new() }),
        file_bytes_max: FILE_BYTES_MAX,
        task_count_max: start.run_as.map(|_| TASKS_MAX),
    };
    Ok(QemuVmm::new(qemu, confinement, support))
}

#[cfg(test)]
mod tests;
