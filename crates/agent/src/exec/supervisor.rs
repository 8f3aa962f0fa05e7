//! Sees processes through: a command once, a service as often as its policy says.
//!
//! ```text
//!   Exec   start ─► lives to its end ─► outputs emptied and ended ─► on the disk ─► reply
//!   Serve  start ─► lives, is probed ─► the rest of its tree ended ─┬─► the same
//!            ▲                                                      │
//!            └────────────────── pause ◄──────── its policy ────────┘
//! ```
//!
//! Before every start whoever holds the guest still for a copy is waited for. All lives of a service write into the same
//! two pipes: what one has left there comes before what the next one writes, and nobody waits for it to be read.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use pyro_proto::agent::{Event, Exec, Exited, Failure, FailureKind, Input, Reply, Service};
use pyro_proto::{Channel, Frame};
use tokio::time::Instant;

use super::backoff::Backoff;
use super::engine::{CallIo, Engine};
use super::policy::{Life, Next, next};
use super::probe::Prober;
use super::running::Stop;
use super::stdio::{self, ChildStdio};
use super::streams::carry;
use crate::failure::{failure, system};
use crate::limits::UNREADY_GRACE_SECONDS;
use crate::workspace::Workspace;

const SIGTERM: u8 = 15;

/// Waits until a process may be started, and gives the workspace it would work in.
pub(crate) trait Startable: AsyncFn() -> Result<Arc<Workspace>, Failure> {}
impl<T: AsyncFn() -> Result<Arc<Workspace>, Failure>> Startable for T {}

impl Engine {
    /// Runs a command to its end. What is left of it is cleared away only when the reply is on its way; what it has
    /// left running goes on, unless all of it was to be stopped. The reply waits for a workspace that is kept.
    pub(crate) async fn run(&self, exec: &Exec, io: &CallIo, startable: impl Startable) {
        let _foreground = exec.terminal.is_none().then(|| self.foreground.enter());
        let begun = self.may_start(&startable).await;
        match begun.and_then(|workspace| Ok((workspace, self.start_streamed(exec)?))) {
            Ok((workspace, (mut running, stdio))) => {
                if exec.terminal.is_some() && !exec.stdin {
                    // A terminal that nobody will type on: its reader is told so instead of waiting for ever.
                    let _ = io.mailbox.put_eof(Channel::Stdin);
                }
                let timeout = exec.timeout_ms.map(Duration::from_millis);
                let started = Event::Started { pid: running.pid() };
                let life = async {
                    let exited = running.live(Some(io), timeout, std::future::pending()).await;
                    match running.is_stopped() {
                        true => running.clear(Some(io)).await,
                        false => running.let_go(),
                    }
                    exited
                };
                let told = async { tokio::join!(biased; io.event(&started), life).1 };
                let makes_way_for = exec.terminal.as_ref().map(|_| &self.foreground);
                let exited = carry(stdio, io, &self.buffer, makes_way_for, told).await;
                self.finish(io, Reply::Exited(exited), Some(&workspace)).await;
            }
            Err(failure) => io.reply(&Reply::Failed(failure)).await,
        }
        self.prepare_next();
    }

    /// Keeps a service running until it is told to stop, or its policy does not start it again.
    pub(crate) async fn serve(&self, service: &Service, io: &CallIo, startable: impl Startable) {
        let (reply, workspace) = match stdio::pipes(false) {
            Ok((stdio, child)) => {
                let lives = self.lives(service, &child, io, &startable);
                carry(stdio, io, &self.buffer, Some(&self.foreground), lives).await
            }
            Err(error) => (Reply::Failed(system(error.what, error.errno)), None),
        };
        self.finish(io, reply, workspace.as_ref()).await;
        self.prepare_next();
    }

    /// One life after the other; gives what came of the last, and where.
    async fn lives(
        &self,
        service: &Service,
        child: &ChildStdio,
        io: &CallIo,
        startable: &impl Startable,
    ) -> (Reply, Option<Arc<Workspace>>) {
        let mut prober = Prober::new(self, service);
        let (mut backoff, mut was_ready) = (Backoff::default(), false);
        let (mut last, mut workspace) = (None, None);
        loop {
            let may_start = tokio::select! {
                biased;
                () = told_to_stop(io) => return (stopped(last), workspace),
                may_start = self.may_start(startable) => may_start,
            };
            let life = match may_start {
                Ok(here) => {
                    workspace = Some(here);
                    self.life(service, child, io, &mut prober, startable).await
                }
                Err(failure) => Err(failure),
            };
            let ready_for = life.as_ref().ok().and_then(|life| life.ready_for);
            was_ready |= ready_for.is_some();
            last = life.as_ref().ok().map(|life| life.exited).or(last);
            let ended = match next(service.restart, was_ready, life) {
                Next::Over(reply) => return (reply, workspace),
                Next::Again(ended) => ended,
            };
            let pause = backoff.next(ready_for);
            let delay_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            io.event(&Event::Restarting { ended, delay_ms }).await;
            if tokio::time::timeout(pause, told_to_stop(io)).await.is_ok() {
                return (stopped(last), workspace);
            }
        }
    }

    /// From a start to the end of all that was started by it.
    async fn life(
        &self,
        service: &Service,
        child: &ChildStdio,
        io: &CallIo,
        prober: &mut Prober<'_>,
        startable: &impl Startable,
    ) -> Result<Life, Failure> {
        if let Some(why) = prober.taken().await {
            return Err(failure(FailureKind::AddressTaken, why));
        }
        prober.look_before().await;
        self.may_start(startable).await?;
        let mut running = self.start(&service.command, child)?;
        let started = Event::Started { pid: running.pid() };
        let (ready_since, unready) = (Cell::new(None), Cell::new(None));
        let watcher = async {
            match prober.until_ready(startable).await {
                Ok(()) => {
                    io.event(&Event::Ready).await;
                    ready_since.set(Some(Instant::now()));
                    std::future::pending().await
                }
                Err(why) => unready.set(Some(why)),
            }
            Stop { signal: SIGTERM, grace: UNREADY_GRACE_SECONDS }
        };
        let life = async {
            let exited = running.live(Some(io), None, watcher).await;
            let ready_for = ready_since.get().map(|since: Instant| since.elapsed());
            running.clear(Some(io)).await;
            (exited, ready_for)
        };
        let ((), (exited, ready_for)) = tokio::join!(biased; io.event(&started), life);
        Ok(Life { exited, ready_for, unready: unready.take(), is_called_off: running.is_called_off() })
    }

    /// Waits until a process may be started: now, before anything else is waited for.
    pub(super) async fn may_start(&self, startable: &impl Startable) -> Result<Arc<Workspace>, Failure> {
        loop {
            let workspace = startable().await?;
            if !self.halt.is_on() {
                return Ok(workspace);
            }
            self.halt.is_over().await;
        }
    }

    /// Ends the outputs, and replies when what was written is on the disk.
    async fn finish(&self, io: &CallIo, reply: Reply, workspace: Option<&Arc<Workspace>>) {
        io.bulk.send(Frame::eof(io.stream, Channel::Stdout)).await;
        io.bulk.send(Frame::eof(io.stream, Channel::Stderr)).await;
        let settled = match workspace {
            Some(workspace) => workspace.settle().await,
            None => Ok(()),
        };
        io.reply(&settled.map_or_else(Reply::Failed, |()| reply)).await;
        tokio::task::yield_now().await;
    }
}

/// The reply of a service that was stopped while none of its processes ran.
fn stopped(last: Option<Exited>) -> Reply {
    match last {
        Some(exited) => Reply::Exited(exited),
        None => Reply::Failed(failure(FailureKind::Canceled, "it was stopped before it was started")),
    }
}

/// Waits for an order to stop while nothing runs that other orders could be for.
async fn told_to_stop(io: &CallIo) {
    while !matches!(io.mailbox.input().await, Input::Stop { .. } | Input::Kill) {}
}
