//! Trees on their way between a client's files and a workspace.
//!
//! Inward, a thread reads the source and this task feeds what it gives into the call as fast as the guest takes
//! it. Outward, every record is handed to its taker before the next is asked for, so that a slow disk slows
//! the guest and nothing piles up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pyro_proto::agent::{Input, Tally};
use pyro_proto::tree::{Record, TreeDecoder};
use pyro_proto::{Channel, shim};
use tokio::sync::mpsc;

use crate::connection::{Call, Connection, News, unexpected};
use crate::limits::TREE_PIECES_AHEAD;
use crate::{Code, Failure};

/// The far side of a source: takes pieces of a tree stream, and tells when nobody wants them any more.
pub(crate) type Pieces = mpsc::Sender<Vec<u8>>;

impl Connection {
    /// Sends a tree. `source` runs on a thread of its own; what it fails with goes before what the guest says.
    pub(crate) async fn send_tree(
        &mut self,
        transfer: shim::Transfer,
        source: impl FnOnce(Pieces) -> Result<(), Failure> + Send + 'static,
    ) -> Result<Tally, Failure> {
        let mut call = self.call(&shim::Request::Transfer(transfer))?;
        let (sender, mut pieces) = mpsc::channel(TREE_PIECES_AHEAD);
        let mut reading = tokio::task::spawn_blocking(move || source(sender));
        let mut waiting: Vec<u8> = Vec::new();
        let mut is_whole = false;
        loop {
            feed(&mut call, &mut waiting)?;
            tokio::select! {
                piece = pieces.recv(), if waiting.is_empty() && !is_whole => match piece {
                    Some(piece) => waiting = piece,
                    None => {
                        if let Err(failure) = read(&mut reading).await {
                            call_off(&mut call).await;
                            return Err(failure);
                        }
                        call.close()?;
                        is_whole = true;
                    }
                },
                news = call.next() => if let News::Reply(reply) = news? {
                    // A source that still reads ends at its next piece.
                    return outcome(reply);
                },
            }
        }
    }

    /// Receives a tree; `take` gets every record but the end.
    pub(crate) async fn receive_tree(
        &mut self,
        transfer: shim::Transfer,
        mut take: impl FnMut(Record) -> Result<(), Failure>,
    ) -> Result<Tally, Failure> {
        let mut call = self.call(&shim::Request::Transfer(transfer))?;
        let mut decoder = TreeDecoder::default();
        loop {
            match call.next().await? {
                News::Data(Channel::Stdout, bytes) => {
                    decoder.push(&bytes);
                    if let Err(failure) = drain(&mut decoder, &mut take) {
                        call_off(&mut call).await;
                        return Err(failure);
                    }
                }
                News::Reply(reply) => {
                    let tally = outcome(reply)?;
                    return if decoder.has_ended() { Ok(tally) } else { Err(malformed(&"it was cut")) };
                }
                News::Data(..) | News::Room | News::Event(_) => {}
            }
        }
    }
}

/// How far a source was read, for whoever shows it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Bytes read: of files, or of the archive as it lies on the disk.
    pub fn done(&self) -> u64 {
        self.0.done.load(Ordering::Relaxed)
    }

    /// Bytes to be read in all; zero until that is known.
    pub fn total(&self) -> u64 {
        self.0.total.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, done: u64, total: u64) {
        self.0.done.store(done, Ordering::Relaxed);
        self.0.total.store(total, Ordering::Relaxed);
    }
}

fn feed(call: &mut Call<'_>, waiting: &mut Vec<u8>) -> Result<(), Failure> {
    let mut sent = 0;
    while sent < waiting.len() && call.room() > 0 {
        let end = waiting.len().min(sent + call.room());
        call.send(waiting.get(sent..end).unwrap_or_default())?;
        sent = end;
    }
    waiting.drain(..sent);
    Ok(())
}

async fn read(reading: &mut tokio::task::JoinHandle<Result<(), Failure>>) -> Result<(), Failure> {
    match reading.await {
        Ok(result) => result,
        Err(error) => Err(Failure::new(Code::System, "reading the source failed")
            .because(error)
            .fix("run the command again")),
    }
}

/// Tells the guest to undo what it has of a transfer, and waits until it has.
async fn call_off(call: &mut Call<'_>) {
    if call.steer(Input::Kill).is_ok() {
        while let Ok(news) = call.next().await {
            if let News::Reply(_) = news {
                return;
            }
        }
    }
}

fn drain(
    decoder: &mut TreeDecoder,
    take: &mut impl FnMut(Record) -> Result<(), Failure>,
) -> Result<(), Failure> {
    while let Some(record) = decoder.next_record().map_err(|error| malformed(&error))? {
        if record.item != pyro_proto::tree::Item::End {
            take(record)?;
        }
    }
    Ok(())
}

fn outcome(reply: shim::Reply) -> Result<Tally, Failure> {
    match reply {
        shim::Reply::Transferred(tally) => Ok(tally),
        shim::Reply::Refused(failure) => Err(failure.into()),
        shim::Reply::Failed(failure) => Err(failure.into()),
        other => Err(unexpected(&other)),
    }
}

/// What the guest sent is no tree.
pub(crate) fn malformed(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Code::GuestFaulty, "the guest sent a malformed tree")
        .because(error)
        .fix("what ran in this workspace tampered with its agent: trust nothing of it")
}
