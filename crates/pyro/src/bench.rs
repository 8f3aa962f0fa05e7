//! Measures this machine: what a cold boot, a fork, a whole run, a command, a workspace and its snapshots cost.
//!
//! Nothing but what says so uses a parked VM. Whatever a measurement makes it removes again, also when it fails or is called off. It judges nothing.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::process::Command;

use self::figure::Samples;
use self::flatness::Flatness;
use self::inhabited::Inhabited;
use self::pooled::Pooled;
use self::snapshots::Snapshots;
use self::trees::Trees;
use self::workspaces::Workspaces;
use crate::execution::Execution;
use crate::{Code, Exec, Failure, LaunchRequest, Outcome, Output, Pyro, Shape, Vm};

mod doomed;
mod figure;
mod flatness;
mod forest;
mod inhabited;
mod pooled;
mod snapshots;
mod trees;
mod workspaces;

pub use self::figure::Figure;

/// Cold boots take seconds: one for so many samples of the rest.
const SAMPLES_PER_COLD_BOOT: u32 = 10;

/// Longest command of a measurement: unpacking under emulation on a busy machine.
const COMMAND_MS_MAX: u64 = 600_000;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// The environment used.
    pub environment: String,
    /// How guests ran.
    pub accelerator: String,
    /// `guest_vsock` or `guest_serial`: how the guest is reached.
    pub execution_mode: String,
    /// QEMU's version.
    pub vmm: String,
    /// Processors of the host.
    pub host_cpus: usize,
    /// Samples of most figures.
    pub samples: u32,
    /// The figures.
    pub figures: Vec<Figure>,
}

#[derive(Debug, Default)]
struct Collected {
    cold_boot: Samples,
    fork: Samples,
    launch: Samples,
    run: Samples,
    command: Samples,
    exec: Samples,
    stop: Samples,
    workspaces: Workspaces,
    snapshots: Snapshots,
    inhabited: Inhabited,
    idle: Samples,
    used: Samples,
    start: Samples,
}

/// Takes `samples` of everything, interleaved, so that a machine whose speed drifts spoils no ratio; with
/// `trees` also of large trees, which takes minutes.
pub async fn measure(
    pyro: &Pyro,
    environment: &str,
    samples: u32,
    trees: bool,
    mut on_progress: impl FnMut(u64, u64, &str),
) -> Result<BenchReport, Failure> {
    let qemu = pyro.qemu()?;
    let installed = pyro.installed(environment)?;
    let kit = pyro.kit(&installed)?;
    let way = pyro.proven_way(&qemu, &kit).await?;
    let mut collected = Collected::default();
    let (plain, mut pooled) = (pyro.with_pool(0)?, Pooled::new(pyro)?);
    let pyro = &plain;
    // The first VM makes the template and fills the host's page cache: it is not counted.
    launch(pyro, environment).await?.stop().await?;
    for sample in 0..samples {
        on_progress(u64::from(sample), u64::from(samples), "measuring");
        if sample % SAMPLES_PER_COLD_BOOT == 0 {
            let begun = Instant::now();
            pyro.probe(&qemu, &kit, way, true).await?;
            collected.cold_boot.add(begun.elapsed());
        }
        one_vm(pyro, environment, &mut collected).await?;
        collected.workspaces.sample(pyro, environment).await?;
        collected.snapshots.sample(pyro, environment).await?;
        collected.inhabited.sample(pyro, environment).await?;
        let alone = whole_run(pyro, environment, &["true"]).await?;
        collected.run.add(alone);
        pooled.sample(environment, alone).await?;
        collected.start.add(process(pyro, &["--version"]).await?);
    }
    let mut figures = collected.figures();
    figures.extend(pooled.figures());
    if trees {
        figures.extend(Flatness::measure(pyro, environment, samples, &mut on_progress).await?.figures());
        figures.extend(Trees::measure(pyro, environment, samples, &mut on_progress).await?.figures());
    }
    Ok(BenchReport {
        environment: environment.to_owned(),
        accelerator: way.accelerator.as_str().to_owned(),
        execution_mode: way.transport.execution_mode().to_owned(),
        vmm: qemu.version().to_string(),
        host_cpus: std::thread::available_parallelism().map_or(1, usize::from),
        samples,
        figures,
    })
}

impl Collected {
    fn figures(self) -> Vec<Figure> {
        let mut figures = vec![
            self.start.figure("pyro --version, whole process", "ms"),
            self.cold_boot.figure("cold boot to the agent's answer", "ms"),
            self.fork.figure("template fork to the agent's answer", "ms"),
            self.launch.figure("launch: fork, unique, root mounted", "ms"),
            self.exec.figure("exec of true in a live VM, round trip", "ms"),
            self.command.figure("of that, the command in the guest", "ms"),
            self.stop.figure("delete", "ms"),
            self.run.figure("pyro run ... -- true, whole process, no pool", "ms"),
            self.idle.figure("private memory of an idle VM", "MiB"),
            self.used.figure("private memory after two commands", "MiB"),
        ];
        figures.extend(self.workspaces.figures());
        figures.extend(self.snapshots.figures());
        figures.extend(self.inhabited.figures());
        figures
    }
}

async fn one_vm(pyro: &Pyro, environment: &str, collected: &mut Collected) -> Result<(), Failure> {
    let mut vm = launch(pyro, environment).await?;
    let fork = ["vmm_spawn", "vmm_ready", "state_load", "hello"];
    collected.fork.add(fork.into_iter().map(|name| step(vm.timings(), name)).sum());
    collected.launch.add(step(vm.timings(), "launch"));
    collected.idle.add_value(vm.private_kib().await? as f64 / 1024.0);
    // The first command translates and loads what the later ones share: the figure is of a VM in use.
    exec_true(&mut vm).await?;
    let begun = Instant::now();
    let inside = exec_true(&mut vm).await?;
    collected.exec.add(begun.elapsed());
    collected.command.add(inside);
    collected.used.add_value(vm.private_kib().await? as f64 / 1024.0);
    let begun = Instant::now();
    vm.stop().await?;
    collected.stop.add(begun.elapsed());
    Ok(())
}

/// What a step of a start took.
fn step(timings: &[(String, u64)], name: &str) -> Duration {
    Duration::from_micros(timings.iter().filter(|(step, _)| step == name).map(|(_, us)| *us).sum())
}

async fn launch(pyro: &Pyro, environment: &str) -> Result<Vm, Failure> {
    let request =
        LaunchRequest { environment: environment.to_owned(), shape: Shape::DEFAULT, ttl_seconds: Some(120) };
    pyro.launch(request, |_| {}).await
}

/// Runs `true`; gives what it took in the guest.
pub(crate) async fn exec_true(vm: &mut Vm) -> Result<Duration, Failure> {
    to_end(vm.exec(command(&["true"]))?).await
}

/// A command without input.
fn command(argv: &[&str]) -> Exec {
    Exec {
        argv: argv.iter().map(|word| word.as_bytes().to_vec()).collect(),
        environment: Vec::new(),
        directory: None,
        user: None,
        terminal: None,
        stdin: false,
        timeout_ms: Some(COMMAND_MS_MAX),
    }
}

/// Waits for a command that must succeed; gives what it took in the guest.
async fn to_end(mut execution: Execution<'_>) -> Result<Duration, Failure> {
    loop {
        match execution.next().await? {
            Output::Exited(exited) if exited.outcome == Outcome::Code(0) => {
                return Ok(Duration::from_micros(exited.duration_us));
            }
            Output::Exited(exited) => {
                return Err(Failure::new(Code::System, "a command of the measurement failed in the guest")
                    .because(format!("{:?}", exited.outcome)));
            }
            Output::Stdout(_) | Output::Stderr(_) | Output::Cut { .. } | Output::Room | Output::Left => {}
        }
    }
}

/// What tells this program, started again, to work where this one does.
fn directories_of(pyro: &Pyro) -> Vec<(&'static str, OsString)> {
    let config = &pyro.config;
    let mut variables = vec![
        ("PYRO_STATE_DIR", config.directories.state.clone().into_os_string()),
        ("PYRO_CACHE_DIR", config.directories.cache.clone().into_os_string()),
        ("PYRO_RUNTIME_DIR", config.directories.runtime.clone().into_os_string()),
        ("PYRO_ACCELERATOR", config.accelerator.as_str().into()),
        ("PYRO_TRANSPORT", config.transport.as_str().into()),
        ("PYRO_POOL", config.pool.to_string().into()),
    ];
    variables.extend(config.vmm.iter().map(|vmm| ("PYRO_QEMU", vmm.clone().into())));
    variables
}

async fn whole_run(pyro: &Pyro, environment: &str, command: &[&str]) -> Result<Duration, Failure> {
    let mut arguments = vec!["run", environment, "--"];
    arguments.extend(command);
    process(pyro, &arguments).await
}

/// Runs this program with the same directories; gives what it took from start to end.
async fn process(pyro: &Pyro, arguments: &[&str]) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let output = Command::new(&pyro.config.program)
        .args(arguments)
        .envs(directories_of(pyro))
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| Failure::new(Code::System, "pyro could not be started again").because(error))?;
    let took = begun.elapsed();
    if output.status.success() {
        return Ok(took);
    }
    Err(Failure::new(Code::System, format!("`pyro {}` failed", arguments.join(" ")))
        .because(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
