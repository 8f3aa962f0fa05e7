//! `pyro workspace service`

mod logs;

use pyro::results::{ServiceList, ServiceResult};
use pyro::{Code, Failure, Pyro, Readiness, ServiceInfo, ServiceRequest, working_directory};

use super::connect;
use crate::arguments::workspace::{One, Service, ServiceOne, ServiceRestart, ServiceStart, ServiceStop};
use crate::exec_request::variables;
use crate::exit::Status;
use crate::interrupt::unless_interrupted;
use crate::untrusted::printable;
use crate::{report, terminal};

pub(super) async fn run(pyro: &Pyro, arguments: Service) -> Result<Status, Failure> {
    match arguments {
        Service::Start(arguments) => unless_interrupted(start(pyro, &arguments)).await,
        Service::List(arguments) => list(pyro, &arguments).await,
        Service::Status(arguments) => status(pyro, &arguments).await,
        Service::Logs(arguments) => logs::run(pyro, &arguments).await,
        Service::Stop(arguments) => unless_interrupted(stop(pyro, &arguments)).await,
        Service::Restart(arguments) => unless_interrupted(restart(pyro, &arguments)).await,
    }
}

pub(super) fn wants_json(arguments: &Service) -> bool {
    match arguments {
        Service::Start(arguments) => arguments.connected.one.json,
        Service::List(arguments) => arguments.json,
        Service::Status(arguments) => arguments.one.json,
        Service::Logs(arguments) => arguments.which.one.json,
        Service::Stop(arguments) => arguments.which.one.json,
        Service::Restart(arguments) => arguments.connected.one.json,
    }
}

async fn start(pyro: &Pyro, arguments: &ServiceStart) -> Result<Status, Failure> {
    if !arguments.publish.is_empty() {
        return Err(Failure::new(Code::NotSupported, "--publish is not available yet")
            .because("this release gives guests no network")
            .fix("start the service without it, and reach it with `pyro workspace exec`"));
    }
    let request = ServiceRequest {
        name: arguments.name.clone(),
        command: arguments.command.clone(),
        environment: variables(&arguments.env)?,
        directory: working_directory(arguments.cwd.as_deref()),
        user: arguments.user.clone(),
        readiness: readiness(arguments),
        ready_timeout_seconds: arguments.ready_timeout_seconds,
        ready_interval_ms: arguments.ready_interval_ms,
        restart: arguments.restart.clone(),
    };
    request.check()?;
    let mut workspace = connect(pyro, &arguments.connected).await?;
    let started = with_spinner("waiting until it is ready", workspace.start_service(&request)).await;
    let json = arguments.connected.one.json;
    explained(pyro, workspace.id(), &arguments.name, json, started)?;
    tell(pyro, &workspace, &arguments.name, "start", json)
}

fn readiness(arguments: &ServiceStart) -> Option<Readiness> {
    let file = arguments.ready_file.clone().map(Readiness::File);
    let tcp = || arguments.ready_tcp.clone().map(Readiness::Tcp);
    let http = || arguments.ready_http.clone().map(Readiness::Http);
    let command = || arguments.ready_command.clone().map(Readiness::Command);
    file.or_else(tcp).or_else(http).or_else(command)
}

/// What a service wrote last is shown with its failure.
fn explained(
    pyro: &Pyro,
    workspace: &str,
    name: &str,
    json: bool,
    started: Result<(), Failure>,
) -> Result<(), Failure> {
    let Err(failure) = started else { return Ok(()) };
    let (failure, lines) = pyro.explain_service(workspace, name, failure);
    if lines.is_empty() {
        return Err(failure);
    }
    if json {
        return Err(failure.because(format!("it wrote: {}", lines.join("\n"))));
    }
    terminal::note(&format!("end of what the service {name} wrote:"));
    lines.iter().for_each(|line| terminal::note(&format!("  | {}", printable(line.as_bytes()))));
    Err(failure)
}

async fn list(pyro: &Pyro, arguments: &One) -> Result<Status, Failure> {
    let services = pyro.services(&arguments.workspace)?;
    let info = pyro.workspace(&arguments.workspace).await?;
    let running = services.iter().filter(|service| service.state == "running").count();
    if arguments.json {
        return Ok(report::written(report::json(&ServiceList {
            workspace_id: info.workspace_id,
            count: services.len(),
            running_count: running,
            services,
            execution_mode: info.execution_mode.unwrap_or("none"),
        })));
    }
    let mut text =
        format!("Workspace: {}\nServices: {} total, {running} running\n", info.workspace_id, services.len());
    for service in &services {
        text.push_str(&format!(
            "- {} [{}] cwd={} readiness={}\n",
            service.service_name,
            service.state,
            printable(service.cwd.as_bytes()),
            service.readiness
        ));
    }
    Ok(report::written(terminal::result(&text)))
}

async fn status(pyro: &Pyro, arguments: &ServiceOne) -> Result<Status, Failure> {
    let service = pyro.service(&arguments.one.workspace, &arguments.name)?;
    let info = pyro.workspace(&arguments.one.workspace).await?;
    let mode = info.execution_mode.unwrap_or("none");
    if arguments.one.json {
        return Ok(told(&info.workspace_id, &service, mode));
    }
    Ok(report::written(terminal::result(&described(&info.workspace_id, &service, mode))))
}

/// The transcript's block, with what else there is to say behind it.
fn described(workspace: &str, service: &ServiceInfo, mode: &str) -> String {
    let target = service.readiness_target.as_deref().map(|target| format!(" {target}")).unwrap_or_default();
    let mut text = format!(
        "Workspace: {workspace}\nService: {}\nState: {}\nCommand: {}\nCwd: {}\nReadiness: {}{}\nExecution mode: {mode}\n",
        service.service_name,
        service.state,
        printable(service.command.as_bytes()),
        printable(service.cwd.as_bytes()),
        service.readiness,
        printable(target.as_bytes())
    );
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text.push_str(&format!("{name}: {}\n", printable(value.as_bytes())));
        }
    };
    line("User", service.user.clone());
    line("Restart", (service.restart != "no").then(|| service.restart.clone()));
    line("Restarts", (service.restarts > 0).then(|| service.restarts.to_string()));
    line("Exit code", service.exit_code.map(|code| code.to_string()));
    line("Reason", service.reason.clone());
    text
}

async fn stop(pyro: &Pyro, arguments: &ServiceStop) -> Result<Status, Failure> {
    let ServiceOne { one, name } = &arguments.which;
    let stopping = pyro.stop_service(&one.workspace, name, arguments.grace_seconds);
    let (service, mode) = with_spinner("stopping", stopping).await?;
    Ok(shown(&pyro.workspace_id(&one.workspace)?, &service, mode.unwrap_or("none"), "stop", one.json))
}

async fn restart(pyro: &Pyro, arguments: &ServiceRestart) -> Result<Status, Failure> {
    // Before a VM is started for it.
    pyro.service(&arguments.connected.one.workspace, &arguments.name)?;
    let mut workspace = connect(pyro, &arguments.connected).await?;
    let restarted = workspace.restart_service(&arguments.name, arguments.grace_seconds);
    let restarted = with_spinner("waiting until it is ready", restarted).await;
    let json = arguments.connected.one.json;
    explained(pyro, workspace.id(), &arguments.name, json, restarted)?;
    tell(pyro, &workspace, &arguments.name, "restart", json)
}

/// For people, something that moves while they wait.
async fn with_spinner<T>(what: &'static str, work: impl Future<Output = T>) -> T {
    let bar = terminal::progress_bar();
    bar.set_message(what);
    bar.enable_steady_tick(terminal::TICK);
    let done = work.await;
    bar.finish_and_clear();
    done
}

fn tell(
    pyro: &Pyro,
    workspace: &pyro::Workspace,
    name: &str,
    what: &str,
    json: bool,
) -> Result<Status, Failure> {
    let service = pyro.service(workspace.id(), name)?;
    Ok(shown(workspace.id(), &service, workspace.execution_mode(), what, json))
}

fn shown(id: &str, service: &ServiceInfo, mode: &'static str, what: &str, json: bool) -> Status {
    if json {
        return told(id, service, mode);
    }
    // The transcript's lines: where it runs and what it was waited for is of interest when it starts.
    let started = match what {
        "stop" => String::new(),
        _ => format!(" cwd={} ready_type={}", printable(service.cwd.as_bytes()), service.readiness),
    };
    let code = service.exit_code.map(|code| format!(" exit_code={code}")).unwrap_or_default();
    let code = if what == "stop" { code } else { String::new() };
    terminal::note(&format!(
        "[workspace-service-{what}] workspace_id={id} service={} state={}{started} execution_mode={mode}{code}",
        service.service_name, service.state
    ));
    Status::SUCCESS
}

fn told(workspace_id: &str, service: &ServiceInfo, execution_mode: &'static str) -> Status {
    report::written(report::json(&ServiceResult::new(workspace_id, service, execution_mode)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The transcript's block comes first, and nothing is added where there is nothing to say.
    #[test]
    fn the_block_is_the_transcript_s() {
        let mut service = ServiceInfo {
            service_name: "web".to_owned(),
            state: "running",
            command: "sh -lc 'touch .web-ready && while true; do sleep 60; done'".to_owned(),
            argv: Vec::new(),
            cwd: "/workspace".to_owned(),
            user: None,
            readiness: "file".to_owned(),
            readiness_target: Some("/workspace/.web-ready".to_owned()),
            restart: "no".to_owned(),
            restarts: 0,
            started_at: String::new(),
            ready_at: None,
            ended_at: None,
            exit_code: None,
            reason: None,
        };
        let block = "Workspace: w\nService: web\nState: running\n\
            Command: sh -lc 'touch .web-ready && while true; do sleep 60; done'\nCwd: /workspace\n\
            Readiness: file /workspace/.web-ready\nExecution mode: guest_serial\n";
        assert_eq!(described("w", &service, "guest_serial"), block);
        service.restart = "always".to_owned();
        service.restarts = 2;
        service.exit_code = Some(1);
        service.reason = Some("\u{1b}[2J".to_owned());
        let more = described("w", &service, "guest_serial");
        assert_eq!(
            more,
            format!("{block}Restart: always\nRestarts: 2\nExit code: 1\nReason: \\u{{1b}}[2J\n")
        );
    }
}
