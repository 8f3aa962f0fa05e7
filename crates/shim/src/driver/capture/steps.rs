//! What follows when the guest has done a step of a capture.

use std::time::Instant;

use pyro_proto::agent::{self, Written};
use pyro_proto::shim::{Failure, FailureCode};
use pyro_vmm::{QmpError, Vm, VmmError};

use super::{Advanced, Done, Due, Purpose};
use crate::call::Step;
use crate::disks::scratch_serial;
use crate::driver::from_guest::out_of_turn;
use crate::driver::{Driver, Fault};
use crate::failure::{agent_failed, failure, vmm_failed};
use crate::layers::{KeptBy, Sizes};

impl<V: Vm> Driver<V> {
    /// Whether the main loop has something to do for a capture.
    pub(in crate::driver) fn has_step_due(&self) -> bool {
        self.capture.as_ref().is_some_and(|capture| !capture.due.is_empty())
    }

    /// Goes on with a capture.
    pub(in crate::driver) async fn advance(&mut self) -> Result<Advanced, Fault> {
        let due = self.capture.as_mut().and_then(|capture| capture.due.pop_front());
        match due {
            Some(Due::Guest(step, answer)) => self.after_step(step, answer).await,
            Some(Due::Job(done)) => self.after_job(done).await,
            None => Ok(Advanced::On),
        }
    }

    async fn after_step(&mut self, step: Step, answer: agent::Reply) -> Result<Advanced, Fault> {
        match (step, answer) {
            (Step::Freeze, agent::Reply::Frozen(written)) => self.frozen(written).await?,
            (Step::Thaw, agent::Reply::Thawed) => self.thawed()?,
            (Step::Sync, agent::Reply::Synced(written)) => self.synced(written)?,
            (Step::Hold, agent::Reply::Held) => self.held().await?,
            (Step::Release, agent::Reply::Released) => self.released()?,
            // A guest that is not let go on is of no use to anybody.
            (Step::Thaw | Step::Release, agent::Reply::Failed(error)) => {
                return Err(Fault::Guest(agent_failed(&error)));
            }
            (Step::Hold, agent::Reply::Failed(error)) => {
                self.speak_again()?;
                self.end_capture(Err(agent_failed(&error)))?;
            }
            (_, agent::Reply::Failed(error)) => self.end_capture(Err(agent_failed(&error)))?,
            _ => return Err(out_of_turn(pyro_proto::Kind::Reply)),
        }
        Ok(Advanced::On)
    }

    async fn after_job(&mut self, done: Result<Done, Failure>) -> Result<Advanced, Fault> {
        let Some(capture) = &mut self.capture else { return Ok(Advanced::On) };
        let is_pause = matches!(capture.purpose, Purpose::Pause);
        match done {
            Ok(Done::Prepared(layer)) => {
                capture.layer = Some(*layer);
                match (&capture.memory, capture.is_synced) {
                    (Some(_), _) => self.ask_guest(Step::Sync)?,
                    (None, true) => self.ask_guest(Step::Freeze)?,
                    (None, false) => {} // it is on its way
                }
            }
            Ok(Done::Stored) if is_pause => return self.paused(),
            Ok(Done::Stored) => self.stored()?,
            Err(failure) if self.is_stopped => self.go_on(Err(failure)).await?,
            Err(failure) if capture.sealed.is_some() => self.end_after_release(Err(failure))?,
            Err(failure) => self.end_capture(Err(failure))?,
        }
        Ok(Advanced::On)
    }

    /// What the guest held for its disk is written.
    fn synced(&mut self, written: Written) -> Result<(), Fault> {
        let Some(capture) = &mut self.capture else { return Ok(()) };
        (capture.written, capture.is_synced) = (written, true);
        match (&capture.memory, &capture.layer) {
            (Some(_), _) => self.silence(),
            (None, Some(_)) => self.ask_guest(Step::Freeze),
            (None, None) => Ok(()), // the layer is being made
        }
    }

    async fn frozen(&mut self, written: Written) -> Result<(), Fault> {
        let began = Instant::now();
        if let Some(capture) = &mut self.capture {
            let before = capture.written;
            capture.written = Written {
                bytes: before.bytes.saturating_add(written.bytes),
                duration_us: before.duration_us.saturating_add(written.duration_us),
                entries: written.entries,
            };
            capture.stood_still = Some(began);
        }
        let outcome = self.seal().await?;
        if let Some(capture) = &mut self.capture {
            capture.outcome = Some(outcome);
        }
        self.ask_guest(Step::Thaw)
    }

    fn thawed(&mut self) -> Result<(), Fault> {
        let Some(capture) = &mut self.capture else { return Ok(()) };
        let outcome = capture.outcome.take().unwrap_or(Ok(()));
        self.note_standstill();
        self.end_capture(outcome)
    }

    /// The guest goes on: it has been still for so long, and nobody may blame it for that.
    pub(super) fn note_standstill(&mut self) {
        let Some(capture) = &mut self.capture else { return };
        capture.standstill = capture.stood_still.take().map(|since| since.elapsed()).unwrap_or_default();
        self.calls.postpone(capture.standstill);
    }

    /// The VM writes to a new layer from here on, and the record says so. `Err` inside: it could not be made, and
    /// nothing has changed.
    pub(super) async fn seal(&mut self) -> Result<Result<(), Failure>, Fault> {
        let (Some(session), Some(capture)) = (&mut self.session, &mut self.capture) else {
            return Ok(Ok(()));
        };
        let serial = match scratch_serial() {
            Ok(serial) => serial,
            Err(failure) => return Ok(Err(failure)),
        };
        let Some(mut layer) = capture.layer.take() else {
            return Ok(Err(failure(FailureCode::System, "the layer was not made")));
        };
        match self.vm.add_layer(&serial, &layer.path).await {
            Ok(()) => {}
            Err(error) if leaves_disk(&error) => return Ok(Err(vmm_failed(&error))),
            // Nobody knows where it writes: the VM has been ended.
            Err(error) => return Err(Fault::Guest(vmm_failed(&error))),
        }
        let recorded = match &capture.purpose {
            Purpose::Baseline(tally) => {
                let seeded = Sizes { entries: tally.entries, bytes: tally.bytes };
                session.layers.record_baseline(&mut layer, seeded)
            }
            // With memory, it is kept once the memory is stored.
            Purpose::Keep(kept_by) if capture.memory.is_none() => {
                session.layers.record(&mut layer, Some(kept_by), capture.sizes())
            }
            Purpose::Keep(_) | Purpose::Pause => session.layers.record(&mut layer, None, capture.sizes()),
        };
        capture.sealed = Some(recorded.map_err(Fault::Guest)?);
        let sealed = capture.sealed.clone();
        match (&capture.purpose, sealed) {
            (Purpose::Baseline(_), _) => {
                session.recorder.commit(&self.vm_id).map_err(Fault::Guest)?;
                session.is_ready = true;
                self.starter = None;
            }
            (Purpose::Keep(KeptBy::Hold(token)), Some(layer)) if capture.memory.is_none() => {
                let kept = session.layers.keep(&layer, &KeptBy::Hold(token.clone()), capture.sizes());
                return Ok(kept);
            }
            _ => {}
        }
        Ok(Ok(()))
    }
}

/// Whether a layer that could not be added has left the disk as it was ([`Vm::add_layer`]).
fn leaves_disk(error: &VmmError) -> bool {
    matches!(
        error,
        VmmError::Qmp(QmpError::Refused { .. })
            | VmmError::NoSuchDisk { .. }
            | VmmError::Open { .. }
            | VmmError::Machine(_)
    )
}
