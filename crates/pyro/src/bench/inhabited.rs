//! A workspace that is lived in: shells that are opened and typed into, and commands beside a flood of output.

use std::time::{Duration, Instant};

use super::doomed::Doomed;
use super::figure::{Figure, Samples};
use crate::{
    Code, Failure, Output, Pyro, ServiceRequest, ShellRequest, Tail, TerminalSize, WORKSPACE, Workspace,
};

/// What floods: a line of usual length, without end.
const FLOOD: &str = "yes abcdefghijklmnopqrstuvwxyz0123456789";

/// So long a flood runs before anything is measured beside it: some megabytes of a terminal's output.
const FLOOD_FIRST: Duration = Duration::from_millis(500);

/// Commands of which the median counts, for one sample.
const COMMANDS: usize = 5;

/// Longest wait for output that must come.
const OUTPUT_SECONDS_MAX: Duration = Duration::from_secs(60);

/// Samples of it.
#[derive(Debug, Default)]
pub(super) struct Inhabited {
    open: Samples,
    open_per_exec: Samples,
    echo: Samples,
    beside_shell: Samples,
    beside_service: Samples,
    tail_short: Samples,
    tail_long: Samples,
}

impl Inhabited {
    /// Takes one of each.
    pub(super) async fn sample(&mut self, pyro: &Pyro, environment: &str) -> Result<(), Failure> {
        let (mut doomed, _) = Doomed::create(pyro, environment, None).await?;
        doomed.run(&["true"]).await?;
        // The first shell loads what the later ones share.
        let first = open(doomed.workspace().await?).await?;
        doomed.workspace().await?.close_shell(&first, 0).await?;
        let alone = exec(&mut doomed).await?;
        let begun = Instant::now();
        let shell = open(doomed.workspace().await?).await?;
        let opened = begun.elapsed();
        self.open.add(opened);
        self.open_per_exec.add_ratio(opened, alone);
        self.echo.add(echo(doomed.workspace().await?, &shell).await?);
        doomed.workspace().await?.write_shell(&shell, format!("\x15{FLOOD}\n").as_bytes()).await?;
        tokio::time::sleep(FLOOD_FIRST).await;
        self.beside_shell.add_ratio(exec(&mut doomed).await?, alone);
        doomed.workspace().await?.close_shell(&shell, 0).await?;
        let id = doomed.workspace().await?.id().to_owned();
        doomed.workspace().await?.start_service(&service("short", "echo ready; sleep 1000")).await?;
        doomed.workspace().await?.start_service(&service("flood", FLOOD)).await?;
        tokio::time::sleep(FLOOD_FIRST).await;
        self.beside_service.add_ratio(exec(&mut doomed).await?, alone);
        doomed.workspace().await?.stop_service("flood", 0).await?;
        self.tail_short.add(tail(pyro, &id, "short")?);
        self.tail_long.add(tail(pyro, &id, "flood")?);
        doomed.delete().await.map(drop)
    }

    /// What was measured.
    pub(super) fn figures(self) -> Vec<Figure> {
        vec![
            self.open.figure("shell open, to its prompt", "ms"),
            self.open_per_exec.figure("shell open / exec of true", "ratio"),
            self.echo.figure("a key typed, to its echo", "ms"),
            self.beside_shell.figure("exec of true beside a shell that prints without end / alone", "ratio"),
            self.beside_service.figure("exec of true beside a service that does / alone", "ratio"),
            self.tail_short.figure("service logs --tail-lines 200 of a log of one line", "ms"),
            self.tail_long.figure("service logs --tail-lines 200 of a flood's log", "ms"),
        ]
    }
}

async fn open(workspace: &mut Workspace) -> Result<String, Failure> {
    let size = TerminalSize { rows: 30, columns: 120 };
    let request = ShellRequest {
        command: Vec::new(),
        environment: Vec::new(),
        directory: WORKSPACE.into(),
        user: None,
        size,
    };
    workspace.open_shell(request).await
}

/// From a key to what it shows.
async fn echo(workspace: &mut Workspace, shell: &str) -> Result<Duration, Failure> {
    let mut seen = workspace.attach_shell(shell, 0)?;
    // The prompt, which is there.
    output(&mut seen).await?;
    let begun = Instant::now();
    seen.send_stdin(b"x")?;
    output(&mut seen).await?;
    let took = begun.elapsed();
    seen.close_stdin()?;
    while !matches!(seen.next().await?, Output::Left | Output::Exited(_)) {}
    Ok(took)
}

async fn output(execution: &mut crate::Execution<'_>) -> Result<(), Failure> {
    let comes = async {
        loop {
            match execution.next().await? {
                Output::Stdout(_) => return Ok(()),
                Output::Exited(_) | Output::Left => return Err(silent()),
                _ => {}
            }
        }
    };
    tokio::time::timeout(OUTPUT_SECONDS_MAX, comes).await.unwrap_or_else(|_| Err(silent()))
}

fn silent() -> Failure {
    Failure::new(Code::System, "a shell of the measurement printed nothing")
}

/// The median of several commands.
async fn exec(doomed: &mut Doomed<'_>) -> Result<Duration, Failure> {
    let mut took = Vec::new();
    for _ in 0..COMMANDS {
        took.push(doomed.run(&["true"]).await?.1);
    }
    took.sort();
    Ok(took.get(COMMANDS / 2).copied().unwrap_or_default())
}

fn service(name: &str, script: &str) -> ServiceRequest {
    ServiceRequest {
        name: name.to_owned(),
        command: ["sh", "-c", script].map(Into::into).to_vec(),
        environment: Vec::new(),
        directory: WORKSPACE.into(),
        user: None,
        readiness: None,
        ready_timeout_seconds: 30,
        ready_interval_ms: 500,
        restart: "no".to_owned(),
    }
}

fn tail(pyro: &Pyro, workspace: &str, name: &str) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let mut log = pyro.service_log(workspace, name, Tail::Lines(200))?;
    while !log.next(false)?.is_empty() {}
    Ok(begun.elapsed())
}
