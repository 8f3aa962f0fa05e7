//! The baseline of a new workspace, from a stream.

use pyro_proto::agent::Tally;
use pyro_proto::tree::Item;

use super::disk::Disk;
use super::error::WorkspaceError;
use super::inlet::Inlet;
use super::order::{Order, Purpose};
use super::writer::{Parents, Writer};

/// Fills and seals the baseline; one that does not become whole is emptied again.
pub(crate) fn seed(disk: &Disk, inlet: &mut Inlet) -> Result<Tally, WorkspaceError> {
    disk.clear_baseline()?;
    let seeded = fill(disk, inlet).and_then(|tally| disk.seal().map(|()| tally));
    if seeded.is_err() {
        // What cannot be removed now is removed before the next try.
        let _ = disk.clear_baseline();
    }
    seeded
}

fn fill(disk: &Disk, inlet: &mut Inlet) -> Result<Tally, WorkspaceError> {
    let mut order = Order::new(Purpose::Seed);
    let mut writer = Writer::new(disk.baseline()?, Parents::Demanded);
    loop {
        let record = inlet.next()?;
        order.take(&record.item)?;
        if record.item == Item::End {
            break;
        }
        writer.write(&record)?;
    }
    inlet.finish()?;
    let (_, tally) = writer.finish()?;
    Ok(tally)
}
