//! The client: commands with a deadline, events noted on the way.
//!
//! There is no task behind it. Lines are read while an answer is waited for, and once more when the machine
//! has ended; in between QEMU's few events stay in the socket.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::QmpError;
use super::message::{Message, decode};
use crate::exit::Shutdown;
use crate::limits::{
    DRAIN_MAX, MIGRATION_MAX, QMP_COMMAND_MAX, QMP_GREETING_MAX, QMP_LINE_BYTES_MAX, QMP_MESSAGES_MAX,
};

/// How the last migration stands, as far as events have told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MigrationState {
    /// Not begun, or going on.
    Open,
    /// All state is across.
    Completed,
    /// It did not work.
    Failed,
}

/// A command on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    id: u64,
    command: &'static str,
}

/// One QMP session.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
    last_id: u64,
    shutdown: Option<Shutdown>,
    migration: MigrationState,
}

impl Client {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream: BufReader::new(stream),
            line: Vec::new(),
            last_id: 0,
            shutdown: None,
            migration: MigrationState::Open,
        }
    }

    /// Why the machine shut down, once an event has said so.
    pub(crate) fn shutdown(&self) -> Option<Shutdown> {
        self.shutdown
    }

    /// Waits for QEMU's first line.
    pub(crate) async fn greet(&mut self) -> Result<(), QmpError> {
        let greeting = async {
            match self.next().await? {
                Message::Greeting => Ok(()),
                _ => Err(QmpError::Malformed { what: "no greeting" }),
            }
        };
        within(QMP_GREETING_MAX, "the greeting", greeting).await
    }

    /// Sends a command without waiting for its answer. QEMU takes commands before it has greeted, in order.
    pub(crate) async fn send(&mut self, command: &'static str, arguments: Value) -> Result<Ticket, QmpError> {
        let (ticket, line) = self.compose(command, &arguments);
        let write = async { self.stream.write_all(line.as_bytes()).await.map_err(channel) };
        within(QMP_COMMAND_MAX, command, write).await?;
        Ok(ticket)
    }

    /// Puts a descriptor into a set, made where there is none of that number. QEMU opens it by the set's path,
    /// and only in the mode the descriptor has.
    pub(crate) async fn give_descriptor(&mut self, set: u64, fd: BorrowedFd<'_>) -> Result<(), QmpError> {
        let (ticket, line) = self.compose("add-fd", &json!({"fdset-id": set}));
        let socket = self.stream.get_ref();
        let write = async { send_with_descriptor(socket, line.as_bytes(), fd).await.map_err(channel) };
        within(QMP_COMMAND_MAX, ticket.command, write).await?;
        self.answer(ticket).await.map(drop)
    }

    fn compose(&mut self, command: &'static str, arguments: &Value) -> (Ticket, String) {
        self.last_id += 1;
        let id = self.last_id;
        let mut line = json!({"execute": command, "arguments": arguments, "id": id}).to_string();
        line.push('\n');
        (Ticket { id, command }, line)
    }

    /// Waits for the answer to a command.
    pub(crate) async fn answer(&mut self, ticket: Ticket) -> Result<Value, QmpError> {
        within(QMP_COMMAND_MAX, ticket.command, self.find_answer(ticket)).await
    }

    /// Sends a command and waits for its answer.
    pub(crate) async fn execute(
        &mut self,
        command: &'static str,
        arguments: Value,
    ) -> Result<Value, QmpError> {
        let ticket = self.send(command, arguments).await?;
        self.answer(ticket).await
    }

    /// The same for a command that may take as long as saving or loading device state does.
    pub(crate) async fn execute_slow(
        &mut self,
        command: &'static str,
        arguments: Value,
    ) -> Result<Value, QmpError> {
        let ticket = self.send(command, arguments).await?;
        within(MIGRATION_MAX, command, self.find_answer(ticket)).await
    }

    /// Waits until the migration begun last has ended, by its events.
    pub(crate) async fn migrated(&mut self) -> Result<MigrationState, QmpError> {
        let ended = async {
            for _ in 0..QMP_MESSAGES_MAX {
                if self.migration != MigrationState::Open {
                    return Ok(self.migration);
                }
                self.next().await?;
            }
            Err(QmpError::Malformed { what: "events without end" })
        };
        within(MIGRATION_MAX, "the device state", ended).await
    }

    /// Reads what an ended QEMU left in the channel.
    pub(crate) async fn drain(&mut self) {
        let rest = async {
            for _ in 0..QMP_MESSAGES_MAX {
                if self.next().await.is_err() {
                    break;
                }
            }
        };
        // Running out of time leaves what was read, which is all that is wanted.
        let _late = timeout(DRAIN_MAX, rest).await;
    }

    async fn find_answer(&mut self, ticket: Ticket) -> Result<Value, QmpError> {
        for _ in 0..QMP_MESSAGES_MAX {
            match self.next().await? {
                Message::Return { id, value } if id == Some(ticket.id) => return Ok(value),
                Message::Error { id, description } if id == Some(ticket.id) => {
                    return Err(QmpError::Refused { command: ticket.command, description });
                }
                _ => {}
            }
        }
        Err(QmpError::Malformed { what: "messages without end" })
    }

    async fn next(&mut self) -> Result<Message, QmpError> {
        let message = self.read_line().await.and_then(|()| decode(&self.line));
        self.line.clear();
        let message = message?;
        if let Message::Event { name, data } = &message {
            self.note(name, data);
        }
        Ok(message)
    }

    /// Reads one line into the buffer, which keeps a part of it when the wait is given up.
    async fn read_line(&mut self) -> Result<(), QmpError> {
        loop {
            let available = self.stream.fill_buf().await.map_err(channel)?;
            if available.is_empty() {
                return Err(QmpError::Closed);
            }
            let newline = available.iter().position(|byte| *byte == b'\n');
            let taken = newline.map_or(available.len(), |at| at + 1);
            if self.line.len() + taken > QMP_LINE_BYTES_MAX {
                return Err(QmpError::Malformed { what: "a line too long" });
            }
            self.line.extend(available.iter().take(taken));
            self.stream.consume(taken);
            if newline.is_some() {
                return Ok(());
            }
        }
    }

    fn note(&mut self, event: &str, data: &Value) {
        let text = |field| data.get(field).and_then(Value::as_str);
        match (event, text("status")) {
            // The first reason is the cause: QEMU quits on a reset and says so again.
            ("SHUTDOWN", _) if self.shutdown.is_none() => {
                self.shutdown = text("reason").map(Shutdown::parse);
            }
            ("MIGRATION", Some("completed")) => self.migration = MigrationState::Completed,
            ("MIGRATION", Some("failed" | "cancelled")) => self.migration = MigrationState::Failed,
            _ => {}
        }
    }
}

fn channel(error: io::Error) -> QmpError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => QmpError::Closed,
        _ => QmpError::Channel(error),
    }
}

/// Sends a whole line with a descriptor beside it.
async fn send_with_descriptor(socket: &UnixStream, line: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        socket.writable().await?;
        match socket.try_io(Interest::WRITABLE, || sendmsg_with(socket.as_fd(), line, fd)) {
            Ok(sent) if sent == line.len() => return Ok(()),
            Ok(_) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

fn sendmsg_with(socket: BorrowedFd<'_>, line: &[u8], fd: BorrowedFd<'_>) -> io::Result<usize> {
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let sent = sendmsg(socket, &[io::IoSlice::new(line)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(sent)
}

async fn within<T>(
    limit: Duration,
    command: &'static str,
    work: impl Future<Output = Result<T, QmpError>>,
) -> Result<T, QmpError> {
    let late = QmpError::Silent { command, seconds: limit.as_secs() };
    timeout(limit, work).await.unwrap_or(Err(late))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    async fn against(script: &'static [u8]) -> (Client, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(script).await.unwrap();
        (Client::new(ours), theirs)
    }

    #[tokio::test]
    async fn answers_are_matched_by_id_and_events_noted() {
        // Promise: an event between a command and its answer is neither lost nor taken for the answer.
        let script = b"{\"QMP\": {}}\n{\"event\": \"SHUTDOWN\", \"data\": {\"reason\": \"guest-reset\"}}\n\
                       {\"return\": {\"x\": 1}, \"id\": 9}\n{\"return\": {\"x\": 2}, \"id\": 1}\n";
        let (mut client, _theirs) = against(script).await;
        client.greet().await.unwrap();
        assert_eq!(client.execute("query-status", json!({})).await.unwrap(), json!({"x": 2}));
        assert_eq!(client.shutdown(), Some(Shutdown::GuestReset));
    }

    #[tokio::test]
    async fn a_refusal_carries_qemus_words() {
        // Promise: what QEMU refuses is said in its own words.
        let (mut client, _theirs) = against(b"{\"error\": {\"desc\": \"bad\"}, \"id\": 1}\n").await;
        let error = client.execute("cont", json!({})).await.unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused cont: bad");
    }

    #[tokio::test]
    async fn a_closed_channel_is_noticed_at_once() {
        // Promise: a dead QEMU is not waited for.
        let (mut client, theirs) = against(b"{\"QMP\"").await;
        drop(theirs);
        assert!(matches!(client.greet().await, Err(QmpError::Closed)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopped_qemu_is_noticed_by_its_deadline() {
        // Promise: a QEMU that no longer answers does not hang its supervisor.
        let (mut client, _theirs) = against(b"").await;
        assert!(matches!(client.execute("stop", json!({})).await, Err(QmpError::Silent { .. })));
    }

    #[tokio::test]
    async fn an_endless_line_is_refused() {
        // Promise: a hostile QEMU cannot fill our memory.
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let flood = tokio::spawn(async move {
            let chunk = vec![b'x'; 8192];
            while theirs.write_all(&chunk).await.is_ok() {}
        });
        let mut client = Client::new(ours);
        assert!(matches!(client.greet().await, Err(QmpError::Malformed { what: "a line too long" })));
        drop(client);
        flood.await.unwrap();
    }

    #[tokio::test]
    async fn a_migration_ends_by_its_events() {
        // Promise: a state that could not be loaded is an error, not a wait.
        let (mut client, mut theirs) = against(
            b"{\"event\": \"MIGRATION\", \"data\": {\"status\": \"active\"}}\n\
            {\"event\": \"MIGRATION\", \"data\": {\"status\": \"failed\"}}\n",
        )
        .await;
        assert_eq!(client.migrated().await.unwrap(), MigrationState::Failed);
        drop(client);
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
    }
}
