//! Measures this machine: what a cold boot, a fork, a whole run and a command cost.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::process::Command;

use crate::{Code, Exec, Failure, LaunchRequest, Outcome, Output, Pyro, Shape, Vm};

/// Cold boots take seconds: one for so many samples of the rest.
const SAMPLES_PER_COLD_BOOT: u32 = 10;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// The environment used.
    pub environment: String,
    /// How guests ran.
    pub accelerator: String,
    /// QEMU's version.
    pub vmm: String,
    /// Processors of the host.
    pub host_cpus: usize,
    /// Samples of most figures.
    pub samples: u32,
    /// The figures.
    pub figures: Vec<Figure>,
}

/// One figure over its samples.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Samples taken.
    pub count: usize,
}

/// Samples of one figure.
#[derive(Debug, Default)]
struct Samples(Vec<f64>);

#[derive(Debug, Default)]
struct Collected {
    cold_boot: Samples,
    fork: Samples,
    launch: Samples,
    run: Samples,
    command: Samples,
    exec: Samples,
    stop: Samples,
    idle: Samples,
    used: Samples,
    start: Samples,
}

/// Takes `samples` of everything, interleaved, so that a machine whose speed drifts spoils no ratio.
pub async fn measure(
    pyro: &Pyro,
    environment: &str,
    samples: u32,
    mut on_progress: impl FnMut(u64, u64, &str),
) -> Result<BenchReport, Failure> {
    let qemu = pyro.qemu()?;
    let installed = pyro.installed(environment)?;
    let kit = pyro.kit(&installed)?;
    let accelerator = pyro.proven_accelerator(&qemu, &kit).await?;
    let mut collected = Collected::default();
    // The first VM makes the template and fills the host's page cache: it is not counted.
    launch(pyro, environment).await?.stop().await?;
    for sample in 0..samples {
        on_progress(u64::from(sample), u64::from(samples), "measuring");
        if sample % SAMPLES_PER_COLD_BOOT == 0 {
            let begun = Instant::now();
            pyro.probe(&qemu, &kit, accelerator).await?;
            collected.cold_boot.add(begun.elapsed());
        }
        one_vm(pyro, environment, &mut collected).await?;
        collected.run.add(whole_run(pyro, environment, &["true"]).await?);
        collected.start.add(process(pyro, &["--version"]).await?);
    }
    Ok(BenchReport {
        environment: environment.to_owned(),
        accelerator: accelerator.as_str().to_owned(),
        vmm: qemu.version().to_string(),
        host_cpus: std::thread::available_parallelism().map_or(1, usize::from),
        samples,
        figures: collected.figures(),
    })
}

impl Collected {
    fn figures(self) -> Vec<Figure> {
        vec![
            self.start.figure("pyro --version, whole process", "ms"),
            self.cold_boot.figure("cold boot to the agent's answer", "ms"),
            self.fork.figure("template fork to the agent's answer", "ms"),
            self.launch.figure("launch: fork, unique, root mounted", "ms"),
            self.exec.figure("exec of true in a live VM, round trip", "ms"),
            self.command.figure("of that, the command in the guest", "ms"),
            self.stop.figure("delete", "ms"),
            self.run.figure("pyro run ... -- true, whole process", "ms"),
            self.idle.figure("private memory of an idle VM", "MiB"),
            self.used.figure("private memory after two commands", "MiB"),
        ]
    }
}

impl Samples {
    fn add(&mut self, duration: Duration) {
        self.0.push(duration.as_secs_f64() * 1000.0);
    }

    fn figure(mut self, name: &'static str, unit: &'static str) -> Figure {
        self.0.sort_by(f64::total_cmp);
        Figure {
            name,
            unit,
            p50: percentile(&self.0, 50),
            p95: percentile(&self.0, 95),
            p99: percentile(&self.0, 99),
            count: self.0.len(),
        }
    }
}

/// The nearest-rank percentile of sorted values; zero of none.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

async fn one_vm(pyro: &Pyro, environment: &str, collected: &mut Collected) -> Result<(), Failure> {
    let mut vm = launch(pyro, environment).await?;
    let step =
        |name: &str| vm.timings().iter().filter(|(step, _)| step == name).map(|(_, us)| *us).sum::<u64>();
    let fork: u64 = ["vmm_spawn", "vmm_ready", "state_load", "hello"].into_iter().map(step).sum();
    collected.fork.add(Duration::from_micros(fork));
    collected.launch.add(Duration::from_micros(step("launch")));
    collected.idle.0.push(vm.private_kib().await? as f64 / 1024.0);
    // The first command translates and loads what the later ones share: the figure is of a VM in use.
    exec_true(&mut vm).await?;
    let begun = Instant::now();
    let inside = exec_true(&mut vm).await?;
    collected.exec.add(begun.elapsed());
    collected.command.add(inside);
    collected.used.0.push(vm.private_kib().await? as f64 / 1024.0);
    let begun = Instant::now();
    vm.stop().await?;
    collected.stop.add(begun.elapsed());
    Ok(())
}

async fn launch(pyro: &Pyro, environment: &str) -> Result<Vm, Failure> {
    let request =
        LaunchRequest { environment: environment.to_owned(), shape: Shape::DEFAULT, ttl_seconds: Some(120) };
    pyro.launch(request, |_| {}).await
}

/// Runs `true`; gives what it took in the guest.
pub(crate) async fn exec_true(vm: &mut Vm) -> Result<Duration, Failure> {
    let mut execution = vm.exec(Exec {
        argv: vec![b"true".to_vec()],
        environment: Vec::new(),
        directory: None,
        user: None,
        terminal: None,
        stdin: false,
        timeout_ms: Some(30_000),
    })?;
    loop {
        match execution.next().await? {
            Output::Exited(exited) if exited.outcome == Outcome::Code(0) => {
                return Ok(Duration::from_micros(exited.duration_us));
            }
            Output::Exited(exited) => {
                return Err(Failure::new(Code::System, "`true` failed in the guest")
                    .because(format!("{:?}", exited.outcome)));
            }
            Output::Stdout(_) | Output::Stderr(_) | Output::Room => {}
        }
    }
}

async fn whole_run(pyro: &Pyro, environment: &str, command: &[&str]) -> Result<Duration, Failure> {
    let mut arguments = vec!["run", environment, "--"];
    arguments.extend(command);
    process(pyro, &arguments).await
}

/// Runs this program with the same directories; gives what it took from start to end.
async fn process(pyro: &Pyro, arguments: &[&str]) -> Result<Duration, Failure> {
    let config = &pyro.config;
    let begun = Instant::now();
    let output = Command::new(&config.program)
        .args(arguments)
        .env("PYRO_STATE_DIR", &config.directories.state)
        .env("PYRO_CACHE_DIR", &config.directories.cache)
        .env("PYRO_RUNTIME_DIR", &config.directories.runtime)
        .env("PYRO_ACCELERATOR", config.accelerator.as_str())
        .envs(config.vmm.iter().map(|vmm| ("PYRO_QEMU", vmm)))
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

#[cfg(test)]
mod tests {
    use super::percentile;

    /// Percentiles are nearest-rank: a value that was really measured.
    #[test]
    fn percentiles_are_measured_values() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            (percentile(&hundred, 50), percentile(&hundred, 95), percentile(&hundred, 99)),
            (50.0, 95.0, 99.0)
        );
        assert_eq!((percentile(&[7.0], 99), percentile(&[], 50)), (7.0, 0.0));
    }
}
