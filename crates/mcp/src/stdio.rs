//! The protocol over standard input and output: one message a line, and nothing else.
//!
//! A transport of our own, because the library's drops what it cannot read without an answer, and fails where a client
//! goes before it has begun.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyro::{Code, Failure};
use rmcp::model::{ClientJsonRpcMessage, ErrorData, JsonRpcMessage, RequestId, ServerJsonRpcMessage};
use rmcp::serve_server;
use rmcp::service::{RoleServer, ServerInitializeError};
use rmcp::transport::{StdioReader, StdioWriter, Transport, stdio_pipes};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, Options};
use crate::limits::{MESSAGE_BYTES_MAX, UNREAD_MESSAGES_MAX, UNREAD_PATIENCE};
use crate::oversized::IdFinder;
use crate::server::Face;

/// Serves one client until it closes our standard input, or `ended` is done. What it had running is called off then,
/// and has cleaned up when this returns.
pub async fn serve_stdio(options: Options, ended: impl Future<Output = ()>) -> Result<(), Failure> {
    let engine = Engine::new(options);
    let (reader, writer): (StdioReader, StdioWriter) = stdio_pipes();
    let lines = Lines::new(reader, writer, engine.call_off());
    let serving = async {
        match serve_server(Face::new(engine.clone()), lines).await {
            Ok(service) => service.waiting().await.map(drop).map_err(|error| error.to_string()),
            // A client that goes before it has begun, or whose beginning was refused and said so, is no failure.
            Err(
                ServerInitializeError::ConnectionClosed(_)
                | ServerInitializeError::InitializeFailed(_)
                | ServerInitializeError::Cancelled,
            ) => Ok(()),
            Err(ServerInitializeError::TransportError { .. }) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    };
    let served = tokio::select! {
        served = serving => served,
        () = ended => Ok(()),
    };
    engine.end().await;
    served.map_err(|why| Failure::new(Code::System, "the client cannot be served").because(why))
}

/// Messages, one a line.
struct Lines<R, W> {
    reader: BufReader<R>,
    line: Vec<u8>,
    /// Where the rest of a line goes that is too long.
    oversized: Option<IdFinder>,
    has_begun: bool,
    out: Arc<Out<W>>,
    /// A refusal on its way out. Kept here: whoever waits for the next message may stop waiting at any moment.
    refusing: Option<Sending>,
    /// What runs is called off by this: the client is gone.
    at_end: CancellationToken,
}

type Sending = Pin<Box<dyn Future<Output = Result<(), io::Error>> + Send>>;

/// The way out, shared by all that is sent.
struct Out<W> {
    writer: Mutex<W>,
    unread: AtomicUsize,
    read: Notify,
}

/// What the next bytes of the input are.
enum Next {
    Message(Box<ClientJsonRpcMessage>),
    Refused(ErrorData, Option<RequestId>),
    Nothing,
    End,
}

impl<R: AsyncRead + Unpin + Send, W: AsyncWrite + Unpin + Send + 'static> Lines<R, W> {
    fn new(reader: R, writer: W, at_end: CancellationToken) -> Lines<R, W> {
        let out = Out { writer: Mutex::new(writer), unread: AtomicUsize::new(0), read: Notify::new() };
        Lines {
            reader: BufReader::with_capacity(64 * 1024, reader),
            line: Vec::new(),
            oversized: None,
            has_begun: false,
            out: Arc::new(out),
            refusing: None,
            at_end,
        }
    }

    /// Reads up to the end of a line. Dropped half-way it goes on where it was: what was read is kept in `self`.
    async fn next(&mut self) -> Next {
        loop {
            let piece = match self.reader.fill_buf().await {
                Ok(piece) if !piece.is_empty() => piece,
                Ok(_) | Err(_) => return Next::End,
            };
            let newline = piece.iter().position(|byte| *byte == b'\n');
            let (bytes, used) = match newline {
                Some(end) => (piece.get(..end).unwrap_or_default(), end + 1),
                None => (piece, piece.len()),
            };
            match &mut self.oversized {
                Some(finder) => finder.look(bytes),
                None if self.line.len() + bytes.len() > MESSAGE_BYTES_MAX => {
                    let mut finder = IdFinder::default();
                    finder.look(&self.line);
                    finder.look(bytes);
                    self.oversized = Some(finder);
                    self.line = Vec::new();
                }
                None => self.line.extend_from_slice(bytes),
            }
            self.reader.consume(used);
            if newline.is_some() {
                return self.whole_line();
            }
        }
    }

    fn whole_line(&mut self) -> Next {
        if let Some(finder) = self.oversized.take() {
            let message = format!(
                "a message has at most {MESSAGE_BYTES_MAX} bytes: bring large files in with workspace_sync_push"
            );
            return Next::Refused(ErrorData::invalid_request(message, None), finder.finish());
        }
        let line = std::mem::take(&mut self.line);
        let line = line.trim_ascii();
        if line.is_empty() { Next::Nothing } else { parse(line) }
    }

    fn refuse(&mut self, error: ErrorData, id: Option<RequestId>) {
        self.refusing = Some(Box::pin(self.send(ServerJsonRpcMessage::error(error, id))));
    }
}

/// Reads a message; what is none is refused by its id, where it has one.
fn parse(line: &[u8]) -> Next {
    let error = match serde_json::from_slice(line) {
        Ok(message) => return Next::Message(Box::new(message)),
        Err(error) => error,
    };
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        return Next::Refused(ErrorData::parse_error(format!("this is no JSON: {error}"), None), None);
    };
    let id = match value.get("id") {
        Some(Value::String(text)) => Some(RequestId::String(text.as_str().into())),
        Some(Value::Number(number)) => number.as_i64().map(RequestId::Number),
        _ => None,
    };
    // What is no request is not answered, however odd it is.
    if value.is_object() && value.get("method").is_some() && value.get("id").is_none() {
        return Next::Nothing;
    }
    Next::Refused(ErrorData::invalid_request("this is no JSON-RPC 2.0 message of MCP", None), id)
}

impl<R, W> Transport<RoleServer> for Lines<R, W>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send + 'static,
{
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), io::Error>> + Send + 'static {
        let (out, at_end) = (Arc::clone(&self.out), self.at_end.clone());
        out.unread.fetch_add(1, Ordering::Relaxed);
        async move {
            let sent = async {
                let mut writer = out.writer.lock().await;
                // A message that waits for its turn is not spelled out yet: most of what it says it shares with others.
                let mut line = serde_json::to_vec(&message)?;
                line.push(b'\n');
                writer.write_all(&line).await?;
                writer.flush().await
            };
            let sent = sent.await;
            if sent.is_err() {
                // Nobody hears any more what was asked for.
                at_end.cancel();
            }
            out.unread.fetch_sub(1, Ordering::Relaxed);
            out.read.notify_waiters();
            sent
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            if let Some(refusing) = &mut self.refusing {
                let _ = refusing.await;
                self.refusing = None;
            }
            // A client that does not read what it is sent is not read from either.
            let out = Arc::clone(&self.out);
            let read = out.read.notified();
            if out.unread.load(Ordering::Relaxed) > UNREAD_MESSAGES_MAX {
                // Nor is its end seen: it has so long to read on.
                let at_end = self.at_end.clone();
                tokio::select! {
                    () = at_end.cancelled() => return None,
                    read = timeout(UNREAD_PATIENCE, read) => {
                        if read.is_err() {
                            self.at_end.cancel();
                            return None;
                        }
                    }
                }
                continue;
            }
            let at_end = self.at_end.clone();
            let next = tokio::select! {
                biased;
                () = at_end.cancelled() => Next::End,
                next = self.next() => next,
            };
            match next {
                Next::Message(message) => {
                    self.has_begun |= matches!(*message, JsonRpcMessage::Request(_));
                    // Notifications in front of the first request mean nothing yet.
                    if self.has_begun {
                        return Some(*message);
                    }
                }
                Next::Refused(error, id) => self.refuse(error, id),
                Next::Nothing => {}
                Next::End => {
                    self.at_end.cancel();
                    return None;
                }
            }
        }
    }

    async fn close(&mut self) -> Result<(), io::Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, duplex};
    use tokio::time::timeout;

    use super::*;

    type Pipe = tokio::io::DuplexStream;

    fn lines(bytes: usize) -> (Lines<Pipe, Pipe>, Pipe, Pipe, CancellationToken) {
        let (to_us, input) = duplex(bytes);
        let (output, from_us) = duplex(bytes);
        let end = CancellationToken::new();
        (Lines::new(input, output, end.clone()), to_us, from_us, end)
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { timeout(Duration::from_secs(60), work).await.unwrap() })
    }

    const PING: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n";

    /// What is no message is refused by name where it has one, and the next one is read as if nothing was.
    #[test]
    fn what_is_no_message_is_answered() {
        block_on(async {
            let (mut lines, mut to_us, mut from_us, end) = lines(1 << 20);
            let wrong = b"not json\n\n{\"jsonrpc\":\"1.0\",\"id\":\"x\",\"method\":\"ping\"}\n[1,2]\n{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\r\n";
            to_us.write_all(wrong).await.unwrap();
            to_us.write_all(PING).await.unwrap();
            drop(to_us);
            assert!(matches!(lines.receive().await, Some(JsonRpcMessage::Request(_))));
            assert!(!end.is_cancelled());
            assert!(lines.receive().await.is_none());
            assert!(end.is_cancelled(), "what runs is called off");
            drop(lines);
            let mut said = String::new();
            from_us.read_to_string(&mut said).await.unwrap();
            let answers: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let codes: Vec<i64> =
                answers.iter().map(|answer| answer["error"]["code"].as_i64().unwrap()).collect();
            assert_eq!(codes, [-32700, -32600, -32600], "{said}");
            assert_eq!(answers[1]["id"], "x");
        });
    }

    /// A message that is too long is refused by its id without being kept, and the next one is read.
    #[test]
    fn too_long_a_message_is_refused_by_its_id() {
        block_on(async {
            let (mut lines, mut to_us, mut from_us, _) = lines(1 << 16);
            let writing = tokio::spawn(async move {
                to_us
                    .write_all(b"{\"jsonrpc\":\"2.0\",\"method\":\"tools/call\",\"params\":{\"x\":\"")
                    .await
                    .unwrap();
                let piece = vec![b'a'; 1 << 20];
                for _ in 0..100 {
                    to_us.write_all(&piece).await.unwrap();
                }
                to_us.write_all(b"\"},\"id\":42}\n").await.unwrap();
                to_us.write_all(PING).await.unwrap();
                to_us
            });
            assert!(matches!(lines.receive().await, Some(JsonRpcMessage::Request(_))));
            assert!(lines.line.capacity() <= 2 * MESSAGE_BYTES_MAX);
            let mut answer = vec![0; 4096];
            let read = from_us.read(&mut answer).await.unwrap();
            let answer: Value = serde_json::from_slice(&answer[..read]).unwrap();
            assert_eq!((answer["id"].as_i64(), answer["error"]["code"].as_i64()), (Some(42), Some(-32600)));
            drop(writing.await);
        });
    }

    /// Whoever waits for the next message may stop at any moment: a refusal that is half out comes whole.
    #[test]
    fn refusals_outlast_who_waits() {
        block_on(async {
            let (mut lines, mut to_us, mut from_us, _) = lines(64);
            to_us.write_all(b"not json\n").await.unwrap();
            assert!(timeout(Duration::from_millis(50), lines.receive()).await.is_err());
            to_us.write_all(PING).await.unwrap();
            let reading = tokio::spawn(async move {
                let mut said = String::new();
                from_us.read_to_string(&mut said).await.map(|_| said)
            });
            assert!(matches!(lines.receive().await, Some(JsonRpcMessage::Request(_))));
            assert_eq!(lines.out.unread.load(Ordering::Relaxed), 0);
            drop(lines);
            let said = reading.await.unwrap().unwrap();
            let answer: Value = serde_json::from_str(&said).unwrap();
            assert_eq!(answer["error"]["code"], -32700);
        });
    }

    /// A client that hears nothing any more is gone, though it may still have something to say.
    #[test]
    fn who_cannot_be_answered_is_gone() {
        block_on(async {
            let (mut lines, mut to_us, from_us, end) = lines(1 << 16);
            drop(from_us);
            to_us.write_all(b"not json\n").await.unwrap();
            assert!(lines.receive().await.is_none());
            assert!(end.is_cancelled(), "what runs is called off");
        });
    }

    /// A client that never reads is not read from without end.
    #[test]
    fn who_does_not_read_is_not_read() {
        block_on(async {
            let (mut lines, mut to_us, _from_us, _) = lines(4096);
            let mut sending = tokio::task::JoinSet::new();
            for _ in 0..=UNREAD_MESSAGES_MAX {
                let long = ErrorData::parse_error("a".repeat(8192), None);
                sending.spawn(lines.send(ServerJsonRpcMessage::error(long, None)));
            }
            to_us.write_all(PING).await.unwrap();
            assert!(timeout(Duration::from_millis(200), lines.receive()).await.is_err());
        });
    }
}
