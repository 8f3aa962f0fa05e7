//! `pyro run`: one command in a fresh VM, then gone.

use std::time::{Duration, Instant};

use pyro::results::{Ran, VmFacts};
use pyro::{Code, Exec, Failure, LaunchRequest, Notice, Pyro, Shape, Vm, parse_seconds};

use crate::arguments::Run;
use crate::commands::env;
use crate::exec_request::exec_of;
use crate::exit::Status;
use crate::interrupt::Interrupts;
use crate::outcome::explain;
use crate::pump::{Ended, attach};
use crate::{report, terminal};

pub(crate) async fn run(pyro: &Pyro, arguments: Run) -> Result<Status, Failure> {
    let shape = Shape::parse(arguments.sizing.vcpu_count, arguments.sizing.mem_mib)?;
    let ttl_seconds = parse_seconds("--ttl-seconds", arguments.ttl_seconds)?;
    if arguments.network {
        return Err(Failure::new(Code::NotSupported, "--network is not available yet")
            .because("this release gives guests no network")
            .fix("run the command without it"));
    }
    let exec = exec_of(&arguments.execute, arguments.workdir.clone(), &arguments.command)?;
    let name = arguments.environment.as_str();
    if !pyro.is_installed(name)? {
        env::pull(pyro, name).await?;
    }
    // However it ends, another VM takes the place of the one that it takes.
    let _refilling = pyro.refill_at_end(name, shape);
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
            Notice::Seeding | Notice::ServiceFailed { .. } => {}
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
    let mut execution = vm.exec(exec)?;
    attach(&mut execution, &arguments.execute, arguments.json, interrupts).await
}

/// The VM goes whatever happened; a failure to remove it is told, and never hides the command's own end.
async fn finish(vm: Vm, ended: Ended, duration: Duration, arguments: &Run) -> Result<Status, Failure> {
    let facts = VmFacts::of(&vm);
    let stopped = vm.stop().await;
    let (exited, captured) = match ended {
        Ended::Command(exited, captured) => (exited, captured),
        Ended::Signal(signal) => return Ok(Status::signal(signal)),
        Ended::ReaderLeft => return Ok(Status::BROKEN_PIPE),
        Ended::Left => return Ok(Status::SUCCESS),
        Ended::Failed(failure) => return Err(failure),
    };
    let status = Status::of_command(&exited);
    if arguments.json {
        let finished = captured.into_finished(exited, duration);
        let ran = Ran::new(facts, &arguments.environment, &arguments.command, finished, stopped.is_ok());
        let written = report::written(report::json(&ran));
        return Ok(if written == Status::SUCCESS { status } else { written });
    }
    if arguments.timings {
        for (step, microseconds) in facts.timings() {
            terminal::note(&format!("[run] step={step} duration_ms={:.1}", *microseconds as f64 / 1000.0));
        }
    }
    explain(&exited, arguments.execute.timeout_seconds, arguments.sizing.mem_mib);
    terminal::note(&format!(
        "[run] environment={} execution_mode={} accelerator={} exit_code={} duration_ms={}",
        arguments.environment,
        facts.origin().execution_mode,
        facts.origin().accelerator,
        status.number(),
        duration.as_millis()
    ));
    if let Err(failure) = stopped {
        terminal::note(&format!("warning: {failure}"));
    }
    Ok(status)
}
