//! The life of a parked VM: it waits to be taken, and becomes what its claimer wants.

use pyro_proto::shim::{Failure, FailureCode, Purpose, Reply, Start};
use pyro_vmm::{Flush, Vm};
use tokio::time::Instant;

use super::{Order, Visit, open, settle_new, time_is_over};
use crate::bringup::Running;
use crate::client::reply;
use crate::continued::Continued;
use crate::disks;
use crate::failure::{failure, vmm_failed};
use crate::guest::Guest;
use crate::held::Held;
use crate::identity;
use crate::limits::{CLAIMED_PREPARE_SECONDS_MAX, FLUSH_SECONDS_MAX};
use crate::parking::{self, Parked};
use crate::signals::Signals;
use crate::timeline::Timeline;

/// Waits to be taken, and becomes what its claimer wants.
pub(super) async fn park<V: Vm>(running: Running<V>, order: &Order, mut held: Held, signals: &mut Signals) {
    let Running { mut guest, on_disk, .. } = running;
    let parked = parking::wait(&mut guest, &held.claim.place, &order.start, signals).await;
    let taken = match parked {
        Ok(Parked::Taken(taken)) => *taken,
        Ok(Parked::Over) | Err(_) => {
            let _ = std::fs::remove_file(held.claim.place.socket());
            guest.vm.kill().await;
            let _ = held.release();
            return;
        }
        Ok(Parked::Ended(connection, stream)) => {
            let _ = std::fs::remove_file(held.claim.place.socket());
            guest.vm.kill().await;
            let answer = held.release().map_or_else(Reply::Failed, |()| Reply::Stopped);
            if let Some(frame) = reply(stream, &answer) {
                let _ = connection.client.outbox.send(frame);
            }
            return connection.client.flush(FLUSH_SECONDS_MAX).await;
        }
    };
    let mut timeline = Timeline::start();
    let (mut connection, stream, start) = (taken.connection, taken.stream, taken.start);
    let born = Instant::now();
    let become_it = async {
        become_wanted(&mut guest, &start, &mut held, on_disk.as_deref()).await?;
        timeline.step("prepare");
        held.announce()
    };
    let door = tokio::select! {
        door = become_it => door,
        over = time_is_over(&start, born) => Err(over),
        _ = connection.frames.next() => Err(failure(FailureCode::Stopped, "the client left")),
        () = signals.next() => Err(failure(FailureCode::Stopped, "the supervisor was told to end")),
    };
    let door = door.map(|()| Some(taken.listener));
    let running = Running { guest, continued: Continued::default(), on_disk };
    let visit = Visit { connection, stream, start: &start, born, timeline };
    open(running, visit, order, (held, door), signals).await;
}

/// Makes a parked VM what its claimer asked for: a run's, or that of a new workspace, on the disk that it has.
async fn become_wanted<V: Vm>(
    guest: &mut Guest<V>,
    start: &Start,
    held: &mut Held,
    on_disk: Option<&str>,
) -> Result<(), Failure> {
    let Purpose::Workspace(order) = &start.purpose else {
        held.become_run()?;
        return guest.prepare_within(CLAIMED_PREPARE_SECONDS_MAX, identity::of_vm(&start.vm_id)?).await;
    };
    held.become_workspace(start, order, on_disk).await?;
    let serial = disks::scratch_serial()?;
    guest.vm.set_flush(&serial, Flush::Honored).await.map_err(|error| vmm_failed(&error))?;
    let workspace = held.workspace.as_ref().map(identity::of_workspace).transpose()?;
    if let Some(prepare) = workspace {
        guest.prepare_within(CLAIMED_PREPARE_SECONDS_MAX, prepare).await?;
    }
    settle_new(guest, held).await
}
