//! Calls that carry a tree: the event loop's side, between a call's windows and the thread that does the work.
//!
//! A call that is dropped (its host is gone) drops its end of the queue, and the work is called off by that.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyro_proto::agent::Input;
use pyro_proto::limits::DATA_BYTES_MAX;
use pyro_proto::{Channel, Frame};
use rustix::io::Errno;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::error::WorkspaceError;
use super::inlet::{Fed, Inlet, inlet};
use super::outlet::{Outlet, outlet};
use crate::exec::CallIo;
use crate::mailbox::Stdin;

/// Waits for a place among the transfers, unless the host calls it off before.
pub(crate) async fn place(
    io: &CallIo,
    places: &Arc<Semaphore>,
) -> Result<OwnedSemaphorePermit, WorkspaceError> {
    tokio::select! {
        biased;
        () = called_off(io) => Err(WorkspaceError::Canceled),
        place = Arc::clone(places).acquire_owned() => place.map_err(|_| WorkspaceError::Canceled),
    }
}

/// Hands the call's standard input to `work`, and waits for what comes of it.
pub(crate) async fn receive<T: Send + 'static>(
    io: &CallIo,
    work: impl FnOnce(Inlet) -> Result<T, WorkspaceError> + Send + 'static,
) -> Result<T, WorkspaceError> {
    let canceled = Arc::new(AtomicBool::new(false));
    let (sender, inlet) = inlet(&canceled);
    let mut work = tokio::task::spawn_blocking(move || work(inlet));
    let feeding = async {
        tokio::select! {
            never = feed(io, sender) => match never {},
            () = called_off(io) => canceled.store(true, Ordering::Relaxed),
        }
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        done = &mut work => done.unwrap_or_else(|_| Err(thread_ended())),
        never = feeding => match never {},
    }
}

/// Sends what `work` gives on the call's standard output, and waits for its end.
pub(crate) async fn send<T: Send + 'static>(
    io: &CallIo,
    work: impl FnOnce(Outlet) -> Result<T, WorkspaceError> + Send + 'static,
) -> Result<T, WorkspaceError> {
    let canceled = Arc::new(AtomicBool::new(false));
    let (outlet, receiver) = outlet(&canceled);
    let work = tokio::task::spawn_blocking(move || work(outlet));
    tokio::select! {
        biased;
        () = called_off(io) => canceled.store(true, Ordering::Relaxed),
        () = drain(io, receiver) => {}
    }
    joined(work).await
}

/// Does blocking work that no host can call off.
pub(crate) async fn settle<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkspaceError> + Send + 'static,
) -> Result<T, WorkspaceError> {
    joined(tokio::task::spawn_blocking(work)).await
}

async fn joined<T>(work: JoinHandle<Result<T, WorkspaceError>>) -> Result<T, WorkspaceError> {
    work.await.unwrap_or_else(|_| Err(thread_ended()))
}

fn thread_ended() -> WorkspaceError {
    WorkspaceError::System { what: "the transfer's thread ended".to_owned(), errno: Errno::CANCELED }
}

async fn called_off(io: &CallIo) {
    while io.mailbox.input().await != Input::Kill {}
}

/// What the work does not want any more is dropped, and credit given all the same: a host is never left waiting.
async fn feed(io: &CallIo, sender: mpsc::Sender<Fed>) -> Infallible {
    loop {
        let Stdin::Bytes(bytes) = io.mailbox.stdin().await else { break };
        let count = bytes.len();
        let _ = sender.send(Fed::Bytes(bytes)).await;
        if let Some(grant) = io.mailbox.stdin_consumed(count) {
            io.control.send(Frame::credit(io.stream, Channel::Stdin, grant)).await;
        }
    }
    let _ = sender.send(Fed::End).await;
    // The queue stays open: its end would mean that the work is called off.
    std::future::pending().await
}

async fn drain(io: &CallIo, mut receiver: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = receiver.recv().await {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let room = io.mailbox.room(Channel::Stdout).min(DATA_BYTES_MAX);
            if room == 0 {
                io.mailbox.granted(Channel::Stdout).await;
                continue;
            }
            let (now, later) = rest.split_at(room.min(rest.len()));
            io.mailbox.spend(Channel::Stdout, now.len());
            io.bulk.send(Frame::data(io.stream, Channel::Stdout, now)).await;
            rest = later;
        }
    }
}
