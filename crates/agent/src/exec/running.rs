//! A command that runs: its first process is waited for, and all that it has started obeys.

use std::rc::Rc;
use std::time::{Duration, Instant};

use pyro_proto::agent::{Exited, Input};
use rustix::process::Pid;
use tokio::sync::oneshot;
use tokio::time::Instant as Moment;

use super::child::signal_group;
use super::engine::CallIo;
use super::outcome::{End, Killed, outcome};
use super::stdio::resize;
use super::tree::Tree;
use crate::limits::{KILLED_SECONDS_MAX, SIGNAL_MAX};
use crate::watched::Watched;

const SIGKILL: u8 = 9;

/// A command between birth and reply. Dropped before it is over, it is killed.
pub(super) struct Running<'a> {
    tree: Tree<'a>,
    end: oneshot::Receiver<End>,
    /// Our side of its terminal, if it has one.
    master: Option<Rc<Watched>>,
    born: Instant,
    killed: Killed,
    /// Until when all of it may go on after it was told to stop.
    stop_by: Option<Moment>,
    is_called_off: bool,
}

/// An order to stop a tree: a signal, and a while until it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) signal: u8,
    pub(super) grace: Duration,
}

/// What happens to a command while it runs.
enum News {
    Ended(End),
    Input(Input),
    Stop(Stop),
    GraceOver,
    TimeOver,
}

impl<'a> Running<'a> {
    /// Takes over a process that was just born.
    pub(super) fn new(
        tree: Tree<'a>,
        end: oneshot::Receiver<End>,
        master: Option<Rc<Watched>>,
        born: Instant,
    ) -> Self {
        let (killed, stop_by, is_called_off) = (Killed::No, None, false);
        Running { tree, end, master, born, killed, stop_by, is_called_off }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.tree.first().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs())
    }

    /// Waits for the end of the first process, and does to it what its host, the clock and who watches it ask for.
    /// A command that nobody steers has no host.
    pub(super) async fn live(
        &mut self,
        io: Option<&CallIo>,
        timeout: Option<Duration>,
        watcher: impl Future<Output = Stop>,
    ) -> Exited {
        let deadline = timeout.and_then(|timeout| Moment::now().checked_add(timeout));
        let mut is_watched = true;
        tokio::pin!(watcher);
        loop {
            let is_killed = self.killed != Killed::No;
            let news = tokio::select! {
                biased;
                end = &mut self.end => News::Ended(end.unwrap_or(End::Signal(SIGKILL))),
                input = input(io) => News::Input(input),
                stop = &mut watcher, if is_watched => News::Stop(stop),
                () = sleep_until(self.stop_by), if !is_killed => News::GraceOver,
                () = sleep_until(deadline), if !is_killed => News::TimeOver,
            };
            match news {
                News::Ended(end) => return self.exited(end),
                News::Input(input) => self.obey(input),
                News::Stop(stop) => {
                    is_watched = false;
                    self.stop(stop);
                }
                News::GraceOver => self.kill(Killed::Asked),
                News::TimeOver => self.kill(Killed::TimedOut),
            }
        }
    }

    /// Has what is left of its tree end, at the latest when it was to have stopped by, and waits until it has.
    pub(super) async fn clear(&mut self, io: Option<&CallIo>) {
        loop {
            let news = tokio::select! {
                biased;
                () = self.tree.is_gone() => break,
                input = input(io) => News::Input(input),
                () = sleep_until(Some(self.stop_by.unwrap_or_else(Moment::now))) => News::GraceOver,
            };
            if let News::Input(input) = news {
                self.obey(input);
                continue;
            }
            self.tree.kill();
            // What hangs in the kernel is swept when it does not any more.
            let _ = tokio::time::timeout(KILLED_SECONDS_MAX, self.tree.is_gone()).await;
            break;
        }
        self.let_go();
    }

    /// Lets what is left of its tree go on.
    pub(super) fn let_go(&mut self) {
        self.tree.let_go();
    }

    /// Whether all of it was told to stop, by whomever.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop_by.is_some()
    }

    /// Whether its host has told it to stop, or killed it.
    pub(super) fn is_called_off(&self) -> bool {
        self.is_called_off
    }

    fn obey(&mut self, input: Input) {
        match input {
            Input::Kill => {
                self.is_called_off = true;
                self.stop_by = self.stop_by.map(|_| Moment::now());
                self.kill(Killed::Asked);
            }
            Input::Stop { signal, grace_ms } => {
                self.is_called_off = true;
                self.stop(Stop { signal, grace: Duration::from_millis(grace_ms) });
            }
            Input::Signal(signal) => self.signal(signal),
            Input::Resize(size) => {
                let _ = self.master.as_deref().map(|master| resize(master.get_ref(), size));
            }
        }
    }

    /// Tells the whole tree to stop; the sooner of two orders counts.
    fn stop(&mut self, Stop { signal, grace }: Stop) {
        if signal == SIGKILL {
            self.kill(Killed::Asked);
        } else if (1..=SIGNAL_MAX).contains(&signal) {
            self.tree.signal(signal);
        }
        let by = Moment::now().checked_add(grace);
        self.stop_by = match (self.stop_by, by) {
            (Some(before), Some(by)) => Some(before.min(by)),
            (before, by) => before.or(by),
        };
    }

    fn signal(&self, signal: u8) {
        if !(1..=SIGNAL_MAX).contains(&signal) {
            return;
        }
        let foreground = self.master.as_ref().and_then(|master| rustix::termios::tcgetpgrp(&**master).ok());
        let group: Option<Pid> = foreground.or_else(|| self.tree.first());
        if let Some(group) = group {
            signal_group(group, signal);
        }
    }

    /// The first reason for a kill is the one that is told.
    fn kill(&mut self, why: Killed) {
        self.tree.kill();
        if self.killed == Killed::No {
            self.killed = why;
        }
    }

    fn exited(&mut self, end: End) -> Exited {
        self.tree.first_is_gone();
        let out_of_memory_kills = self.tree.out_of_memory_kills();
        Exited {
            outcome: outcome(end, self.killed, out_of_memory_kills),
            out_of_memory_kills,
            duration_us: u64::try_from(self.born.elapsed().as_micros()).unwrap_or(u64::MAX),
        }
    }
}

/// Waits for what a host wants of its command.
async fn input(io: Option<&CallIo>) -> Input {
    match io {
        Some(io) => io.mailbox.input().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<Moment>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
