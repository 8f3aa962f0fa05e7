//! A VM and the way to its agent, before anybody else may talk to it: requests with a bound on every wait, which
//! races with the VM's end.

use std::time::Duration;

use pyro_proto::agent::{self, Exec, Outcome, Prepare};
use pyro_proto::shim::Failure;
use pyro_vmm::Vm;
use tokio::time::Instant;

use crate::failure::{agent_failed, failure, guest_silent, link_failed, vm_ended};
use crate::identity::realtime_ns;
use crate::limits::{
    CLOCK_ANSWER_MS_MAX, CLOCK_ROUND_MS_MAX, CLOCK_TRIES_MAX, PREPARE_SECONDS_MAX, WARM_UP_MS_MAX,
};
use crate::link::{AgentLink, LinkError};

/// A VM and the way to its agent.
#[derive(Debug)]
pub(crate) struct Guest<V> {
    pub(crate) vm: V,
    pub(crate) link: AgentLink,
}

impl<V: Vm> Guest<V> {
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
        let asked = Instant::now();
        let request = agent::Request::Prepare(prepare);
        self.ask("prepare itself", patience, &request, |_| {}).await?;
        match asked.elapsed() > CLOCK_ANSWER_MS_MAX {
            true => self.correct_clock().await,
            false => Ok(()),
        }
    }

    /// On a swamped machine the time may have been old when the guest heard it. Its clock is measured then: it was read
    /// somewhere between question and answer, and the quickest answer of several says best how far it is off. A
    /// difference does not age on its way.
    async fn correct_clock(&mut self) -> Result<(), Failure> {
        let mut best: Option<(Duration, i64)> = None;
        for _ in 0..CLOCK_TRIES_MAX {
            let (asked, asked_ns) = (Instant::now(), realtime_ns());
            let told =
                self.ask("tell the time", PREPARE_SECONDS_MAX, &agent::Request::ReadClock, |_| {}).await?;
            let took = asked.elapsed();
            let agent::Reply::Clock { realtime_ns: told_ns } = told else {
                let told = format!("the guest answered {told:?} when it was asked for the time");
                return Err(failure(pyro_proto::shim::FailureCode::GuestFaulty, told));
            };
            let offset_ns = offset_ns(asked_ns, took, told_ns);
            if best.is_none_or(|(quickest, _)| took < quickest) {
                best = Some((took, offset_ns));
            }
            if took <= CLOCK_ROUND_MS_MAX {
                break;
            }
        }
        let Some((_, offset_ns)) = best else { return Ok(()) };
        // The time that it was told was old when it came: it is behind, whatever a slow answer makes it look like. (Where
        // the host's clock was set back since, which is rarer, it stays ahead.)
        let adjust = agent::Request::AdjustClock { offset_ns: offset_ns.max(0) };
        self.ask("set its clock", PREPARE_SECONDS_MAX, &adjust, |_| {}).await.map(drop)
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

/// By how much a clock is behind that was read at the middle of a round trip, as far as anybody can tell.
fn offset_ns(asked_ns: u64, took: Duration, told_ns: u64) -> i64 {
    let middle = i128::from(asked_ns) + i128::try_from(took.as_nanos() / 2).unwrap_or_default();
    let offset = middle - i128::from(told_ns);
    i64::try_from(offset).unwrap_or(if offset < 0 { i64::MIN } else { i64::MAX })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock is moved by what it is off, whatever a guest says.
    #[test]
    fn offsets_are_halfway() {
        let second = 1_000_000_000;
        assert_eq!(offset_ns(10 * second, Duration::from_millis(100), 10 * second + 50_000_000), 0);
        assert_eq!(offset_ns(10 * second, Duration::ZERO, 11 * second), -1_000_000_000);
        assert_eq!(offset_ns(0, Duration::ZERO, u64::MAX), i64::MIN);
    }
}
