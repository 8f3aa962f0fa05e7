//! Services: commands that are kept running, and that are ready when they are said to be.

use pyro::limits::{LOG_LINES_DEFAULT, SERVICE_GRACE_SECONDS_DEFAULT};
use pyro::results::{ServiceLines, ServiceList, ServiceResult};
use pyro::{Code, Failure, Readiness, ServiceInfo, ServiceRequest, Tail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Arguments, Effect, Tool};
use crate::answer::Answer;
use crate::call::{Call, directory, output_bytes, words};
use crate::profile::Profile;

pub(super) fn add(tools: &mut Vec<Tool>) {
    tools.push(Tool::new::<Start>(Profile::WorkspaceFull));
    tools.push(Tool::new::<List>(Profile::WorkspaceFull));
    tools.push(Tool::new::<Status>(Profile::WorkspaceFull));
    tools.push(Tool::new::<Logs>(Profile::WorkspaceFull));
    tools.push(Tool::new::<Stop>(Profile::WorkspaceFull));
}

fn described(service: &ServiceInfo) -> String {
    let code = service.exit_code.map(|code| format!(" exit_code={code}")).unwrap_or_default();
    let reason = service.reason.as_ref().map(|reason| format!(" reason={reason}")).unwrap_or_default();
    format!(
        "service_name={} state={} readiness={}{code}{reason}",
        service.service_name, service.state, service.readiness
    )
}

fn stands(workspace_id: &str, service: &ServiceInfo, mode: &'static str) -> Answer<ServiceResult> {
    Answer::new(ServiceResult::new(workspace_id, service, mode), described(service))
}

fn default_ready_timeout() -> u64 {
    30
}

fn default_ready_interval() -> u64 {
    500
}

fn default_restart() -> String {
    "no".to_owned()
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Start {
    workspace_id: String,
    service_name: String,
    /// A line for sh.
    command: String,
    /// Default /workspace.
    cwd: Option<String>,
    /// Ready when this file is there.
    ready_file: Option<String>,
    /// Ready when this HOST:PORT accepts.
    ready_tcp: Option<String>,
    /// Ready when this URL answers 200 to 399.
    ready_http: Option<String>,
    /// Ready when this command exits with 0.
    ready_command: Option<String>,
    #[serde(default = "default_ready_timeout")]
    ready_timeout_seconds: u64,
    #[serde(default = "default_ready_interval")]
    ready_interval_ms: u64,
    /// no, on-failure or always.
    #[serde(default = "default_restart")]
    restart: String,
}

impl Start {
    fn readiness(&self) -> Result<Option<Readiness>, Failure> {
        let file = self.ready_file.clone().map(|path| Readiness::File(path.into()));
        let tcp = self.ready_tcp.clone().map(Readiness::Tcp);
        let http = self.ready_http.clone().map(Readiness::Http);
        let command = self.ready_command.clone().map(|command| Readiness::Command(command.into()));
        let mut given = [file, tcp, http, command].into_iter().flatten();
        match (given.next(), given.next()) {
            (first, None) => Ok(first),
            _ => Err(Failure::new(Code::InvalidArgument, "a service is ready in one way")
                .fix("give one of ready_file, ready_tcp, ready_http and ready_command")),
        }
    }
}

impl Arguments for Start {
    const NAME: &'static str = "service_start";
    const DESCRIPTION: &'static str =
        "Start a command that is kept running in a workspace. Returns when it is ready.";
    const EFFECT: Effect = Effect::Adds;
    type Output = ServiceResult;

    async fn run(self, call: &Call) -> Result<Answer<ServiceResult>, Failure> {
        let request = ServiceRequest {
            readiness: self.readiness()?,
            name: self.service_name,
            command: words(&self.command).map(Into::into).to_vec(),
            environment: Vec::new(),
            directory: directory(self.cwd.as_deref()),
            user: None,
            ready_timeout_seconds: self.ready_timeout_seconds,
            ready_interval_ms: self.ready_interval_ms,
            restart: self.restart,
        };
        request.check()?;
        let mut workspace = call.workspace(&self.workspace_id).await?;
        call.report.say("waiting until it is ready");
        if let Err(failure) = workspace.start_service(&request).await {
            let (failure, lines) = call.pyro.explain_service(workspace.id(), &request.name, failure);
            return Err(match lines.is_empty() {
                true => failure,
                false => failure.because(format!("it wrote: {}", lines.join("\n"))),
            });
        }
        let service = call.pyro.service(workspace.id(), &request.name)?;
        Ok(stands(workspace.id(), &service, workspace.execution_mode()))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct List {
    workspace_id: String,
}

impl Arguments for List {
    const NAME: &'static str = "service_list";
    const DESCRIPTION: &'static str = "The services of a workspace.";
    const EFFECT: Effect = Effect::Reads;
    type Output = ServiceList;

    async fn run(self, call: &Call) -> Result<Answer<ServiceList>, Failure> {
        let services = call.pyro.services(&self.workspace_id)?;
        let info = call.info(&self.workspace_id).await?;
        let mut text: String = services.iter().map(|service| described(service) + "\n").collect();
        if text.is_empty() {
            text.push_str("no services; start one with service_start");
        }
        let list = ServiceList {
            workspace_id: info.workspace_id,
            count: services.len(),
            running_count: services.iter().filter(|service| service.state == "running").count(),
            services,
            execution_mode: info.execution_mode.unwrap_or("none"),
        };
        Ok(Answer::new(list, text))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Status {
    workspace_id: String,
    service_name: String,
}

impl Arguments for Status {
    const NAME: &'static str = "service_status";
    const DESCRIPTION: &'static str = "How a service stands.";
    const EFFECT: Effect = Effect::Reads;
    type Output = ServiceResult;

    async fn run(self, call: &Call) -> Result<Answer<ServiceResult>, Failure> {
        let service = call.pyro.service(&self.workspace_id, &self.service_name)?;
        let info = call.info(&self.workspace_id).await?;
        Ok(stands(&info.workspace_id, &service, info.execution_mode.unwrap_or("none")))
    }
}

fn default_lines() -> u64 {
    LOG_LINES_DEFAULT
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Logs {
    workspace_id: String,
    service_name: String,
    #[serde(default = "default_lines")]
    tail_lines: u64,
    max_bytes: Option<u64>,
}

/// The end of a log, and what of the lines asked for is not here.
#[derive(Debug, Serialize, JsonSchema)]
struct LogEnd {
    #[serde(flatten)]
    lines: ServiceLines,
    /// Lines in front that are not here.
    earlier: usize,
}

impl Arguments for Logs {
    const NAME: &'static str = "service_logs";
    const DESCRIPTION: &'static str = "The last lines that a service wrote.";
    const EFFECT: Effect = Effect::Reads;
    type Output = LogEnd;

    async fn run(self, call: &Call) -> Result<Answer<LogEnd>, Failure> {
        let id = call.pyro.workspace_id(&self.workspace_id)?;
        let service = call.pyro.service(&id, &self.service_name)?;
        let mut log = call.pyro.service_log(&id, &self.service_name, Tail::Lines(self.tail_lines))?;
        let bytes_max = output_bytes(self.max_bytes);
        let (mut entries, mut bytes, mut earlier) = (std::collections::VecDeque::new(), 0, 0);
        loop {
            let next = log.next(false)?;
            if next.is_empty() {
                break;
            }
            for entry in next {
                bytes += entry.text.len() + 1;
                entries.push_back(entry);
                while bytes > bytes_max && entries.len() > 1 {
                    bytes -= entries.pop_front().map_or(0, |gone: pyro::LogEntry| gone.text.len() + 1);
                    earlier += 1;
                }
            }
        }
        let entries: Vec<_> = entries.into();
        let mut text = format!("service_name={} state={}\n", self.service_name, service.state);
        if earlier > 0 {
            text.push_str(&format!("[{earlier} earlier lines: ask for more with max_bytes]\n"));
        }
        for entry in &entries {
            let stream = if entry.stream == "stderr" { "stderr: " } else { "" };
            text.push_str(&format!("{stream}{}\n", entry.text));
        }
        let lines = ServiceLines {
            workspace_id: id,
            service_name: self.service_name,
            state: service.state,
            count: entries.len(),
            entries,
            bytes_cut: log.cut_bytes(),
        };
        Ok(Answer::new(LogEnd { lines, earlier }, text))
    }
}

fn default_grace() -> u64 {
    SERVICE_GRACE_SECONDS_DEFAULT
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Stop {
    workspace_id: String,
    service_name: String,
    /// Before it is killed.
    #[serde(default = "default_grace")]
    grace_seconds: u64,
}

impl Arguments for Stop {
    const NAME: &'static str = "service_stop";
    const DESCRIPTION: &'static str = "Stop a service and all that it started.";
    const EFFECT: Effect = Effect::Destroys;
    type Output = ServiceResult;

    async fn run(self, call: &Call) -> Result<Answer<ServiceResult>, Failure> {
        let id = call.pyro.workspace_id(&self.workspace_id)?;
        call.report.say("stopping");
        let (service, mode) = call.pyro.stop_service(&id, &self.service_name, self.grace_seconds).await?;
        Ok(stands(&id, &service, mode.unwrap_or("none")))
    }
}
