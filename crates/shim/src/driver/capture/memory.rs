//! The memory's part of a capture.

use std::time::Instant;

use pyro_proto::shim::{Failure, FailureCode};
use pyro_proto::{Frame, Kind, StreamId};
use pyro_vmm::{Draft, TemplateKey, Vm, VmmError};
use tokio::task::spawn_blocking;

use super::{Advanced, Capture, Done, Purpose};
use crate::call::Step;
use crate::driver::{Driver, Fault};
use crate::failure::{failure, vmm_failed};

impl<V: Vm> Driver<V> {
    /// Copies what the VM's memory started as, which nothing changes, while the VM goes on.
    pub(super) fn begin_memory(&mut self) -> Result<(), Fault> {
        let begun = match &self.session {
            Some(session) => session.layers.birth().and_then(|birth| Ok((session.layers.draft()?, birth))),
            None => return Ok(()),
        };
        let ((draft, key), birth) = match begun {
            Ok(begun) => begun,
            Err(failure) => return self.end_capture(Err(failure)),
        };
        let copy = match self.vm.base_copy(&draft) {
            Ok(copy) => copy,
            Err(error) => return self.end_capture(Err(vmm_failed(&error))),
        };
        let making = self.session.as_ref().map(|session| session.layers.making());
        if let (Some(capture), Some(making)) = (&mut self.capture, making) {
            if let Some(memory) = &mut capture.memory {
                memory.draft = Some((draft, key));
                memory.birth = Some(birth);
            }
            capture.job = Some(spawn_blocking(move || {
                let layer = making()?;
                copy.run().map_err(|error| vmm_failed(&error))?;
                Ok(Done::Prepared(Box::new(layer)))
            }));
        }
        Ok(())
    }

    /// The image is stored; it is kept from here on.
    pub(super) fn stored(&mut self) -> Result<(), Fault> {
        let Some(capture) = &mut self.capture else { return Ok(()) };
        let kept = match (&self.session, &capture.purpose, &capture.sealed) {
            (Some(session), Purpose::Keep(kept_by), Some(sealed)) => {
                session.layers.keep(sealed, kept_by, capture.sizes())
            }
            _ => Ok(()),
        };
        self.end_after_release(kept)
    }

    /// The capture ends here, or when the guest goes on.
    pub(super) fn end_after_release(&mut self, result: Result<(), Failure>) -> Result<(), Fault> {
        let Some(capture) = &mut self.capture else { return Ok(()) };
        if capture.memory.as_ref().is_some_and(|memory| memory.is_released) {
            return self.end_capture(result);
        }
        capture.outcome = Some(result);
        Ok(())
    }

    /// Nothing of the guest's is far from its disk; now it is to fall silent.
    pub(super) fn silence(&mut self) -> Result<(), Fault> {
        if let Some(capture) = &mut self.capture {
            // Its commands stand from here on, or very soon.
            capture.stood_still = Some(Instant::now());
        }
        self.tell_guest(Frame { stream: StreamId::CONNECTION, kind: Kind::Barrier, payload: Vec::new() })?;
        self.ask_guest(Step::Hold)?;
        self.held_back = Some(Vec::new());
        Ok(())
    }

    /// Nothing is under way between guest and shim: the moment to stand still in.
    pub(super) async fn held(&mut self) -> Result<(), Fault> {
        let memory = self.capture.as_mut().and_then(|capture| capture.memory.as_mut());
        let Some((draft, key)) = memory.and_then(|memory| memory.draft.take()) else { return Ok(()) };
        self.vm.pause().await.map_err(|error| Fault::Guest(vmm_failed(&error)))?;
        self.is_stopped = true;
        let taken = match self.continued().write(&draft) {
            Ok(()) => self.take_memory(&draft).await?,
            Err(error) => Err(vmm_failed(&VmmError::Template(error))),
        };
        let is_pause = self.capture.as_ref().is_some_and(|capture| matches!(capture.purpose, Purpose::Pause));
        match taken {
            Ok(()) if is_pause => {
                self.store(draft, key);
                Ok(())
            }
            taken => self.go_on(taken.map(|()| (draft, key))).await,
        }
    }

    /// Seals the disk, and writes the memory that belongs to it. `Err` inside: there is no image, and the VM can go on.
    async fn take_memory(&mut self, draft: &Draft) -> Result<Result<(), Failure>, Fault> {
        if let Err(failure) = self.seal().await? {
            return Ok(Err(failure));
        }
        let copied = match self.vm.capture(draft).await {
            Ok(copied) => copied,
            Err(error) => return Ok(Err(vmm_failed(&error))),
        };
        if let Some(memory) = self.capture.as_mut().and_then(|capture| capture.memory.as_mut()) {
            memory.copied_bytes = copied.memory_bytes;
            memory.copied_in = copied.copied_in;
        }
        Ok(Ok(()))
    }

    /// Stores the image, in another thread: that is as much as the guest has memory.
    fn store(&mut self, draft: Draft, key: TemplateKey) {
        let Some(capture) = &mut self.capture else { return };
        capture.job = Some(spawn_blocking(move || {
            let stored = draft.finish(&key);
            stored.map(|_| Done::Stored).map_err(|error| vmm_failed(&VmmError::Template(error)))
        }));
    }

    /// The image of a paused workspace is stored: the record says so, and the VM ends. Whether a record that could not be made
    /// was made all the same, nobody knows; either is well, as long as the guest does not go on.
    pub(super) fn paused(&mut self) -> Result<Advanced, Fault> {
        let recorded = match (&self.session, &self.capture) {
            (Some(session), Some(Capture { sealed: Some(layer), .. })) => session.layers.pause(layer),
            _ => Err(failure(FailureCode::System, "the disk was not sealed")),
        };
        recorded.map_err(Fault::Guest)?;
        self.note_standstill();
        match self.capture.take() {
            Some(capture) => match capture.owner {
                Some(owner) => Ok(Advanced::Paused(owner, capture.captured())),
                None => Ok(Advanced::On),
            },
            None => Ok(Advanced::On),
        }
    }

    /// Lets the guest go on, and stores the image behind it.
    pub(super) async fn go_on(&mut self, taken: Result<(Draft, TemplateKey), Failure>) -> Result<(), Fault> {
        self.vm.resume().await.map_err(|error| Fault::Guest(vmm_failed(&error)))?;
        self.is_stopped = false;
        match taken {
            Ok((draft, key)) => self.store(draft, key),
            Err(failure) => {
                if let Some(capture) = &mut self.capture {
                    capture.outcome = Some(Err(failure));
                }
            }
        }
        self.speak_again_after_release()
    }

    /// The guest may speak, and so may the shim again.
    fn speak_again_after_release(&mut self) -> Result<(), Fault> {
        let held_back = self.held_back.take();
        self.ask_guest(Step::Release)?;
        self.send_all(held_back)
    }

    pub(super) fn speak_again(&mut self) -> Result<(), Fault> {
        let held_back = self.held_back.take();
        self.send_all(held_back)
    }

    fn send_all(&mut self, frames: Option<Vec<Frame>>) -> Result<(), Fault> {
        frames.into_iter().flatten().try_for_each(|frame| self.tell_guest(frame))
    }

    /// The guest goes on.
    pub(super) fn released(&mut self) -> Result<(), Fault> {
        self.note_standstill();
        let Some(capture) = &mut self.capture else { return Ok(()) };
        if let Some(outcome) = capture.outcome.take() {
            return self.end_capture(outcome);
        }
        // The image is still being stored.
        if let Some(memory) = &mut capture.memory {
            memory.is_released = true;
        }
        Ok(())
    }
}
