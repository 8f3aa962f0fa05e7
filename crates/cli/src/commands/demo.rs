//! `pyro demo`: create, start, exec and delete, end to end.

use std::time::Instant;

use pyro::{Code, Exec, Failure, LaunchRequest, Notice, Output, Pyro, Shape, Vm};
use serde::Serialize;

use crate::arguments::Demo;
use crate::commands::env;
use crate::exit::Status;
use crate::interrupt::unless_interrupted;
use crate::untrusted::printable;
use crate::{report, terminal};

/// Longest output of a step that is shown.
const SHOWN_CHARS_MAX: usize = 200;

#[derive(Debug, Serialize)]
struct Step {
    name: &'static str,
    detail: String,
    duration_ms: f64,
}

#[derive(Debug, Serialize)]
struct DemoReport {
    environment: String,
    vm_id: String,
    execution_mode: &'static str,
    accelerator: &'static str,
    steps: Vec<Step>,
}

pub(crate) async fn run(pyro: &Pyro, arguments: &Demo) -> Result<Status, Failure> {
    if !pyro.is_installed(&arguments.environment)? {
        env::pull(pyro, &arguments.environment).await?;
    }
    unless_interrupted(prove(pyro, arguments)).await
}

/// A VM's whole life, told step by step.
async fn prove(pyro: &Pyro, arguments: &Demo) -> Result<Status, Failure> {
    let mut steps = Vec::new();
    let note = |steps: &mut Vec<Step>, name, since: Instant, detail: String| {
        let step = Step { name, detail, duration_ms: since.elapsed().as_secs_f64() * 1000.0 };
        if !arguments.json {
            terminal::note(&format!(
                "[demo] step={} duration_ms={:.1} {}",
                step.name, step.duration_ms, step.detail
            ));
        }
        steps.push(step);
    };
    let mut since = Instant::now();
    let request = LaunchRequest {
        environment: arguments.environment.clone(),
        shape: Shape::DEFAULT,
        ttl_seconds: Some(120),
    };
    let mut made_template = false;
    let mut vm = pyro
        .launch(request, |notice| match notice {
            Notice::MakingTemplate => made_template = true,
            Notice::Seeding | Notice::ServiceFailed { .. } => {}
            Notice::Starting { .. } => {
                let how =
                    if made_template { "booted once and saved as a template" } else { "template is ready" };
                note(&mut steps, "create", since, how.to_owned());
                since = Instant::now();
            }
        })
        .await?;
    note(&mut steps, "start", since, format!("vm_id={}", vm.id()));
    let has_git =
        pyro.inspect(&arguments.environment)?.default_packages.iter().any(|package| package == "git");
    let tool = if has_git { "git --version" } else { "head -n 1 /etc/os-release" };
    for command in ["uname -sr", tool, "head -c 4 /dev/urandom | od -An -tx1"] {
        since = Instant::now();
        let output = shell(&mut vm, command).await?;
        note(&mut steps, "exec", since, format!("`{command}`: {output}"));
    }
    let (vm_id, mode, accelerator) = (vm.id().to_owned(), vm.execution_mode(), vm.accelerator());
    since = Instant::now();
    vm.stop().await?;
    note(&mut steps, "delete", since, "nothing of it is left".to_owned());
    let report = DemoReport {
        environment: arguments.environment.clone(),
        vm_id,
        execution_mode: mode,
        accelerator,
        steps,
    };
    if arguments.json {
        return Ok(report::written(report::json(&report)));
    }
    let text = format!(
        "Demo: PASS\nEnvironment: {}\nExecution mode: {}\nAccelerator: {}",
        report.environment, report.execution_mode, report.accelerator
    );
    Ok(report::written(terminal::result(&text)))
}

/// Runs a line of shell and gives what it printed; anything but success fails the demo.
async fn shell(vm: &mut Vm, line: &str) -> Result<String, Failure> {
    let mut execution = vm.exec(Exec {
        argv: ["sh", "-c", line].iter().map(|word| word.as_bytes().to_vec()).collect(),
        environment: Vec::new(),
        directory: None,
        user: None,
        terminal: None,
        stdin: false,
        timeout_ms: Some(30_000),
    })?;
    let mut text = Vec::new();
    loop {
        match execution.next().await? {
            Output::Stdout(bytes) | Output::Stderr(bytes) => text.extend(bytes),
            Output::Cut { .. } | Output::Room | Output::Left => {}
            Output::Exited(exited) if exited.outcome == pyro::Outcome::Code(0) => break,
            Output::Exited(exited) => {
                return Err(Failure::new(Code::System, format!("`{line}` failed in the guest"))
                    .because(format!("{:?}: {}", exited.outcome, printable(&text))));
            }
        }
    }
    Ok(printable(&text).trim().chars().take(SHOWN_CHARS_MAX).collect())
}
