//! Whether a service is ready, asked from inside the guest, again and again until it is or its time is over.

mod file;
mod http;

use std::net::SocketAddr;
use std::time::Duration;

use pyro_proto::agent::{Exec, Failure, Outcome, Probe, Service};
use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use self::file::FileProbe;
use super::engine::Engine;
use super::plan::text;
use super::policy::how;
use super::stdio;
use super::supervisor::Startable;
use crate::failure::{errno_text, system};
use crate::limits::{
    PROBE_COMMAND_SECONDS_MAX, PROBE_HANGS_MS_MIN, PROBE_PAUSE_MS_MIN, PROBE_SECONDS_MAX,
    PROBE_SUBJECT_CHARACTERS_MAX, READY_MS_DEFAULT, TAKEN_MS_MAX,
};

/// Probes one service, after each of its starts.
pub(super) struct Prober<'a> {
    engine: &'a Engine,
    service: &'a Service,
    file: FileProbe,
}

impl<'a> Prober<'a> {
    pub(super) fn new(engine: &'a Engine, service: &'a Service) -> Prober<'a> {
        Prober { engine, service, file: FileProbe::default() }
    }

    /// Waits until the service is ready; `Err` says why the last probe did not find it so when its time was over.
    pub(super) async fn until_ready(&mut self, startable: &impl Startable) -> Result<(), String> {
        let service = self.service;
        let Some(probe) = &service.probe else {
            sleep(READY_MS_DEFAULT).await;
            return Ok(());
        };
        self.file.begin_anew();
        let deadline = Instant::now().checked_add(Duration::from_millis(service.ready_timeout_ms));
        let left = || deadline.map_or(Duration::MAX, |deadline| deadline - Instant::now());
        let interval = Duration::from_millis(service.ready_interval_ms).max(PROBE_PAUSE_MS_MIN);
        let (mut pause, mut why) = (PROBE_PAUSE_MS_MIN, format!("{}: no answer yet", subject(probe)));
        loop {
            let granted = left();
            match timeout(granted, self.probe(probe, startable)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(answer)) => why = format!("{}: {answer}", subject(probe)),
                // It hangs; one that was cut short has not said anything, and the one before is the reason then.
                Err(_) if granted >= PROBE_HANGS_MS_MIN => {
                    why = format!("{}: no answer", subject(probe));
                }
                Err(_) => {}
            }
            if left().is_zero() {
                let seconds = service.ready_timeout_ms as f64 / 1000.0;
                return Err(format!("it was not ready within {seconds} s: {why}"));
            }
            sleep(pause.min(left())).await;
            pause = pause.saturating_mul(2).min(interval);
        }
    }

    /// Takes note of what must not be taken for a sign of readiness, before each start.
    pub(super) async fn look_before(&mut self) {
        if let Some(Probe::File(path)) = &self.service.probe {
            // What does not answer now is found out by the probe.
            let _ = timeout(PROBE_SECONDS_MAX, self.file.look_before(path)).await;
        }
    }

    /// Why what tells that the service is ready would tell it of somebody else: its address is taken before it is
    /// started.
    pub(super) async fn taken(&self) -> Option<String> {
        let probe = self.service.probe.as_ref().filter(|_| self.service.owns_address)?;
        let addresses = match probe {
            Probe::Tcp(addresses) | Probe::Http { addresses, .. } => addresses,
            Probe::File(_) | Probe::Command(_) => return None,
        };
        for address in addresses {
            if timeout(TAKEN_MS_MAX, connect(*address)).await.is_ok_and(|connected| connected.is_ok()) {
                return Some(format!("something else accepts connections at {address} already"));
            }
        }
        None
    }

    async fn probe(&mut self, probe: &Probe, startable: &impl Startable) -> Result<(), String> {
        match probe {
            Probe::File(path) => match in_time(PROBE_SECONDS_MAX, self.file.appeared(path)).await? {
                Ok(Some(())) => Ok(()),
                Ok(None) => Err("it is there from before this start".to_owned()),
                Err(errno) => Err(errno_text(errno)),
            },
            Probe::Tcp(addresses) => any(addresses, async |address| connect(address).await.map(drop)).await,
            Probe::Http { addresses, host, target } => {
                any(addresses, async |address| http::ask(address, host, target).await).await
            }
            Probe::Command(text) => self.command(text, startable).await,
        }
    }

    async fn command(&self, text: &[u8], startable: &impl Startable) -> Result<(), String> {
        let exec = Exec {
            argv: vec![b"sh".to_vec(), b"-c".to_vec(), text.to_vec()],
            ..self.service.command.clone()
        };
        let refused = |failure: Failure| format!("it could not be started: {failure}");
        let nothing = stdio::null().map_err(|error| refused(system(error.what, error.errno)))?;
        self.engine.may_start(startable).await.map_err(refused)?;
        let mut running = self.engine.start(&exec, &nothing).map_err(refused)?;
        let exited = running.live(None, Some(PROBE_COMMAND_SECONDS_MAX), std::future::pending()).await;
        running.clear(None).await;
        match exited.outcome {
            Outcome::Code(0) => Ok(()),
            Outcome::TimedOut => Err(no_answer(PROBE_COMMAND_SECONDS_MAX)),
            outcome => Err(format!("it {}", how(outcome))),
        }
    }
}

/// What is asked, for messages, and short enough to leave room for what came of it.
fn subject(probe: &Probe) -> String {
    let subject = match probe {
        Probe::File(path) => format!("the file {}", text(path)),
        Probe::Tcp(addresses) => addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", "),
        Probe::Http { host, target, .. } => format!("http://{host}{target}"),
        Probe::Command(_) => "the readiness command".to_owned(),
    };
    match subject.char_indices().nth(PROBE_SUBJECT_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", subject.get(..end).unwrap_or_default()),
        None => subject,
    }
}

/// Asks one address after the other until one is content; each has its share of a try's time, so that one that is
/// silent leaves some to the others. `Err` tells of the first.
async fn any(
    addresses: &[SocketAddr],
    ask: impl AsyncFn(SocketAddr) -> Result<(), String>,
) -> Result<(), String> {
    let share = PROBE_SECONDS_MAX / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut first = None;
    for address in addresses {
        match in_time(share, ask(*address)).await.flatten() {
            Ok(()) => return Ok(()),
            Err(why) => first = first.or(Some(why)),
        }
    }
    Err(first.unwrap_or_else(|| "there is no address to ask".to_owned()))
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address)
        .await
        .map_err(|error| Errno::from_io_error(&error).map_or_else(|| error.to_string(), errno_text))
}

async fn in_time<T>(limit: Duration, answer: impl Future<Output = T>) -> Result<T, String> {
    timeout(limit, answer).await.map_err(|_| no_answer(limit))
}

fn no_answer(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs_f64())
}
