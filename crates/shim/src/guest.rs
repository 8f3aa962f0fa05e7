//! A VM and the way to its agent, before anybody else may talk to it: requests with a bound on every wait, which
//! races with the VM's end.

use std::time::Duration;

use pyro_proto::agent::{self, Exec, Outcome, Prepare};
use pyro_proto::shim::Failure;
use pyro_vmm::{GuestChannels, Vm};
use tokio::time::Instant;

use crate::failure::{agent_failed, failure, guest_silent, link_failed, vm_ended};
use crate::identity::realtime_ns;
use crate::limits::{CLOCK_ANSWER_MS_MAX, CLOCK_TRIES_MAX, PREPARE_SECONDS_MAX, WARM_UP_MS_MAX};
use crate::link::{AgentLink, LinkError};

/// A VM and the way to its agent.
#[derive(Debug)]
pub(crate) struct Guest<V> {
    pub(crate) vm: V,
    pub(crate) link: AgentLink,
}

impl<V: Vm> Guest<V> {
    /// Takes over the channels of a VM.
    pub(crate) fn new(vm: V, channels: GuestChannels) -> Guest<V> {
        Guest { vm, link: AgentLink::new(channels.control, channels.bulk) }
    }

    /// Asks the agent for something, within bounds.
    pub(crate) async fn ask(
        &mut self,
        what: &str,
        patience: Duration,
        request: &agent::Request,
        on_event: impl FnMut(agent::Event),
    ) -> Result<agent::Reply, Failure> {
        match watched(&mut self.vm, what, patience, self.link.request(request, on_event)).await? {
            agent::Reply::Failed(error) => Err(agent_failed(&error)),
            reply => Ok(reply),
        }
    }

    /// Makes the guest unique and current.
    pub(crate) async fn prepare(&mut self, prepare: Prepare) -> Result<(), Failure> {
        self.prepare_within(PREPARE_SECONDS_MAX, prepare).await
    }

    /// The same for one that has no reason to take long.
    pub(crate) async fn prepare_within(
        &mut self,
        patience: Duration,
        prepare: Prepare,
    ) -> Result<(), Failure> {
        let mut asked = Instant::now();
        let request = agent::Request::Prepare(prepare);
        self.ask("prepare itself", patience, &request, |_| {}).await?;
        // On a swamped machine the time may have been old when the guest heard it, and the next may be too.
        for _ in 0..CLOCK_TRIES_MAX {
            if asked.elapsed() <= CLOCK_ANSWER_MS_MAX {
                break;
            }
            asked = Instant::now();
            let request = agent::Request::SetClock { realtime_ns: realtime_ns() };
            self.ask("set its clock", patience, &request, |_| {}).await?;
        }
        Ok(())
    }

    /// Has the guest write everything to its disk.
    pub(crate) async fn sync(&mut self) -> Result<(), Failure> {
        self.ask("write its disk", PREPARE_SECONDS_MAX, &agent::Request::Sync, |_| {}).await.map(drop)
    }

    /// Runs a command that does nothing, so that all that commands need is read, and under emulation
    /// translated. An image without the command has nothing to be warmed.
    pub(crate) async fn warm_up(&mut self) -> Result<(), Failure> {
        let request = agent::Request::Exec(Exec {
            argv: vec![b"true".to_vec()],
            environment: Vec::new(),
            directory: None,
            user: None,
            terminal: None,
            stdin: false,
            timeout_ms: Some(WARM_UP_MS_MAX),
        });
        let ran = self.link.request(&request, |_| {});
        match watched(&mut self.vm, "run a command", PREPARE_SECONDS_MAX, ran).await? {
            agent::Reply::Exited(exited) if matches!(exited.outcome, Outcome::Code(_)) => Ok(()),
            agent::Reply::Failed(_) => Ok(()),
            other => Err(failure(
                pyro_proto::shim::FailureCode::GuestFaulty,
                format!("the guest answered {other:?} to its first command"),
            )),
        }
    }
}

/// Waits for the guest, but no longer than `patience`, and not beyond the VM's end.
pub(crate) async fn watched<V: Vm, T>(
    vm: &mut V,
    what: &str,
    patience: Duration,
    work: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, Failure> {
    let outcome = tokio::select! {
        biased;
        done = work => Some(done),
        exit = vm.wait() => return Err(vm_ended(&exit, &vm.console_tail())),
        () = tokio::time::sleep(patience) => None,
    };
    match outcome {
        Some(Ok(value)) => Ok(value),
        // A channel closes because the VM ends: how it ended says more.
        Some(Err(error)) if error.is_end() => {
            match tokio::time::timeout(Duration::from_secs(1), vm.wait()).await {
                Ok(exit) => Err(vm_ended(&exit, &vm.console_tail())),
                Err(_) => Err(link_failed(&error, &vm.console_tail())),
            }
        }
        Some(Err(error)) => Err(link_failed(&error, &vm.console_tail())),
        None => {
            let console = vm.console_tail();
            vm.kill().await;
            Err(guest_silent(what, &console))
        }
    }
}
