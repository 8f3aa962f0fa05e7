//! A host for tests: both lanes, windows kept, and the agent's side running beside it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pyro_channel::FrameReader;
use pyro_proto::agent::{
    Event, Exec, Exited, Failure, Input, Outcome, Reply, Request, Terminal, TerminalSize,
};
use pyro_proto::hello::Hello;
use pyro_proto::limits::DATA_BYTES_MAX;
use pyro_proto::window::{ReceiveWindow, SendWindow};
use pyro_proto::{Channel, Frame, Kind, Lane, StreamId, decode, encode};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::exec::{Cgroups, Engine, Reaper};
use crate::guest::{Guest, Stage};
use crate::init::reap;
use crate::scratch::Scratch;
use crate::session::serve;
use crate::workspace::tests::{Bench, workspace};

/// Longer than anything here takes on a machine that is swamped.
const TEST_SECONDS_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Host {
    readers: [FrameReader<OwnedReadHalf>; 2],
    writers: [OwnedWriteHalf; 2],
    streams: u32,
    /// Frames of calls that nobody waits for yet.
    waiting: HashMap<StreamId, Vec<Frame>>,
    pub(crate) has_cgroups: bool,
    guest: Rc<Guest>,
}

/// What a call gave.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) reply: Reply,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) events: Vec<Event>,
    pub(crate) eofs: Vec<Channel>,
}

impl Done {
    pub(crate) fn outcome(&self) -> Outcome {
        match self.reply {
            Reply::Exited(Exited { outcome, .. }) => outcome,
            ref other => panic!("{other:?}"),
        }
    }

    pub(crate) fn failure(&self) -> Failure {
        match &self.reply {
            Reply::Failed(failure) => failure.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }
}

/// A directory for control groups, removed at the end; none where this user may not make one.
struct TestCgroups(Option<PathBuf>);

impl TestCgroups {
    fn new() -> TestCgroups {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        let root = roots.iter().map(PathBuf::from).find(|root| root.join("cgroup.procs").exists());
        let own = root.map(|root| root.join(format!("pyro-test-{}-{count}", std::process::id())));
        TestCgroups(own.filter(|own| std::fs::create_dir(own).is_ok() && own.join("cgroup.kill").exists()))
    }
}

impl Drop for TestCgroups {
    fn drop(&mut self) {
        let Some(own) = &self.0 else { return };
        let _ = std::fs::write(own.join("cgroup.kill"), "1");
        for _ in 0..200 {
            for child in std::fs::read_dir(own).into_iter().flatten().flatten() {
                let _ = std::fs::remove_dir(child.path());
            }
            if std::fs::remove_dir(own).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Runs `test` against an agent whose life stands at `stage`.
pub(crate) fn with_host_at(stage: Stage, test: impl AsyncFnOnce(&mut Host)) {
    with_host_on(stage, None, test);
}

/// Runs `test` against an agent whose guest has a scratch disk.
pub(crate) fn with_host_on(stage: Stage, scratch: Option<Arc<Scratch>>, test: impl AsyncFnOnce(&mut Host)) {
    let cgroups = TestCgroups::new();
    let has_cgroups = cgroups.0.is_some();
    let parents = cgroups.0.as_deref().map(|own| Cgroups::below(own).unwrap()).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let guest = Rc::new(Guest::new(stage, Engine::new(Reaper::new(), parents)));
        if let Some(scratch) = scratch {
            guest.set_scratch(scratch);
        }
        tokio::task::spawn_local(reap(Rc::clone(&guest), signal(SignalKind::child()).unwrap()));
        let ((control, agent_control), (bulk, agent_bulk)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        let agent = tokio::task::spawn_local(serve(
            Rc::clone(&guest),
            agent_control.into_split(),
            agent_bulk.into_split(),
        ));
        let (control, bulk) = (control.into_split(), bulk.into_split());
        let mut host = Host {
            readers: [FrameReader::new(control.0), FrameReader::new(bulk.0)],
            writers: [control.1, bulk.1],
            streams: 0,
            waiting: HashMap::new(),
            has_cgroups,
            guest,
        };
        tokio::time::timeout(TEST_SECONDS_MAX, test(&mut host))
            .await
            .expect("the agent did not answer in time");
        drop(host);
        tokio::time::timeout(TEST_SECONDS_MAX, agent).await.expect("the agent did not let go").unwrap();
    });
}

/// Runs `test` against an agent that may run commands and has been greeted.
pub(crate) fn with_host(test: impl AsyncFnOnce(&mut Host)) {
    with_host_at(plain(), async |host: &mut Host| {
        host.greet(1).await;
        test(host).await;
    });
}

/// A guest that may run commands, in a workspace that nobody keeps and nobody looks at.
pub(crate) fn plain() -> Stage {
    Stage::Prepared(workspace(&Bench::new(), false))
}

pub(crate) fn exec(argv: &[&str]) -> Exec {
    Exec {
        argv: argv.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
        environment: Vec::new(),
        directory: Some(b"/".to_vec()),
        user: None,
        terminal: None,
        stdin: false,
        timeout_ms: None,
    }
}

pub(crate) fn shell(script: &str) -> Exec {
    exec(&["sh", "-c", script])
}

pub(crate) fn on_terminal(script: &str, rows: u16, columns: u16) -> Exec {
    let terminal = Terminal { size: TerminalSize { rows, columns }, term: "xterm".to_owned() };
    Exec { terminal: Some(terminal), stdin: true, ..shell(script) }
}

impl Host {
    /// What a copy's `Prepare` ends with: its commands go on. The rest of it would be about this machine.
    pub(crate) fn let_go_on(&self) {
        self.guest.engine.go_on();
    }

    pub(crate) async fn send(&mut self, frame: Frame) {
        let mut wire = Vec::new();
        frame.write_to(&mut wire);
        // What a host sends and what it receives share their lanes' rule.
        let lane = if frame.kind.lane() == Lane::Control { 0 } else { 1 };
        self.writers[lane].write_all(&wire).await.unwrap();
    }

    pub(crate) async fn greet(&mut self, nonce: u64) {
        assert!(!self.greet_with(Hello::new(nonce)).await);
    }

    /// Greets; gives whether the calls go on. What comes of them until then is kept if they do.
    pub(crate) async fn greet_with(&mut self, hello: Hello) -> bool {
        let payload = encode(&hello).unwrap();
        self.send(Frame { stream: StreamId::CONNECTION, kind: Kind::Hello, payload }).await;
        loop {
            let frame = self.any().await;
            if frame.kind == Kind::Hello {
                let answer = decode::<Hello>(&frame.payload).unwrap();
                answer.check_answer(hello.nonce).unwrap();
                return answer.continues;
            }
            if hello.continues {
                self.waiting.entry(frame.stream).or_default().push(frame);
            }
        }
    }

    pub(crate) fn next_stream(&mut self) -> StreamId {
        self.streams += 1;
        StreamId(self.streams)
    }

    pub(crate) async fn open(&mut self, request: &Request) -> StreamId {
        let stream = self.next_stream();
        self.open_as(stream, request).await;
        stream
    }

    pub(crate) async fn open_as(&mut self, stream: StreamId, request: &Request) {
        let payload = encode(request).unwrap();
        self.send(Frame { stream, kind: Kind::Open, payload }).await;
    }

    pub(crate) async fn input(&mut self, stream: StreamId, input: Input) {
        let payload = encode(&input).unwrap();
        self.send(Frame { stream, kind: Kind::Input, payload }).await;
    }

    /// The next frame of either lane.
    pub(crate) async fn any(&mut self) -> Frame {
        let [control, bulk] = &mut self.readers;
        let frame = tokio::select! {
            frame = control.next() => frame,
            frame = bulk.next() => frame,
        };
        frame.unwrap().expect("the agent closed a lane")
    }

    /// The next frame of either lane, if one comes soon.
    pub(crate) async fn soon(&mut self) -> Option<Frame> {
        tokio::time::timeout(Duration::from_millis(200), self.any()).await.ok()
    }

    /// Frames of one call that have come and that nobody has looked at.
    pub(crate) fn kept(&mut self, stream: StreamId) -> Vec<Frame> {
        self.waiting.remove(&stream).unwrap_or_default()
    }

    /// The next frame of one call.
    pub(crate) async fn next(&mut self, stream: StreamId) -> Frame {
        if let Some(frames) = self.waiting.get_mut(&stream).filter(|frames| !frames.is_empty()) {
            return frames.remove(0);
        }
        loop {
            let frame = self.any().await;
            if frame.stream == stream {
                return frame;
            }
            self.waiting.entry(frame.stream).or_default().push(frame);
        }
    }

    /// Waits until a call's standard output holds `text`; gives what came until then.
    pub(crate) async fn until(&mut self, stream: StreamId, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            let frame = self.next(stream).await;
            match frame.kind {
                Kind::Data => seen.push_str(&String::from_utf8_lossy(frame.as_data().unwrap().1)),
                Kind::Event | Kind::Credit => {}
                other => panic!("{other:?} after {seen:?}"),
            }
        }
        seen
    }

    /// Sees a call through to its reply, granting as it reads.
    pub(crate) async fn finish(&mut self, stream: StreamId, stdin: &[u8]) -> Done {
        let mut done = Done {
            reply: Reply::Thawed,
            stdout: Vec::new(),
            stderr: Vec::new(),
            events: Vec::new(),
            eofs: Vec::new(),
        };
        let mut windows = [ReceiveWindow::default(), ReceiveWindow::default()];
        let (mut window, mut rest) = (SendWindow::default(), Some(stdin));
        loop {
            rest = self.feed(stream, rest, &mut window).await;
            let frame = self.next(stream).await;
            match frame.kind {
                Kind::Event => done.events.push(decode(&frame.payload).unwrap()),
                Kind::Data => {
                    let (channel, bytes) = frame.as_data().unwrap();
                    let (into, receive) = match channel {
                        Channel::Stdout => (&mut done.stdout, &mut windows[0]),
                        Channel::Stderr => (&mut done.stderr, &mut windows[1]),
                        Channel::Stdin => panic!("standard input came back"),
                    };
                    into.extend_from_slice(bytes);
                    receive.receive(bytes.len()).unwrap();
                    if let Some(grant) = receive.consume(bytes.len()) {
                        self.send(Frame::credit(stream, channel, grant)).await;
                    }
                }
                Kind::Eof => done.eofs.push(frame.as_eof().unwrap()),
                Kind::Credit => window.grant(frame.as_credit().unwrap().1).unwrap(),
                Kind::Reply => {
                    done.reply = decode(&frame.payload).unwrap();
                    return done;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    async fn feed<'a>(
        &mut self,
        stream: StreamId,
        rest: Option<&'a [u8]>,
        window: &mut SendWindow,
    ) -> Option<&'a [u8]> {
        let mut rest = rest?;
        while !rest.is_empty() && window.available() > 0 {
            let (now, later) = rest.split_at(rest.len().min(DATA_BYTES_MAX).min(window.available()));
            window.spend(now.len());
            self.send(Frame::data(stream, Channel::Stdin, now)).await;
            rest = later;
        }
        if !rest.is_empty() {
            return Some(rest);
        }
        self.send(Frame::eof(stream, Channel::Stdin)).await;
        None
    }

    pub(crate) async fn call(&mut self, request: &Request) -> Done {
        let stream = self.open(request).await;
        self.finish(stream, b"").await
    }

    pub(crate) async fn run(&mut self, exec: Exec) -> Done {
        self.call(&Request::Exec(exec)).await
    }

    pub(crate) async fn run_with(&mut self, exec: Exec, stdin: &[u8]) -> Done {
        let stream = self.open(&Request::Exec(Exec { stdin: true, ..exec })).await;
        self.finish(stream, stdin).await
    }
}

/// Waits until no process has `marker` among its arguments.
pub(crate) async fn until_gone(marker: &str) {
    while processes(marker) > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until so many processes have `marker` among their arguments.
pub(crate) async fn until_there(marker: &str, count: usize) {
    while processes(marker) < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn processes(marker: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|byte| *byte == 0).any(|arg| arg == marker.as_bytes())).count()
}

thread_local! {
    static MARKERS: RefCell<u32> = const { RefCell::new(0) };
}

/// An argument of `sleep` that no other process on this machine has.
pub(crate) fn marker() -> String {
    MARKERS.with_borrow_mut(|count| *count += 1);
    let thread = format!("{:?}", std::thread::current().id());
    let digits: String = thread.chars().filter(char::is_ascii_digit).collect();
    format!("1{}.{digits}{}", std::process::id(), MARKERS.with_borrow(|count| *count))
}
