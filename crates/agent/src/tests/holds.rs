//! Lanes that fall silent, and calls that outlive their host.

use super::host::{Host, exec, marker, shell, until_gone, until_there, with_host};
use pyro_proto::agent::{Exec, FailureKind, Outcome, Reply, Request};
use pyro_proto::hello::Hello;
use pyro_proto::window::ReceiveWindow;
use pyro_proto::{Channel, Frame, Kind, Lane, StreamId, decode};

fn barrier() -> Frame {
    Frame { stream: StreamId::CONNECTION, kind: Kind::Barrier, payload: Vec::new() }
}

/// A command's standard output, as one host after the other takes it.
#[derive(Default)]
struct Taken {
    bytes: Vec<u8>,
    window: ReceiveWindow,
    /// Not granted yet: a host that holds the lanes sends nothing.
    owed: u32,
    reply: Option<Reply>,
}

impl Taken {
    fn take(&mut self, frame: &Frame) {
        match frame.kind {
            Kind::Data => {
                let (channel, bytes) = frame.as_data().unwrap();
                assert_eq!(channel, Channel::Stdout);
                self.window.receive(bytes.len()).unwrap();
                self.bytes.extend_from_slice(bytes);
                self.owed += self.window.consume(bytes.len()).unwrap_or(0);
            }
            Kind::Reply => self.reply = Some(decode(&frame.payload).unwrap()),
            _ => {}
        }
    }

    /// Takes so many bytes more, granting as they come.
    async fn take_some(&mut self, host: &mut Host, stream: StreamId, bytes: usize) {
        let wanted = self.bytes.len() + bytes;
        while self.bytes.len() < wanted && self.reply.is_none() {
            if self.owed > 0 {
                let owed = std::mem::take(&mut self.owed);
                host.send(Frame::credit(stream, Channel::Stdout, owed)).await;
            }
            let frame = host.next(stream).await;
            self.take(&frame);
        }
    }
}

/// Holds the lanes; what still comes of `stream` is taken. Both lanes say that they are empty.
async fn hold(host: &mut Host, stream: StreamId, taken: &mut Taken) {
    host.send(barrier()).await;
    let hold = host.open(&Request::Hold).await;
    host.kept(stream).iter().for_each(|frame| taken.take(frame));
    let (mut control, mut bulk) = (false, false);
    while !(control && bulk) {
        let frame = host.any().await;
        match frame.kind {
            Kind::Credit if frame.stream == hold => control = true,
            Kind::Reply if frame.stream == hold => {
                assert_eq!(decode::<Reply>(&frame.payload).unwrap(), Reply::Held);
                bulk = true;
            }
            kind => {
                let is_over = if kind.lane() == Lane::Bulk { bulk } else { control };
                assert!(frame.stream == stream && !is_over, "{kind:?} behind the last frame");
                taken.take(&frame);
            }
        }
    }
}

async fn reply(host: &mut Host, stream: StreamId) -> Reply {
    loop {
        let frame = host.next(stream).await;
        if frame.kind == Kind::Reply {
            return decode(&frame.payload).unwrap();
        }
    }
}

/// A command that writes all the time loses nothing and repeats nothing across holds, whether the same host goes
/// on or another that knows of it.
#[test]
fn output_comes_once_across_hosts() {
    with_host(async |host: &mut Host| {
        let stream = host.open(&Request::Exec(exec(&["seq", "1", "600000"]))).await;
        let mut taken = Taken::default();
        for round in 0..6u64 {
            taken.take_some(host, stream, 150_000).await;
            hold(host, stream, &mut taken).await;
            assert_eq!(host.soon().await, None, "it was not silent");
            if round % 2 == 0 {
                assert!(host.greet_with(Hello::continuing(100 + round)).await);
                host.let_go_on();
            } else {
                let release = host.open(&Request::Release).await;
                assert_eq!(reply(host, release).await, Reply::Released);
            }
        }
        taken.take_some(host, stream, usize::MAX / 2).await;
        assert!(matches!(taken.reply, Some(Reply::Exited(exited)) if exited.outcome == Outcome::Code(0)));
        let expected: String = (1..=600_000).map(|number| format!("{number}\n")).collect();
        assert!(taken.bytes == expected.into_bytes());
    });
}

/// Input that one host has sent and another goes on with reaches the command whole; a command that ends while
/// the lanes are held is told of afterwards, and new calls come behind.
#[test]
fn a_call_goes_on_with_another_host() {
    with_host(async |host: &mut Host| {
        let stream = host.open(&Request::Exec(Exec { stdin: true, ..shell("cat; sleep 0.1; exit 3") })).await;
        host.send(Frame::data(stream, Channel::Stdin, b"one ")).await;
        let mut taken = Taken::default();
        hold(host, stream, &mut taken).await;
        assert!(host.greet_with(Hello::continuing(2)).await);
        host.let_go_on();
        host.send(Frame::data(stream, Channel::Stdin, b"two")).await;
        host.send(Frame::eof(stream, Channel::Stdin)).await;
        taken.take_some(host, stream, 7 - taken.bytes.len()).await;
        hold(host, stream, &mut taken).await;
        assert_eq!((host.soon().await, &taken.bytes[..]), (None, &b"one two"[..]));
        assert!(host.greet_with(Hello::continuing(3)).await);
        host.let_go_on();
        taken.take_some(host, stream, 1).await;
        assert!(matches!(taken.reply, Some(Reply::Exited(exited)) if exited.outcome == Outcome::Code(3)));
        assert_eq!(host.run(exec(&["true"])).await.outcome(), Outcome::Code(0));
    });
}

/// No command runs between a hold and the moment at which a copy is a computer of its own: what it would draw or read
/// then, its siblings would as well.
#[test]
fn nothing_runs_before_a_copy_is_itself() {
    with_host(async |host: &mut Host| {
        if !host.has_cgroups {
            return; // there is nothing to stop commands by
        }
        let stream = host.open(&Request::Exec(shell("while :; do echo x; sleep 0.01; done"))).await;
        let mut taken = Taken::default();
        taken.take_some(host, stream, 2).await;
        hold(host, stream, &mut taken).await;
        assert!(host.greet_with(Hello::continuing(2)).await);
        // What had been written before may still come; nothing more is written.
        while host.soon().await.is_some() {}
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert_eq!(host.soon().await, None, "a command ran on");
        host.let_go_on();
        taken.take_some(host, stream, 2).await;
        let payload = pyro_proto::encode(&pyro_proto::agent::Input::Kill).unwrap();
        host.send(Frame { stream, kind: pyro_proto::Kind::Input, payload }).await;
        taken.take_some(host, stream, usize::MAX / 2).await;
    });
}

/// A hold waits for the bulk lane's barrier, however late it comes, and can be called off before.
#[test]
fn a_hold_waits_for_its_barrier() {
    with_host(async |host: &mut Host| {
        let hold = host.open(&Request::Hold).await;
        assert_eq!(host.soon().await, None);
        let second = host.open(&Request::Hold).await;
        let Reply::Failed(failure) = reply(host, second).await else { panic!("it was refused") };
        assert_eq!(failure.kind, FailureKind::Refused);
        let release = host.open(&Request::Release).await;
        let Reply::Failed(failure) = reply(host, hold).await else { panic!("it was called off") };
        assert_eq!(failure.kind, FailureKind::Canceled);
        assert_eq!(reply(host, release).await, Reply::Released);
        // Barriers of holds that came to nothing are not the next one's.
        host.send(barrier()).await;
        host.send(barrier()).await;
        let third = host.open(&Request::Hold).await;
        assert_eq!(host.soon().await, None);
        host.send(barrier()).await;
        assert_eq!(reply(host, third).await, Reply::Held);
        let release = host.open(&Request::Release).await;
        assert_eq!(reply(host, release).await, Reply::Released);
        let release = host.open(&Request::Release).await;
        let Reply::Failed(failure) = reply(host, release).await else { panic!("nothing is held") };
        assert_eq!(failure.kind, FailureKind::Refused);
    });
}

/// A host that knows nothing of the calls ends them, and hears nothing of them, though lanes were full and held.
#[test]
fn a_new_host_hears_nothing_old() {
    with_host(async |host: &mut Host| {
        let marker = marker();
        let script = format!("seq 1 600000 & sleep {marker}");
        let stream = host.open(&Request::Exec(shell(&script))).await;
        let mut taken = Taken::default();
        taken.take_some(host, stream, 100_000).await;
        // Not later: who is held starts nothing.
        until_there(&marker, 1).await;
        hold(host, stream, &mut taken).await;
        assert!(!host.greet_with(Hello::new(2)).await);
        assert_eq!(host.soon().await, None);
        until_gone(&marker).await;
        assert_eq!(host.run(exec(&["true"])).await.outcome(), Outcome::Code(0));
    });
}

/// A host that wants to go on where nothing is left is told so.
#[test]
fn nothing_is_made_up_for_a_host_that_goes_on() {
    with_host(async |host: &mut Host| {
        host.send(barrier()).await;
        // The second barrier without a hold between is a broken rule.
        host.send(barrier()).await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(!host.greet_with(Hello::continuing(2)).await);
        assert!(host.greet_with(Hello::continuing(3)).await);
        assert_eq!(host.run(exec(&["true"])).await.outcome(), Outcome::Code(0));
    });
}
