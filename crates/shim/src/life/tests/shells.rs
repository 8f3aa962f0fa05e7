//! Shells, seen from clients that come and go.

use pyro_proto::agent::{Input, Terminal, TerminalSize};
use pyro_proto::limits::{DATA_BYTES_MAX, SHELL_WRITE_BYTES_MAX};
use pyro_proto::shim::{ShellOrder, Subject};
use pyro_store::{OutputReader, ShellId, ShellOutcome, ShellRecord};

use super::model::{Log, vmm};
use super::workspaces::{code_of, command};
use super::*;

const SIZE: TerminalSize = TerminalSize { rows: 30, columns: 120 };

fn open(words: &str) -> Request {
    let Request::Exec(Exec { mut command, .. }) = command(words, false) else { unreachable!() };
    command.stdin = true;
    command.terminal = Some(Terminal { size: SIZE, term: "xterm".to_owned() });
    Request::OpenShell(command)
}

fn order(id: &str, order: ShellOrder) -> Request {
    Request::Shell { id: id.to_owned(), order }
}

fn write(id: &str, text: &str) -> Request {
    order(id, ShellOrder::Write(text.as_bytes().to_vec()))
}

async fn opened(client: &mut Client, stream: u32, words: &str) -> String {
    match client.call(stream, &open(words)).await {
        Reply::ShellOpened { id } => id,
        other => panic!("{other:?} instead of a shell"),
    }
}

impl Bench {
    fn printed(&self, id: &str) -> String {
        let place = self.directories.workspace(&self.workspace_id());
        let path = place.shell_output(&ShellId::parse(id).unwrap());
        let kept = OutputReader::open(&path).unwrap().kept().unwrap();
        String::from_utf8([kept.head, kept.tail].concat()).unwrap()
    }

    fn shell(&self, id: &str) -> ShellRecord {
        self.store().shell(&self.workspace_id(), id).unwrap()
    }

    async fn until_printed(&self, id: &str, text: &str) {
        while !self.printed(id).contains(text) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A shell outlives the client that opened it; another writes, follows from any byte, and closes it. Its record and
/// what it printed outlive the VM.
#[tokio::test]
async fn shells_outlive_their_clients() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    let id = bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            let mut opener = bench.another().await;
            let id = opened(&mut opener, 1, "bash").await;
            drop(opener);
            assert_eq!(client.call(5, &write(&id, "one\n")).await, Reply::ShellServed);
            bench.until_printed(&id, "one\n").await;
            let subject = Subject::Shell(id.clone());
            let mut follower = bench.another().await;
            follower.open(6, &Request::Follow { subject, from: 3 }).await;
            assert_eq!(client.call(7, &order(&id, ShellOrder::Signal(2))).await, Reply::ShellServed);
            let size = TerminalSize { rows: 10, columns: 20 };
            assert_eq!(client.call(8, &order(&id, ShellOrder::Resize(size))).await, Reply::ShellServed);
            assert_eq!((bench.shell(&id).shell.columns, bench.shell(&id).shell.rows), (20, 10));
            let close = order(&id, ShellOrder::Close { grace_ms: 100 });
            assert_eq!(client.call(9, &close).await, Reply::ShellServed);
            let (output, [reply]) = follower.replies([6]).await;
            assert_eq!(output, b"ne\n");
            assert!(matches!(reply, Reply::Exited(_)), "{reply:?}");
            let end = bench.shell(&id).end.unwrap();
            assert_eq!((end.outcome, end.exit_code), (ShellOutcome::Closed, Some(129)));
            for request in [write(&id, "x"), close] {
                assert_eq!(code_of(&client.call(10, &request).await), Some(FailureCode::ShellEnded));
            }
            client.stop().await;
            id
        })
        .await;
    assert_eq!(bench.printed(&id), "$ one\n");
    let wanted = [Input::Signal(2), Input::Resize(TerminalSize { rows: 10, columns: 20 })];
    for input in wanted {
        assert!(log.lines().contains(&format!("{input:?}")), "{:?}", log.lines());
    }
    assert!(log.lines().contains(&"stop 1".to_owned()));
}

/// Who sits at a shell types and sees; what is written in one piece beside them comes in one piece; leaving ends
/// nothing, and the shell's end is the end of sitting.
#[tokio::test]
async fn several_sit_at_one_shell() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            let id = opened(&mut client, 2, "bash").await;
            let mut other = bench.another().await;
            let attach = Request::Attach { id: id.clone(), from: 0 };
            other.open(1, &attach).await;
            client.open(3, &attach).await;
            other.send(Frame::data(StreamId(1), Channel::Stdin, b"from one ")).await;
            let long = "x".repeat(3 * DATA_BYTES_MAX);
            assert_eq!(client.call(4, &write(&id, &long)).await, Reply::ShellServed);
            other.send(Frame::data(StreamId(1), Channel::Stdin, b" from one")).await;
            bench.until_printed(&id, "x from one").await;
            assert_eq!(bench.printed(&id), format!("$ from one {long} from one"));
            other.send(Frame::eof(StreamId(1), Channel::Stdin)).await;
            let (seen, [left]) = other.replies([1]).await;
            assert_eq!(left, Reply::Left);
            assert!(bench.printed(&id).as_bytes().starts_with(&seen));
            assert_eq!(other.call(2, &write(&id, "exit\n")).await, Reply::ShellServed);
            let (seen, [ended]) = client.replies([3]).await;
            assert!(matches!(ended, Reply::Exited(exited) if exited.outcome == Outcome::Code(5)));
            assert!(bench.printed(&id).as_bytes().ends_with(&seen) && seen.ends_with(b"exit\n"));
            // What is typed at one that has just ended is for nobody, and no breach.
            client.send(Frame::data(StreamId(3), Channel::Stdin, b"late")).await;
            assert_eq!(client.call(6, &Request::SetTtl(None)).await, Reply::TtlSet);
            client.stop().await;
        })
        .await;
}

/// A terminal has the size of the window that was sized last; when who sits there leaves, in order or not, that of the one
/// before.
#[tokio::test]
async fn a_window_takes_its_size_along() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    let resize = |stream: u32, columns: u16| {
        let payload = encode(&Input::Resize(TerminalSize { rows: 10, columns })).unwrap();
        Frame { stream: StreamId(stream), kind: Kind::Input, payload }
    };
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            let id = opened(&mut client, 2, "bash").await;
            let until_columns = async |columns: u16| {
                while bench.shell(&id).shell.columns != columns {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let attach = Request::Attach { id: id.clone(), from: 0 };
            let (mut first, mut second) = (bench.another().await, bench.another().await);
            first.open(1, &attach).await;
            first.send(resize(1, 100)).await;
            until_columns(100).await;
            second.open(1, &attach).await;
            second.send(resize(1, 40)).await;
            until_columns(40).await;
            second.send(Frame::eof(StreamId(1), Channel::Stdin)).await;
            assert_eq!(second.replies([1]).await.1, [Reply::Left]);
            until_columns(100).await;
            second.open(2, &attach).await;
            second.send(resize(2, 50)).await;
            until_columns(50).await;
            drop(second);
            until_columns(100).await;
            // The last one leaves the size as it is.
            drop(first);
            client.stop().await;
            assert_eq!(bench.shell(&id).shell.columns, 100);
        })
        .await;
    let sizes = log.lines().iter().filter(|line| line.starts_with("Resize")).count();
    assert_eq!(sizes, 5, "{:?}", log.lines());
}

/// A shell that reads nothing keeps its writers waiting, but neither the others nor the shim's memory; who leaves takes
/// what was typed along.
#[tokio::test]
async fn a_deaf_shell_is_bounded() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            let id = opened(&mut client, 2, "deaf").await;
            let piece = "x".repeat(SHELL_WRITE_BYTES_MAX);
            let mut other = bench.another().await;
            let mut stream = 0;
            let refused = loop {
                stream += 1;
                other.open(stream, &write(&id, &piece)).await;
                if stream > 4 {
                    break other.reply(stream).await.1;
                }
            };
            assert_eq!(code_of(&refused), Some(FailureCode::Refused));
            drop(other);
            let listening = opened(&mut client, 3, "bash").await;
            assert_eq!(client.call(4, &write(&listening, "quick\n")).await, Reply::ShellServed);
            client.open(5, &write(&id, "waits")).await;
            client.open(6, &order(&id, ShellOrder::Close { grace_ms: 0 })).await;
            let (_, [waits, closed]) = client.replies([5, 6]).await;
            assert_eq!((code_of(&waits), closed), (Some(FailureCode::ShellEnded), Reply::ShellServed));
            client.stop().await;
        })
        .await;
}

/// What cannot be started is told and recorded; a VM that ends takes its shells along, and says so.
#[tokio::test]
async fn shells_that_fail_are_recorded() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            let refused = client.call(2, &open("missing")).await;
            assert!(matches!(refused, Reply::Refused(_)), "{refused:?}");
            let mut no_shell = open("bash");
            if let Request::OpenShell(exec) = &mut no_shell {
                exec.terminal = None;
            }
            assert_eq!(code_of(&client.call(3, &no_shell).await), Some(FailureCode::Refused));
            let Request::OpenShell(mut tiny) = open("bash") else { unreachable!() };
            tiny.terminal =
                Some(Terminal { size: TerminalSize { rows: 0, columns: 0 }, term: String::new() });
            let refused = client.call(4, &Request::OpenShell(tiny)).await;
            assert_eq!(code_of(&refused), Some(FailureCode::Refused));
            opened(&mut client, 5, "bash").await;
            client.stop().await;
        })
        .await;
    let shells = bench.store().shells(&bench.workspace_id()).unwrap();
    let ends: Vec<_> = shells.iter().map(|shell| shell.end.unwrap().outcome).collect();
    assert_eq!(ends, [ShellOutcome::Failed, ShellOutcome::Lost]);
}

/// An idle shell does not keep a workspace's VM; what happens in it does.
#[tokio::test(start_paused = true)]
async fn idle_shells_keep_nothing() {
    let (bench, log) = (Bench::creating(false, Some(1)), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            let id = opened(&mut client, 2, "bash").await;
            for stream in 3..20 {
                tokio::time::sleep(Duration::from_millis(400)).await;
                assert_eq!(client.call(stream, &write(&id, "x")).await, Reply::ShellServed);
            }
            client.closed().await;
        })
        .await;
}
