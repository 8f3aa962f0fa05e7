//! A command that runs.

use std::cell::Cell;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use pyro_proto::Channel;
use pyro_proto::agent::{Event, Exited, Input as HostInput};
use rustix::process::Pid;
use tokio::sync::{oneshot, watch};

use super::cgroup::Cgroup;
use super::child::signal_group;
use super::engine::{CallIo, Engine};
use super::outcome::{End, Killed, outcome};
use super::pump::{Input, Output};
use super::stdio::{Stdio, resize};
use crate::limits::SIGNAL_MAX;
use crate::watched::Watched;

const SIGKILL: u8 = 9;

/// A command between birth and reply. Dropped before its end, it is killed.
pub(crate) struct Running<'a> {
    engine: &'a Engine,
    pid: Pid,
    end: Option<oneshot::Receiver<End>>,
    stdio: Option<Stdio>,
    cgroup: Option<Cgroup>,
    born: Instant,
    is_over: Cell<bool>,
}

impl<'a> Running<'a> {
    /// Takes over a process that was just born.
    pub(crate) fn new(
        engine: &'a Engine,
        pid: Pid,
        stdio: Stdio,
        cgroup: Option<Cgroup>,
        born: Instant,
    ) -> Self {
        let end = Some(engine.reaper.enter(pid));
        Running { engine, pid, end, stdio: Some(stdio), cgroup, born, is_over: Cell::new(false) }
    }

    fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Streams until the first process has ended and all it wrote is sent.
    pub(crate) async fn see_through(&mut self, io: &CallIo, timeout: Option<Duration>) -> Exited {
        let (Some(end), Some(stdio)) = (self.end.take(), self.stdio.take()) else {
            return self.exited(End::Signal(SIGKILL), Killed::Asked);
        };
        let (ended, watch) = watch::channel(false);
        let Stdio { stdin, stdout, stderr, is_terminal } = stdio;
        let master = is_terminal.then(|| Rc::clone(&stdout));
        let input =
            Input { sink: stdin, is_terminal, stream: io.stream, mailbox: &io.mailbox, control: &io.control };
        let life = async {
            let (end, killed) = self.live(end, io, master, timeout).await;
            let exited = self.exited(end, killed);
            ended.send_replace(true);
            exited
        };
        let out = async {
            io.event(&Event::Started { pid: self.pid() }).await;
            self.output(io, stdout, Channel::Stdout, is_terminal).pump(watch.clone()).await;
        };
        let err = async {
            if let Some(stderr) = stderr {
                self.output(io, stderr, Channel::Stderr, false).pump(watch.clone()).await;
            }
        };
        let (exited, (), (), ()) = tokio::join!(life, out, err, input.pump(watch.clone()));
        exited
    }

    fn output<'b>(
        &'b self,
        io: &'b CallIo,
        source: Rc<Watched>,
        channel: Channel,
        is_terminal: bool,
    ) -> Output<'b> {
        Output {
            source,
            is_terminal,
            stream: io.stream,
            channel,
            mailbox: &io.mailbox,
            bulk: &io.bulk,
            buffer: &self.engine.buffer,
        }
    }

    /// Waits for the end of the first process, and does to it what the host and the clock ask for.
    async fn live(
        &self,
        mut end: oneshot::Receiver<End>,
        io: &CallIo,
        master: Option<Rc<Watched>>,
        timeout: Option<Duration>,
    ) -> (End, Killed) {
        let mut killed = Killed::No;
        let deadline = timeout.and_then(|timeout| tokio::time::Instant::now().checked_add(timeout));
        loop {
            tokio::select! {
                biased;
                end = &mut end => return (end.unwrap_or(End::Signal(SIGKILL)), killed),
                input = io.mailbox.input() => match input {
                    HostInput::Kill => {
                        self.kill();
                        killed = if killed == Killed::No { Killed::Asked } else { killed };
                    }
                    HostInput::Signal(signal) => self.signal(signal, master.as_deref()),
                    HostInput::Resize(size) => {
                        let _ = master.as_deref().map(|master| resize(master.get_ref(), size));
                    }
                },
                () = sleep_until(deadline), if killed == Killed::No => {
                    self.kill();
                    killed = Killed::TimedOut;
                }
            }
        }
    }

    fn exited(&self, end: End, killed: Killed) -> Exited {
        self.is_over.set(true);
        let out_of_memory_kills = self.cgroup.as_ref().map_or(0, Cgroup::out_of_memory_kills);
        Exited {
            outcome: outcome(end, killed, out_of_memory_kills),
            out_of_memory_kills,
            duration_us: u64::try_from(self.born.elapsed().as_micros()).unwrap_or(u64::MAX),
        }
    }

    fn signal(&self, signal: u8, master: Option<&Watched>) {
        if signal == 0 || signal > SIGNAL_MAX {
            return;
        }
        let foreground = master.and_then(|master| rustix::termios::tcgetpgrp(master.as_fd()).ok());
        signal_group(foreground.unwrap_or(self.pid), signal);
    }

    fn kill(&self) {
        let killed = self.cgroup.as_ref().map(Cgroup::kill);
        if !matches!(killed, Some(Ok(()))) {
            signal_group(self.pid, SIGKILL);
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.is_over.get() {
            self.kill();
        }
        self.engine.cgroups.borrow_mut().dispose(self.cgroup.take());
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
