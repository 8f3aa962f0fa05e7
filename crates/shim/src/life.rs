//! A shim's life: take the order, bring the VM up, wait to be taken if it is a parked one, drive it, leave nothing
//! behind.

mod park;

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::time::Duration;

use pyro_jail::{RunAs, Support};
use pyro_proto::shim::{Event, Failure, FailureCode, Purpose, Reply, Request, Start, Started};
use pyro_proto::{Kind, StreamId, decode};
use pyro_vmm::{Confinement, Qemu, QemuVmm, Vm, Vmm};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::bringup::{Bringup, Running, Up};
use crate::call::ClientId;
use crate::calls::Calls;
use crate::client::{ClientEvent, Connection, event, relay, reply};
use crate::clock::HostClock;
use crate::driver::{Driver, End, Session};
use crate::failure::{expired, failure, system};
use crate::followers::Followers;
use crate::guest::Guest;
use crate::held::Held;
use crate::layers::Layers;
use crate::lifetime::Lifetime;
use crate::limits::{
    CLIENTS_MAX, DRIVER_QUEUE_FRAMES, FILE_BYTES_MAX, FLUSH_SECONDS_MAX, TASKS_MAX, VMM_GONE_SECONDS_MAX,
};
use crate::process::childless;
use crate::recorder::Recorder;
use crate::services::Services;
use crate::settle::settle;
use crate::shells::Shells;
use crate::signals::Signals;
use crate::timeline::Timeline;
use crate::turns::Turns;

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

impl Order {
    fn started(&self, timeline: Timeline, entries: u64) -> Started {
        Started {
            transport: self.start.machine.transport,
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
    let born = Instant::now();
    let mut connection = connection;
    let claimed = tokio::select! {
        held = Held::claim(start) => held,
        // A workspace may be waited for, but not for a client that is gone.
        () = left(&mut connection, start) => Err(failure(FailureCode::Stopped, "the client left")),
        () = signals.next() => Err(failure(FailureCode::Stopped, "the supervisor was told to end")),
    };
    let mut held = match claimed {
        Ok(held) => held,
        Err(failure) => return refuse(connection, stream, failure).await,
    };
    timeline.step("claim");
    let told = Told { connection: &mut connection, signals };
    match bring_up(&vmm, told, order, (&held, born), &mut timeline).await {
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
        Ok(Up::Running(running)) => match start.purpose {
            Purpose::Park { .. } => park::park(*running, order, held, signals).await,
            _ => {
                let mut running = running;
                // What nobody waits for any more is not to come to be.
                let settled = tokio::select! {
                    biased;
                    () = left(&mut connection, start) => Err(failure(FailureCode::Stopped, "the client left")),
                    () = signals.next() => Err(failure(FailureCode::Stopped, "the supervisor was told to end")),
                    settled = settle_new(&mut running.guest, &held) => settled,
                };
                let answered = settled.and_then(|()| held.open_door());
                timeline.step("announce");
                let visit = Visit { connection, stream, start, born, timeline };
                open(*running, visit, order, (held, answered), signals).await;
            }
        },
    }
}

/// Who a VM is for, once it is there.
struct Visit<'a> {
    connection: Connection,
    stream: StreamId,
    start: &'a Start,
    born: Instant,
    timeline: Timeline,
}

/// Answers the order, and drives the VM.
async fn open<V: Vm>(
    mut running: Running<V>,
    visit: Visit<'_>,
    order: &Order,
    (held, door): (Held, Result<Option<UnixListener>, Failure>),
    signals: &mut Signals,
) {
    let Visit { connection, stream, start, born, timeline } = visit;
    let listener = match door {
        Ok(listener) => listener,
        Err(failure) => {
            running.guest.vm.kill().await;
            let _ = held.release();
            return refuse(connection, stream, failure).await;
        }
    };
    if let Some(frame) = reply(stream, &Reply::Started(order.started(timeline, 0))) {
        let _ = connection.client.outbox.send(frame);
    }
    drive(running, (connection, listener), start, born, held, signals).await;
}

/// What makes a new workspace one is on the disk, its file included, before anybody is told.
async fn settle_new<V: Vm>(guest: &mut Guest<V>, held: &Held) -> Result<(), Failure> {
    if !held.wants_sync() {
        return Ok(());
    }
    guest.sync().await?;
    let Some(layers) = held.workspace.as_ref().and_then(|workspace| workspace.head.parent()) else {
        return Ok(());
    };
    let synced = std::fs::File::open(layers).and_then(|directory| directory.sync_all());
    synced.map_err(|error| system("the workspace's disk cannot be stored", &error))
}

/// Waits until a client that starts something leaves, which calls it off. Nobody waits for a VM to be parked. Nothing
/// is sent before the answer to `Start`: a frame now is a mistake, and the end is the end.
async fn left(connection: &mut Connection, start: &Start) {
    if matches!(start.purpose, Purpose::Park { .. }) {
        return std::future::pending().await;
    }
    let _ = connection.frames.next().await;
}

/// Brings the VM up, unless its time is over before, the starter leaves or this process is told to end.
async fn bring_up<M: Vmm>(
    vmm: &M,
    told: Told<'_>,
    order: &Order,
    (held, born): (&Held, Instant),
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
    let mut on_vmm = |pid: u32| held.record_vmm(pid);
    let (place, workspace) = (&held.claim.place, held.workspace.as_ref());
    let bringup = Bringup { vmm, start, place, workspace, timeline, tell: &mut tell, on_vmm: &mut on_vmm };
    let called_off = tokio::select! {
        up = bringup.run() => return up,
        over = time_is_over(start, born) => over,
        () = left(connection, start) => failure(FailureCode::Stopped, "the client left"),
        () = signals.next() => failure(FailureCode::Stopped, "the supervisor was told to end"),
    };
    // Dropping the work has killed its VMM; nothing is removed before that is gone.
    childless(VMM_GONE_SECONDS_MAX).await;
    Err(called_off)
}

/// Drives a VM that is up until its end, then leaves nothing of it but its workspace.
async fn drive<V: Vm>(
    running: Running<V>,
    (connection, listener): (Connection, Option<UnixListener>),
    start: &Start,
    born: Instant,
    mut held: Held,
    signals: &mut Signals,
) {
    let Running { guest, continued, .. } = running;
    let (events, queue) = mpsc::channel(DRIVER_QUEUE_FRAMES);
    let mut starter = connection.client;
    starter.expect(Instant::now());
    tokio::spawn(relay(connection.frames, STARTER, events.clone()));
    let welcoming = listener.map(|listener| tokio::spawn(welcome(listener, events)));
    let session = held.workspace.as_ref().map(|workspace| Session {
        recorder: Recorder::new(
            Rc::clone(&held.store),
            workspace.claim.id.clone(),
            workspace.claim.place.clone(),
        ),
        shells: Shells::new(
            Rc::clone(&held.store),
            workspace.claim.id.clone(),
            workspace.claim.place.clone(),
        ),
        services: Services::new(
            Rc::clone(&held.store),
            workspace.claim.id.clone(),
            workspace.claim.place.clone(),
        ),
        layers: Layers::new(&held, workspace, &start.machine),
        is_ready: workspace.is_ready,
        is_seeding: false,
    });
    let is_shared = session.as_ref().is_some_and(|session| session.is_ready);
    let driver = Driver {
        vm_id: held.vm_id.clone(),
        accelerator: start.machine.accelerator,
        transport: start.machine.transport,
        vm: guest.vm,
        link: guest.link,
        // Once a workspace exists, its starter is a client like any other.
        starter: (!is_shared).then_some(STARTER),
        born,
        lifetime: lifetime(start, born),
        session,
        calls: Calls::default(),
        clients: HashMap::from([(STARTER, starter)]),
        followers: Followers::default(),
        transfers: Turns::default(),
        capture: None,
        held_back: None,
        clock: HostClock::now(),
        discards: false,
        is_stopped: false,
        ending: None,
    };
    let mut end = driver.run(queue, signals, &continued).await;
    // Who comes now finds no VM, and starts one.
    let _ = std::fs::remove_file(held.claim.place.socket());
    welcoming.inspect(|task| task.abort());
    if let Some(workspace) = held.workspace.as_mut() {
        workspace.is_ready = end.is_ready;
        if end.is_ready && end.wants_disk {
            settle(&mut end.vm, &mut end.link).await;
        }
    }
    end.vm.kill().await;
    let has_workspace = held.workspace.is_some();
    let released = held.release();
    farewell(&mut end, released);
    if !has_workspace {
        // A run has no other VM. Who comes too late to a workspace's starts another.
        answer_whoever_is_late(&end);
    }
    for (_, client) in end.clients {
        client.flush(FLUSH_SECONDS_MAX).await;
    }
}

/// Waits until the time of a VM is over that nobody uses yet, if it ever is.
async fn time_is_over(start: &Start, born: Instant) -> Failure {
    match lifetime(start, born).due(true) {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
    expired()
}

fn lifetime(start: &Start, born: Instant) -> Lifetime {
    let ttl = start.ttl_seconds.map(Duration::from_secs);
    match start.purpose {
        Purpose::Workspace(_) => Lifetime::Idle { ttl, since: Instant::now() },
        // A moment too far away for the clock never comes.
        _ => Lifetime::Until(ttl.and_then(|ttl| born.checked_add(ttl))),
    }
}

fn farewell<V>(end: &mut End<V>, released: Result<(), Failure>) {
    let stopped = end.stopper.take().map(|(owner, answer)| match released {
        Ok(()) => (owner, answer),
        Err(failure) => (owner, Reply::Failed(failure)),
    });
    let failed = Reply::Failed(end.failure.clone());
    let unanswered = end.unanswered.iter().map(|owner| (*owner, failed.clone()));
    for ((client, stream), answer) in unanswered.chain(stopped) {
        if let (Some(client), Some(frame)) = (end.clients.get(&client), reply(stream, &answer)) {
            let _ = client.outbox.send(frame);
        }
    }
}

/// Says last to every client why its connection ends: the answer to what it has asked for and nobody has read.
fn answer_whoever_is_late<V>(end: &End<V>) {
    if let Some(frame) = reply(StreamId::CONNECTION, &Reply::Failed(end.failure.clone())) {
        for client in end.clients.values() {
            let _ = client.outbox.send(frame.clone());
        }
    }
}

/// Takes further clients in.
async fn welcome(listener: UnixListener, events: mpsc::Sender<ClientEvent>) {
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
