//! Bytes between a running command and this process's own streams, with nobody waiting for the wrong one:
//! a reader that stops holds up the command's output and nothing else, and a signal is always heard.

use std::fs::File;
use std::io::{Read, Write};
use std::thread::JoinHandle;

use pyro::{Capture, Execution, Exited, Failure, Input, Output, TerminalSize};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::interrupt::Interrupts;
use crate::terminal;

/// Pieces of output waiting for a slow reader.
const OUTPUT_PIECES: usize = 4;
/// Pieces of input read ahead of the command.
const INPUT_PIECES: usize = 2;
const INPUT_BYTES: usize = 32 * 1024;

/// How pumping ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The command ended, and all its output is written or captured.
    Command(Exited, Captured),
    /// A signal asked this process to end.
    Signal(i32),
    /// The reader of the output left.
    ReaderLeft,
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

/// What to connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams {
    /// Standard input.
    pub(crate) stdin: bool,
    /// The command's terminal follows this one's size.
    pub(crate) resize: bool,
    /// Output is kept for a result instead of written as it comes.
    pub(crate) capture: bool,
}

/// Pumps until the command ends.
pub(crate) async fn pump(
    mut execution: Execution<'_>,
    streams: Streams,
    interrupts: &mut Interrupts,
) -> Ended {
    let mut stdin = streams.stdin.then(read_stdin);
    let mut waiting_input: Vec<u8> = Vec::new();
    let mut waiting_output: Option<Output> = None;
    let mut resizes = streams.resize.then(|| signal(SignalKind::window_change())).and_then(Result::ok);
    let (writer, thread) = match spawn_writer(streams.capture) {
        Ok(writer) => writer,
        Err(error) => return Ended::Failed(output_failed(&error)),
    };
    let exited = loop {
        if let Err(failure) = forward_input(&mut execution, &mut waiting_input) {
            return Ended::Failed(failure);
        }
        tokio::select! {
            signal = interrupts.next() => {
                let _ = execution.input(Input::Kill);
                return Ended::Signal(signal);
            }
            permit = writer.reserve(), if waiting_output.is_some() => match (permit, waiting_output.take()) {
                (Ok(permit), Some(output)) => permit.send(output),
                _ => {
                    let _ = execution.input(Input::Kill);
                    return Ended::ReaderLeft;
                }
            },
            output = execution.next(), if waiting_output.is_none() => match output {
                Ok(Output::Exited(exited)) => break exited,
                Ok(Output::Room) => {}
                Ok(output) => waiting_output = Some(output),
                Err(failure) => return Ended::Failed(failure),
            },
            piece = next_piece(&mut stdin), if stdin.is_some() && waiting_input.is_empty() => match piece {
                Some(piece) => waiting_input = piece,
                None => {
                    stdin = None;
                    if let Err(failure) = execution.close_stdin() {
                        return Ended::Failed(failure);
                    }
                }
            },
            Some(()) = next_resize(&mut resizes) => {
                if let Some(size) = terminal::size() {
                    let _ = execution.input(Input::Resize(size));
                }
            }
        }
    };
    drop(writer);
    let written =
        tokio::task::spawn_blocking(move || thread.join().unwrap_or_else(|_| Ok(Captured::default())));
    tokio::select! {
        signal = interrupts.next() => Ended::Signal(signal),
        written = written => match written {
            Ok(Ok(captured)) => Ended::Command(exited, captured),
            _ => Ended::ReaderLeft,
        },
    }
}

/// The size to start a terminal with where this process has none: the product's default.
pub(crate) const TERMINAL_SIZE_DEFAULT: TerminalSize = TerminalSize { rows: 30, columns: 120 };

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
            Output::Stdout(bytes) => stdout.write_all(&bytes)?,
            Output::Stderr(bytes) => stderr.write_all(&bytes)?,
            Output::Room | Output::Exited(_) => {}
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
            Output::Room | Output::Exited(_) => {}
        }
    }
    captured
}

/// A thread reads standard input: a read from a terminal or a pipe cannot be called off.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(INPUT_PIECES);
    std::thread::spawn(move || {
        let mut stdin = terminal::raw_stdin();
        let mut buffer = vec![0; INPUT_BYTES];
        while let Ok(count) = stdin.read(&mut buffer) {
            let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else { break };
            if sender.blocking_send(piece.to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

async fn next_piece(stdin: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
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

fn output_failed(error: &std::io::Error) -> Failure {
    Failure::new(pyro::Code::System, "standard output cannot be written").because(error)
}
