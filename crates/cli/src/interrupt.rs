//! The signals that end a command: Ctrl-C, `SIGTERM`, `SIGHUP`.

use std::sync::atomic::{AtomicI32, Ordering};

use pyro::{Code, Failure};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signal that this process was last asked to end by: its exit code tells, whatever was interrupted.
static LAST: AtomicI32 = AtomicI32::new(2);

/// The number of the signal that interrupted this process; that of Ctrl-C when there was none.
pub(crate) fn last() -> i32 {
    LAST.load(Ordering::Relaxed)
}

/// Waits for a signal that asks this process to end.
#[derive(Debug)]
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Interrupts {
    /// Takes the signals over from their default, which would end the process without cleaning up.
    pub(crate) fn install() -> std::io::Result<Interrupts> {
        Ok(Interrupts {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next such signal's number.
    pub(crate) async fn next(&mut self) -> i32 {
        let signal = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.hangup.recv() => SignalKind::hangup().as_raw_value(),
        };
        LAST.store(signal, Ordering::Relaxed);
        signal
    }
}

/// Does work that a signal may end at any of its awaits: what it holds is dropped, VMs included.
pub(crate) async fn unless_interrupted<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut interrupts = Interrupts::install()
        .map_err(|error| Failure::new(Code::System, "signals cannot be handled").because(error))?;
    tokio::select! {
        done = work => done,
        signal = interrupts.next() => {
            Err(Failure::new(Code::Interrupted, "the command was interrupted").because(format!("signal {signal}")))
        }
    }
}
