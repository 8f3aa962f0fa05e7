//! `pyro run`: one command in a fresh VM, then gone.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, Instant};

use pyro::{
    Code, Exec, Exited, Failure, LaunchRequest, Notice, Outcome, Pyro, Shape, Terminal, Vm, parse_seconds,
};
use serde::Serialize;

use crate::arguments::Run;
use crate::commands::env;
use crate::exit::Status;
use crate::interrupt::Interrupts;
use crate::pump::{Captured, Ended, Streams, TERMINAL_SIZE_DEFAULT, pump};
use crate::{report, settings, terminal};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct RunReport {
    accelerator: &'static str,
    cleanup: Cleanup,
    command: String,
    duration_ms: u128,
    environment: String,
    execution_mode: &'static str,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    stderr: String,
    #[serde(skip_serializing_if = "is_zero")]
    stderr_bytes_cut: u64,
    stdout: String,
    #[serde(skip_serializing_if = "is_zero")]
    stdout_bytes_cut: u64,
    /// Milliseconds.
    timings: BTreeMap<String, f64>,
}

#[derive(Debug, Serialize)]
struct Cleanup {
    deleted: bool,
    reason: &'static str,
    vm_id: String,
}

pub(crate) async fn run(pyro: &Pyro, arguments: Run) -> Result<Status, Failure> {
    let shape = Shape::parse(arguments.sizing.vcpu_count, arguments.sizing.mem_mib)?;
    let timeout_seconds = parse_seconds("--timeout-seconds", arguments.timeout_seconds)?;
    let ttl_seconds = parse_seconds("--ttl-seconds", arguments.ttl_seconds)?;
    if arguments.network {
        return Err(Failure::new(Code::NotSupported, "--network is not available yet")
            .because("this release gives guests no network")
            .fix("run the command without it"));
    }
    let exec = exec_of(&arguments, timeout_seconds)?;
    let name = arguments.environment.as_str();
    if !pyro.is_installed(name)? {
        env::pull(pyro, name).await?;
    }
    let mut interrupts = Interrupts::install()
        .map_err(|error| Failure::new(Code::System, "signals cannot be handled").because(error))?;
    let request = LaunchRequest { environment: name.to_owned(), shape, ttl_seconds: Some(ttl_seconds) };
    let mut vm = tokio::select! {
        vm = launch(pyro, request, arguments.json) => vm?,
        signal = interrupts.next() => return Ok(Status::signal(signal)),
    };
    marker(arguments.json, || format!("[run] phase=execute vm_id={}", vm.id()));
    let started = Instant::now();
    let ended = execute(&mut vm, exec, &arguments, &mut interrupts).await?;
    finish(vm, ended, started.elapsed(), &arguments).await
}

/// Brings a VM up, telling what takes long.
async fn launch(pyro: &Pyro, request: LaunchRequest, json: bool) -> Result<Vm, Failure> {
    let environment = request.environment.clone();
    marker(json, || format!("[run] phase=create environment={environment}"));
    let bar = terminal::progress_bar();
    let vm = pyro
        .launch(request, |notice| match notice {
            Notice::MakingTemplate => {
                bar.set_message("first use of this shape: booting it once");
                bar.enable_steady_tick(Duration::from_millis(100));
                bar.suspend(|| marker(json, || format!("[run] phase=template environment={environment}")));
            }
            Notice::Starting { vm_id } => {
                bar.finish_and_clear();
                marker(json, || format!("[run] phase=start vm_id={vm_id}"));
            }
        })
        .await;
    bar.finish_and_clear();
    vm
}

fn marker(json: bool, line: impl FnOnce() -> String) {
    if !json {
        terminal::note(&line());
    }
}

async fn execute(
    vm: &mut Vm,
    exec: Exec,
    arguments: &Run,
    interrupts: &mut Interrupts,
) -> Result<Ended, Failure> {
    let execution = vm.exec(exec)?;
    let _raw = (arguments.tty && arguments.interactive).then(terminal::RawMode::enter).transpose().map_err(
        |error| Failure::new(Code::System, "the terminal cannot be set to raw mode").because(error),
    )?;
    let streams = Streams { stdin: arguments.interactive, resize: arguments.tty, capture: arguments.json };
    Ok(pump(execution, streams, interrupts).await)
}

/// The VM goes whatever happened; a failure to remove it is told, and never hides the command's own end.
async fn finish(vm: Vm, ended: Ended, duration: Duration, arguments: &Run) -> Result<Status, Failure> {
    let summary = Summary {
        accelerator: vm.accelerator(),
        execution_mode: vm.execution_mode(),
        timings: vm.timings().to_vec(),
        vm_id: vm.id().to_owned(),
        duration_ms: duration.as_millis(),
    };
    let stopped = vm.stop().await;
    let (exited, captured) = match ended {
        Ended::Command(exited, captured) => (exited, captured),
        Ended::Signal(signal) => return Ok(Status::signal(signal)),
        Ended::ReaderLeft => return Ok(Status::BROKEN_PIPE),
        Ended::Failed(failure) => return Err(failure),
    };
    let status = Status::of_command(&exited);
    if arguments.json {
        let report = summary.into_report(arguments, &exited, captured, stopped.is_ok());
        return Ok(match report::json(&report) {
            Ok(()) => status,
            Err(_) => Status::BROKEN_PIPE,
        });
    }
    if arguments.timings {
        for (step, microseconds) in &summary.timings {
            terminal::note(&format!("[run] step={step} duration_ms={:.1}", *microseconds as f64 / 1000.0));
        }
    }
    explain(&exited, arguments);
    terminal::note(&format!(
        "[run] environment={} execution_mode={} accelerator={} exit_code={} duration_ms={}",
        arguments.environment,
        summary.execution_mode,
        summary.accelerator,
        status.number(),
        summary.duration_ms
    ));
    if let Err(failure) = stopped {
        terminal::note(&format!("warning: {failure}"));
    }
    Ok(status)
}

/// What an exit code alone does not say.
fn explain(exited: &Exited, arguments: &Run) {
    match exited.outcome {
        Outcome::TimedOut => terminal::error(&format!(
            "the command was killed at its time limit of {} s; give it longer with --timeout-seconds",
            arguments.timeout_seconds
        )),
        Outcome::OutOfMemory => terminal::error(&format!(
            "the guest ran out of memory ({} MiB) and killed the command; give it more with --mem-mib",
            arguments.sizing.mem_mib
        )),
        Outcome::Code(_) | Outcome::Signal(_) if exited.out_of_memory_kills > 0 => terminal::note(&format!(
            "note: the guest ran out of memory ({} MiB) and killed {} of the command's processes",
            arguments.sizing.mem_mib, exited.out_of_memory_kills
        )),
        Outcome::Code(_) | Outcome::Signal(_) => {}
    }
}

/// What is known of a VM once it is gone.
struct Summary {
    accelerator: &'static str,
    execution_mode: &'static str,
    timings: Vec<(String, u64)>,
    vm_id: String,
    duration_ms: u128,
}

impl Summary {
    fn into_report(self, arguments: &Run, exited: &Exited, captured: Captured, deleted: bool) -> RunReport {
        RunReport {
            accelerator: self.accelerator,
            cleanup: Cleanup { deleted, reason: "post_exec_cleanup", vm_id: self.vm_id },
            command: shell_words(&arguments.command),
            duration_ms: self.duration_ms,
            environment: arguments.environment.clone(),
            execution_mode: self.execution_mode,
            exit_code: Status::of_command(exited).number(),
            reason: match exited.outcome {
                Outcome::TimedOut => Some("timeout"),
                Outcome::OutOfMemory => Some("out_of_memory"),
                Outcome::Signal(_) => Some("signal"),
                Outcome::Code(_) => None,
            },
            stderr_bytes_cut: captured.stderr.cut(),
            stderr: captured.stderr.into_text(),
            stdout_bytes_cut: captured.stdout.cut(),
            stdout: captured.stdout.into_text(),
            timings: self.timings.into_iter().map(|(step, us)| (step, us as f64 / 1000.0)).collect(),
        }
    }
}

fn exec_of(arguments: &Run, timeout_seconds: u64) -> Result<Exec, Failure> {
    if arguments.command.first().is_none_or(|program| program.is_empty()) {
        return Err(Failure::new(Code::InvalidArgument, "the command is empty")
            .fix("write it behind `--`, as in `pyro run debian:12 -- git --version`"));
    }
    if arguments.tty && arguments.interactive && !terminal::stdin_is_terminal() {
        return Err(Failure::new(Code::InvalidArgument, "-it needs a terminal on standard input")
            .fix("leave out -t when input comes from a pipe or a file"));
    }
    let environment = arguments.env.iter().map(|text| variable(text)).collect::<Result<Vec<_>, _>>()?;
    Ok(Exec {
        argv: arguments.command.iter().map(|word| word.clone().into_vec()).collect(),
        environment: environment.into_iter().flatten().collect(),
        directory: arguments.workdir.clone().map(OsString::into_vec),
        user: arguments.user.clone(),
        terminal: arguments.tty.then(|| Terminal {
            size: terminal::size().unwrap_or(TERMINAL_SIZE_DEFAULT),
            term: settings::terminal_type(),
        }),
        stdin: arguments.interactive,
        timeout_ms: Some(timeout_seconds * 1000),
    })
}

/// `NAME=VALUE`, or `NAME` for this process's own value, as docker has it: one that is not set is left out.
fn variable(text: &OsStr) -> Result<Option<(Vec<u8>, Vec<u8>)>, Failure> {
    let bytes = text.as_bytes();
    let mut parts = bytes.splitn(2, |byte| *byte == b'=');
    let name = parts.next().unwrap_or_default();
    if name.is_empty() {
        return Err(Failure::new(Code::InvalidArgument, format!("--env {text:?} names no variable"))
            .fix("write --env NAME=VALUE, or --env NAME to hand on your own"));
    }
    let value = match parts.next() {
        Some(value) => Some(value.to_vec()),
        None => settings::inherited(OsStr::from_bytes(name)).map(OsString::into_vec),
    };
    Ok(value.map(|value| (name.to_vec(), value)))
}

/// The command as a shell would take it.
fn shell_words(command: &[OsString]) -> String {
    command.iter().map(|word| shell_word(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command in a result can be pasted into a shell.
    #[test]
    fn commands_are_quoted() {
        let words = ["git", "--version", "a b", "it's", ""].map(OsString::from);
        assert_eq!(shell_words(&words), r"git --version 'a b' 'it'\''s' ''");
    }

    /// Variables are set, handed on, or refused.
    #[test]
    fn variables_are_docker_s() {
        assert_eq!(variable(OsStr::new("A=b=c")).unwrap(), Some((b"A".to_vec(), b"b=c".to_vec())));
        assert_eq!(variable(OsStr::new("A=")).unwrap(), Some((b"A".to_vec(), Vec::new())));
        assert_eq!(variable(OsStr::new("PYRO_SURELY_NOT_SET")).unwrap(), None);
        assert!(variable(OsStr::new("=x")).is_err());
    }
}
