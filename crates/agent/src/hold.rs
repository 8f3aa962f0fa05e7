//! The silence of both lanes, for a copy of the guest's memory that another host will speak to.
//!
//! ```text
//!   host: Barrier (bulk), Hold (control) ──► commands are stopped ──► control says all, and a grant of nothing
//!         ──► bulk says all, and Held
//! ```
//!
//! The lanes are not ordered among each other: the barrier shows that the host's bulk lane is empty, the grant
//! that the agent's control lane is, and [`Reply::Held`] that its bulk lane is.

use pyro_proto::agent::{Failure, FailureKind, Reply};
use pyro_proto::{Channel, Frame, Kind, PayloadError, encode};
use tokio::sync::watch;

use crate::exec::{CallIo, Engine};
use crate::failure::failure;
use crate::lane::Kept;

/// Holds of one host.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// How many barriers came, and how many holds.
    barriers: watch::Sender<u32>,
    holds: u32,
    keeper: Option<watch::Sender<()>>,
}

/// A hold that was asked for.
#[derive(Debug)]
pub(crate) struct Hold {
    barriers: watch::Receiver<u32>,
    /// The barrier that belongs to it.
    number: u32,
    /// None for one that was asked for while another lasts.
    kept: Option<Kept>,
    held: Frame,
    io: CallIo,
}

impl Holds {
    /// Takes a barrier; false when the one before has not had its hold.
    pub(crate) fn take_barrier(&mut self) -> bool {
        if *self.barriers.borrow() > self.holds {
            return false;
        }
        self.barriers.send_modify(|barriers| *barriers += 1);
        true
    }

    /// Begins a hold, to be seen through by [`Hold::run`].
    pub(crate) fn begin(&mut self, io: CallIo) -> Result<Hold, PayloadError> {
        let held = Frame { stream: io.stream, kind: Kind::Reply, payload: encode(&Reply::Held)? };
        self.holds += 1;
        let kept = self.keeper.is_none().then(|| {
            let (keeper, kept) = watch::channel(());
            self.keeper = Some(keeper);
            kept
        });
        Ok(Hold { barriers: self.barriers.subscribe(), number: self.holds, kept, held, io })
    }

    /// Whether a hold lasts, or is about to.
    pub(crate) fn is_kept(&self) -> bool {
        self.keeper.is_some()
    }

    /// Ends the hold; false when there is none.
    pub(crate) fn release(&mut self) -> bool {
        self.keeper.take().is_some()
    }
}

impl Hold {
    /// Stops all commands and silences both lanes, or says why not.
    pub(crate) async fn run(self, engine: &Engine) {
        let Hold { mut barriers, number, kept, held, io } = self;
        let Some(mut kept) = kept else {
            return io.reply(&Reply::Failed(refused())).await;
        };
        let all_came = tokio::select! {
            all_came = barriers.wait_for(|barriers| *barriers >= number) => all_came.is_ok(),
            _ = kept.changed() => false,
        };
        if all_came {
            engine.halt().await;
        }
        let nothing = Frame::credit(io.stream, Channel::Stdin, 0);
        let is_silent =
            all_came && io.control.silence(nothing, kept.clone()).await && io.bulk.silence(held, kept).await;
        if !is_silent {
            engine.go_on();
            io.reply(&Reply::Failed(failure(FailureKind::Canceled, "called off"))).await;
        }
    }
}

fn refused() -> Failure {
    failure(FailureKind::Refused, "the lanes are held already")
}
