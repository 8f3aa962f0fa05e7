//! Bytes between a running command and this process's own streams, with nobody waiting for the wrong one:
//! a reader that stops holds up the command's output and nothing else, and a signal is always heard.

use std::fs::File;
use std::io::{Read, Write};
use std::thread::JoinHandle;
use std::time::Duration;

use pyro::{Capture, Code, Execution, Exited, Failure, Finished, Input, Output, TerminalSize};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::arguments::Execute;
use crate::interrupt::Interrupts;
use crate::terminal;

/// Pieces of output waiting for a slow reader.
const OUTPUT_PIECES: usize = 4;
/// Pieces of input read ahead of the command.
const INPUT_PIECES: usize = 2;
const INPUT_BYTES: usize = 32 * 1024;
/// How long what is on its way to a slow reader is waited for when a signal ends it all.
const LAST_OUTPUT_MS_MAX: Duration = Duration::from_millis(100);
/// Between two tries at a stream that somebody has made non-blocking.
const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(5);

/// How pumping ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The command ended, and all its output is written or captured.
    Command(Exited, Captured),
    /// A signal asked this process to end.
    Signal(i32),
    /// The reader of the output left.
    ReaderLeft,
    /// This process has left it running.
    Left,
    /// The VM or its supervisor failed.
    Failed(Failure),
}

/// Output kept instead of written.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    /// Standard output.
    pub(crate) stdout: Capture,
    /// Standard error.
    pub(crate) stderr: Capture,
}

impl Captured {
    /// The command as its result has it.
    pub(crate) fn into_finished(self, exited: Exited, duration: Duration) -> Finished {
        Finished { exited, stdout: self.stdout, stderr: self.stderr, duration }
    }
}

/// What to connect.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Streams {
    /// Standard input.
    pub(crate) stdin: bool,
    /// The command's terminal follows this one's size.
    pub(crate) resize: bool,
    /// Output is kept for a result instead of written as it comes.
    pub(crate) capture: bool,
    /// This key leaves what is attached to running.
    pub(crate) detach_key: Option<u8>,
}

/// Connects a command to this process as its flags ask, until it ends.
pub(crate) async fn attach(
    execution: &mut Execution<'_>,
    execute: &Execute,
    capture: bool,
    interrupts: &mut Interrupts,
) -> Result<Ended, Failure> {
    let _raw =
        (execute.tty && execute.interactive).then(terminal::RawMode::enter).transpose().map_err(|error| {
            Failure::new(Code::System, "the terminal cannot be set to raw mode").because(error)
        })?;
    let streams = Streams { stdin: execute.interactive, resize: execute.tty, capture, detach_key: None };
    Ok(pump(execution, streams, interrupts).await)
}

/// Pumps until the command ends.
pub(crate) async fn pump(
    execution: &mut Execution<'_>,
    streams: Streams,
    interrupts: &mut Interrupts,
) -> Ended {
    let mut stdin = streams.stdin.then(read_stdin);
    let mut waiting_input: Vec<u8> = Vec::new();
    // The detach key was pressed, and what was typed before it is still to go.
    let mut leaves = false;
    let mut signaled = None;
    let mut waiting_output: Option<Output> = None;
    let mut resizes = streams.resize.then(|| signal(SignalKind::window_change())).and_then(Result::ok);
    if resizes.is_some() {
        // The window may have changed while the VM came up, when nobody listened.
        resize(execution);
    }
    let (writer, thread) = match spawn_writer(streams.capture) {
        Ok(writer) => writer,
        Err(error) => return Ended::Failed(output_failed(&error)),
    };
    let end = loop {
        if let Err(failure) = forward_input(execution, &mut waiting_input) {
            break Err(failure);
        }
        if leaves && waiting_input.is_empty() {
            leaves = false;
            if let Err(failure) = execution.close_stdin() {
                break Err(failure);
            }
        }
        tokio::select! {
            signal = interrupts.next() => {
                let _ = execution.input(Input::Kill);
                signaled = Some(signal);
                break Ok(None);
            }
            permit = writer.reserve(), if waiting_output.is_some() => match (permit, waiting_output.take()) {
                (Ok(permit), Some(output)) => permit.send(output),
                // The writer has ended, and says why below.
                _ => {
                    let _ = execution.input(Input::Kill);
                    break Err(output_failed(&"it was closed"));
                }
            },
            output = execution.next(), if waiting_output.is_none() => match output {
                Ok(Output::Exited(exited)) => break Ok(Some(exited)),
                Ok(Output::Left) => break Ok(None),
                Ok(Output::Room) => {}
                Ok(Output::Cut { bytes, .. }) => {
                    waiting_output = Some(Output::Stderr(format!("[{bytes} bytes are not kept]\n").into_bytes()));
                }
                Ok(output) => waiting_output = Some(output),
                Err(failure) => break Err(failure),
            },
            piece = next_piece(&mut stdin), if stdin.is_some() && waiting_input.is_empty() => match piece {
                Some(Ok(piece)) => match streams.detach_key.and_then(|key| piece.iter().position(|byte| *byte == key)) {
                    None => waiting_input = piece,
                    // What was typed before it is typed; nothing behind it is.
                    Some(place) => {
                        waiting_input = piece.get(..place).unwrap_or_default().to_vec();
                        stdin = None;
                        leaves = true;
                    }
                },
                // A command must not take the part that could be read for the whole.
                Some(Err(error)) => {
                    let _ = execution.input(Input::Kill);
                    break Err(input_failed(&error));
                }
                None => {
                    stdin = None;
                    if let Err(failure) = execution.close_stdin() {
                        break Err(failure);
                    }
                }
            },
            Some(()) = next_resize(&mut resizes) => resize(execution),
        }
    };
    // However it ended: what came before is written first.
    drop(writer);
    if let Some(signal) = signaled {
        // What is on its way to a terminal comes before that is given back.
        let deadline = std::time::Instant::now() + LAST_OUTPUT_MS_MAX;
        while !thread.is_finished() && std::time::Instant::now() < deadline {
            tokio::time::sleep(WOULD_BLOCK_PAUSE).await;
        }
        return Ended::Signal(signal);
    }
    let written =
        tokio::task::spawn_blocking(move || thread.join().unwrap_or_else(|_| Ok(Captured::default())));
    let written = tokio::select! {
        signal = interrupts.next() => return Ended::Signal(signal),
        written = written => written,
    };
    match (written, end) {
        (Ok(Err(error)), _) if error.kind() == std::io::ErrorKind::BrokenPipe => Ended::ReaderLeft,
        (Ok(Err(error)), _) => Ended::Failed(output_failed(&error)),
        (Err(error), _) => Ended::Failed(output_failed(&error)),
        (Ok(Ok(captured)), Ok(Some(exited))) => Ended::Command(exited, captured),
        (Ok(Ok(_)), Ok(None)) => Ended::Left,
        (Ok(Ok(_)), Err(failure)) => Ended::Failed(failure),
    }
}

/// The size to start a terminal with where this process has none: the product's default.
pub(crate) const TERMINAL_SIZE_DEFAULT: TerminalSize = TerminalSize { rows: 30, columns: 120 };

/// Gives the command's terminal the size of this one.
fn resize(execution: &mut Execution<'_>) {
    if let Some(size) = terminal::size() {
        // A connection that is gone shows at the next output.
        let _ = execution.input(Input::Resize(size));
    }
}

fn forward_input(execution: &mut Execution<'_>, waiting: &mut Vec<u8>) -> Result<(), Failure> {
    while !waiting.is_empty() && execution.stdin_room() > 0 {
        let count = waiting.len().min(execution.stdin_room());
        let rest = waiting.split_off(count);
        execution.send_stdin(waiting)?;
        *waiting = rest;
    }
    Ok(())
}

type Writer = JoinHandle<std::io::Result<Captured>>;

/// One thread writes both streams, so that what a terminal shows keeps the order it came in.
fn spawn_writer(capture: bool) -> std::io::Result<(mpsc::Sender<Output>, Writer)> {
    let (sender, receiver) = mpsc::channel(OUTPUT_PIECES);
    let (stdout, stderr) = (terminal::raw_stdout()?, terminal::raw_stderr()?);
    let thread = std::thread::Builder::new()
        .name("output".to_owned())
        .spawn(move || if capture { Ok(keep(receiver)) } else { write(receiver, stdout, stderr) })?;
    Ok((sender, thread))
}

fn write(
    mut outputs: mpsc::Receiver<Output>,
    mut stdout: File,
    mut stderr: File,
) -> std::io::Result<Captured> {
    while let Some(output) = outputs.blocking_recv() {
        match output {
            Output::Stdout(bytes) => {
                terminal::watch_modes(&bytes);
                write_patiently(&mut stdout, &bytes)?;
            }
            Output::Stderr(bytes) => write_patiently(&mut stderr, &bytes)?,
            Output::Cut { .. } | Output::Room | Output::Exited(_) | Output::Left => {}
        }
    }
    Ok(Captured::default())
}

fn keep(mut outputs: mpsc::Receiver<Output>) -> Captured {
    let mut captured = Captured::default();
    while let Some(output) = outputs.blocking_recv() {
        match output {
            Output::Stdout(bytes) => captured.stdout.push(&bytes),
            Output::Stderr(bytes) => captured.stderr.push(&bytes),
            Output::Cut { .. } | Output::Room | Output::Exited(_) | Output::Left => {}
        }
    }
    captured
}

type Piece = std::io::Result<Vec<u8>>;

/// A thread reads standard input: a read from a terminal or a pipe cannot be called off.
fn read_stdin() -> mpsc::Receiver<Piece> {
    let (sender, receiver) = mpsc::channel(INPUT_PIECES);
    std::thread::spawn(move || {
        let mut stdin = terminal::raw_stdin();
        let mut buffer = vec![0; INPUT_BYTES];
        loop {
            let piece = match stdin.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => Ok(buffer.get(..count).unwrap_or_default().to_vec()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                // Somebody else's terminal settings: there is nothing to read right now.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    std::thread::sleep(WOULD_BLOCK_PAUSE);
                    continue;
                }
                Err(error) => Err(error),
            };
            let failed = piece.is_err();
            if sender.blocking_send(piece).is_err() || failed {
                break;
            }
        }
    });
    receiver
}

async fn next_piece(stdin: &mut Option<mpsc::Receiver<Piece>>) -> Option<Piece> {
    match stdin {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}

async fn next_resize(resizes: &mut Option<Signal>) -> Option<()> {
    match resizes {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Writes all of it, also where somebody has made the stream non-blocking.
fn write_patiently(stream: &mut File, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(WOULD_BLOCK_PAUSE)
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn output_failed(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Code::System, "the command's output cannot be written")
        .because(error)
        .fix("check where standard output and standard error go")
}

fn input_failed(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Code::System, "standard input cannot be read, and the command was killed")
        .because(error)
        .fix("check where standard input comes from")
}
