//! Services: probed, started again, stopped with all that they have started.

mod lives;
mod readiness;
mod stops;

use pyro_proto::agent::{Event, Input, Probe, Request, Restart, Service};
use pyro_proto::{Frame, Kind, StreamId, decode};

use super::host::{Done, Host, shell};

fn service(script: &str) -> Service {
    Service {
        command: shell(script),
        probe: None,
        owns_address: false,
        ready_timeout_ms: 20_000,
        ready_interval_ms: 50,
        restart: Restart::No,
    }
}

fn always(script: &str) -> Service {
    Service { restart: Restart::Always, ..service(script) }
}

fn probed(script: &str, probe: Probe) -> Service {
    Service { probe: Some(probe), ..service(script) }
}

/// The door of a life: a script waits for it, and ends when the test opens it. Sleeps would race with readiness.
struct Gate(tempfile::TempDir);

impl Gate {
    fn new() -> Gate {
        Gate(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("open")
    }

    /// Shell text that waits for the gate to be opened, and closes it behind itself.
    fn wait(&self) -> String {
        format!("while ! rm {} 2> /dev/null; do sleep 0.02; done", self.path().display())
    }

    fn open(&self) {
        std::fs::write(self.path(), "").unwrap();
    }

    /// Lives through so many lives of a service, to the pause behind the last.
    async fn live_through(&self, host: &mut Host, stream: StreamId, lives: u32) -> Event {
        let mut last = Event::Ready;
        for _ in 0..lives {
            until_ready(host, stream).await;
            self.open();
            last = until_restarting(host, stream).await;
        }
        last
    }
}

/// A probe that no file answers.
fn never() -> Probe {
    Probe::File(b"/nonexistent/ready".to_vec())
}

fn file(path: &std::path::Path) -> Probe {
    Probe::File(path.as_os_str().as_encoded_bytes().to_vec())
}

async fn serve(host: &mut Host, service: Service) -> StreamId {
    host.open(&Request::Serve(Box::new(service))).await
}

async fn run(host: &mut Host, service: Service) -> Done {
    let stream = serve(host, service).await;
    host.finish(stream, b"").await
}

async fn stop(host: &mut Host, stream: StreamId, grace_ms: u64) -> Done {
    host.input(stream, Input::Stop { signal: 15, grace_ms }).await;
    host.finish(stream, b"").await
}

/// What the service tells of next; what it writes until then is dropped, and not granted.
async fn event(host: &mut Host, stream: StreamId) -> Event {
    loop {
        let frame: Frame = host.next(stream).await;
        match frame.kind {
            Kind::Event => return decode(&frame.payload).unwrap(),
            Kind::Data => {}
            other => panic!("{other:?} instead of an event"),
        }
    }
}

/// Waits until the service tells that it is ready; gives what it told before.
async fn until_ready(host: &mut Host, stream: StreamId) -> Vec<Event> {
    let mut before = Vec::new();
    loop {
        match event(host, stream).await {
            Event::Ready => return before,
            other => before.push(other),
        }
    }
}

/// Waits until the service tells that it is started again after a pause.
async fn until_restarting(host: &mut Host, stream: StreamId) -> Event {
    loop {
        if let restarting @ Event::Restarting { .. } = event(host, stream).await {
            return restarting;
        }
    }
}

/// What happened, by its kind alone.
fn names(events: &[Event]) -> Vec<&'static str> {
    let name = |event: &Event| match event {
        Event::Started { .. } => "started",
        Event::Ready => "ready",
        Event::Restarting { .. } => "restarting",
        Event::Progress { .. } => "progress",
    };
    events.iter().map(name).collect()
}
