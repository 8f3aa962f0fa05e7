//! Starts a server as a host would, and speaks the Model Context Protocol (2025-11-25, stdio) with it.
//!
//! Every wait has a bound, and nothing that the server says is believed to be well-formed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout, timeout_at};

use super::limits::{PROBE_MESSAGE_BYTES_MAX, PROBE_PAGES_MAX, PROBE_STDERR_BYTES_MAX};

const PROTOCOL_VERSION: &str = "2025-11-25";

/// JSON-RPC: there is no such method.
const METHOD_NOT_FOUND: i64 = -32601;

/// What is started.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) directory: PathBuf,
    /// Set on top of what the server inherits.
    pub(super) variables: Vec<(OsString, OsString)>,
    /// Whether it inherits all variables.
    pub(super) inherits: bool,
    /// All its answers come within this,
    pub(super) answers_within: Duration,
    /// and its end within this of the end of its input.
    pub(super) ends_within: Duration,
}

/// What the server said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) protocol_version: String,
    pub(super) tools: usize,
}

/// What went wrong, at which step.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("it could not be started: {0}")]
    NotStarted(std::io::Error),
    #[error("it ended at `{step}` with {}{}", ending(*.status), said(.stderr))]
    Ended { step: &'static str, status: Option<ExitStatus>, stderr: String },
    #[error("it did not answer `{step}` within {} s{}", within.as_secs_f32(), said(.stderr))]
    Silent { step: &'static str, within: Duration, stderr: String },
    #[error("at `{step}` it printed something that is no message of the protocol: {line}")]
    NotProtocol { step: &'static str, line: String },
    #[error("it refused `{step}`: {message}")]
    Refused { step: &'static str, message: String },
    #[error("its answer to `{step}` {what}")]
    Malformed { step: &'static str, what: String },
    #[error("it did not end within {} s of the end of its input", .0.as_secs_f32())]
    Lingers(Duration),
    #[error("it ended with {} once its input had ended{}", ending(Some(*.status)), said(.stderr))]
    BadEnd { status: ExitStatus, stderr: String },
}

/// How it went: a server can answer all and still end badly.
#[derive(Debug)]
pub(super) struct Probed {
    pub(super) answer: Option<Answer>,
    pub(super) fault: Option<Fault>,
}

/// Starts it, asks for its tools, and ends it.
pub(super) async fn probe(launch: &Launch) -> Probed {
    let mut server = match Server::start(launch) {
        Ok(server) => server,
        Err(error) => return Probed { answer: None, fault: Some(Fault::NotStarted(error)) },
    };
    let answer = server.converse().await;
    let fault = match answer {
        Ok(_) => server.end().await.err(),
        Err(_) => None,
    };
    server.kill();
    match answer {
        Ok(answer) => Probed { answer: Some(answer), fault },
        Err(fault) => Probed { answer: None, fault: Some(fault) },
    }
}

struct Server {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    stderr: Arc<Mutex<Vec<u8>>>,
    answers_within: Duration,
    ends_within: Duration,
    deadline: Instant,
    next_id: u64,
}

impl Server {
    fn start(launch: &Launch) -> std::io::Result<Server> {
        let mut command = Command::new(&launch.program);
        if !launch.inherits {
            command.env_clear();
        }
        command.args(&launch.arguments).current_dir(&launch.directory);
        command.envs(launch.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, so that all of a server that hangs can be ended.
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let missing = || std::io::Error::other("it has no standard streams");
        let stderr = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(collect(child.stderr.take().ok_or_else(missing)?, Arc::clone(&stderr)));
        Ok(Server {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().ok_or_else(missing)?),
            child,
            stderr,
            answers_within: launch.answers_within,
            ends_within: launch.ends_within,
            deadline: Instant::now() + launch.answers_within,
            next_id: 1,
        })
    }

    async fn converse(&mut self) -> Result<Answer, Fault> {
        let step = "initialize";
        let us = json!({"name": "pyro host doctor", "version": env!("CARGO_PKG_VERSION")});
        let hello = json!({"protocolVersion": PROTOCOL_VERSION, "capabilities": {}, "clientInfo": us});
        let result = self.ask(step, hello).await?;
        let text = |path: &str| {
            let found = result.pointer(path).and_then(Value::as_str).map(str::to_owned);
            found.ok_or_else(|| Fault::Malformed { step, what: format!("has no {path}") })
        };
        let (name, version) = (text("/serverInfo/name")?, text("/serverInfo/version")?);
        let protocol_version = text("/protocolVersion")?;
        self.tell(step, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await?;
        Ok(Answer { name, version, protocol_version, tools: self.count_tools().await? })
    }

    async fn count_tools(&mut self) -> Result<usize, Fault> {
        let step = "tools/list";
        let mut count = 0;
        let mut cursor = None;
        for _ in 0..PROBE_PAGES_MAX {
            let asked = cursor.map_or_else(|| json!({}), |cursor: Value| json!({"cursor": cursor}));
            let result = self.ask(step, asked).await?;
            let Some(tools) = result.get("tools").and_then(Value::as_array) else {
                return Err(Fault::Malformed { step, what: "has no tools".to_owned() });
            };
            count += tools.len();
            match result.get("nextCursor").filter(|cursor| !cursor.is_null()) {
                Some(next) => cursor = Some(next.clone()),
                None => return Ok(count),
            }
        }
        Err(Fault::Malformed { step, what: format!("has more than {PROBE_PAGES_MAX} pages") })
    }

    /// Sends a request and waits for its response.
    async fn ask(&mut self, step: &'static str, parameters: Value) -> Result<Value, Fault> {
        let id = self.next_id;
        self.next_id += 1;
        self.tell(step, &json!({"jsonrpc": "2.0", "id": id, "method": step, "params": parameters})).await?;
        loop {
            // A server that never stops talking is never waited for.
            if Instant::now() >= self.deadline {
                return Err(self.silent(step));
            }
            let mut message = self.hear(step).await?;
            if let Some(method) = message.get("method") {
                // A notification needs no answer, a request of the server's gets one.
                if let Some(theirs) = message.get("id") {
                    let reply = reply_to(method, theirs);
                    self.tell(step, &reply).await?;
                }
                continue;
            }
            if message.get("id") != Some(&json!(id)) {
                continue;
            }
            if let Some(error) = message.get("error") {
                let message = error.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
                return Err(Fault::Refused { step, message });
            }
            return match message.get_mut("result") {
                Some(result) => Ok(result.take()),
                None => Err(Fault::Malformed { step, what: "has no result".to_owned() }),
            };
        }
    }

    async fn tell(&mut self, step: &'static str, message: &Value) -> Result<(), Fault> {
        let line = format!("{message}\n");
        let Some(input) = &mut self.input else { return Err(self.ended(step).await) };
        match timeout_at(self.deadline, input.write_all(line.as_bytes())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.ended(step).await),
            Err(_) => Err(self.silent(step)),
        }
    }

    async fn hear(&mut self, step: &'static str) -> Result<Value, Fault> {
        loop {
            let mut line = Vec::new();
            let bound = PROBE_MESSAGE_BYTES_MAX as u64 + 1;
            let mut output = (&mut self.output).take(bound);
            match timeout_at(self.deadline, output.read_until(b'\n', &mut line)).await {
                Err(_) => return Err(self.silent(step)),
                Ok(Err(_) | Ok(0)) => return Err(self.ended(step).await),
                Ok(Ok(_)) => {}
            }
            if line.len() > PROBE_MESSAGE_BYTES_MAX {
                let what = format!("is larger than {PROBE_MESSAGE_BYTES_MAX} bytes");
                return Err(Fault::Malformed { step, what });
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            return match serde_json::from_slice::<Value>(&line) {
                Ok(message) if message.is_object() => Ok(message),
                _ => {
                    let line = String::from_utf8_lossy(&line);
                    Err(Fault::NotProtocol { step, line: line.trim().chars().take(200).collect() })
                }
            };
        }
    }

    /// Ends its input, upon which a server ends.
    async fn end(&mut self) -> Result<(), Fault> {
        self.input = None;
        match timeout(self.ends_within, self.child.wait()).await {
            Err(_) => Err(Fault::Lingers(self.ends_within)),
            Ok(Ok(status)) if !status.success() => {
                Err(Fault::BadEnd { status, stderr: self.stderr_so_far().await })
            }
            Ok(_) => Ok(()),
        }
    }

    /// Ends all of it that has not ended.
    fn kill(&mut self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    async fn ended(&mut self, step: &'static str) -> Fault {
        // Its output can end some time before it.
        let status = timeout(Duration::from_secs(2), self.child.wait()).await.ok().and_then(Result::ok);
        Fault::Ended { step, status, stderr: self.stderr_so_far().await }
    }

    fn silent(&self, step: &'static str) -> Fault {
        Fault::Silent { step, within: self.answers_within, stderr: self.stderr_tail() }
    }

    /// What it said, once its last words have come.
    async fn stderr_so_far(&self) -> String {
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.stderr_tail()
    }

    fn stderr_tail(&self) -> String {
        let bytes = self.stderr.lock().map(|bytes| bytes.clone()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

/// The end of what a server says on standard error.
async fn collect(mut stderr: ChildStderr, tail: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        let Ok(mut tail) = tail.lock() else { return };
        tail.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let excess = tail.len().saturating_sub(PROBE_STDERR_BYTES_MAX);
        tail.drain(..excess);
    }
}

fn reply_to(method: &Value, id: &Value) -> Value {
    if method == "ping" {
        return json!({"jsonrpc": "2.0", "id": id, "result": {}});
    }
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": METHOD_NOT_FOUND, "message": "not here"}})
}

fn ending(status: Option<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status {
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => status.to_string(),
        },
        None => "the end of its output".to_owned(),
    }
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() {
        return String::new();
    }
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    format!(", having said: {}", lines.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"read l; echo '{"id":1,"result":{"protocolVersion":"2025-11-25","serverInfo":{"name":"pyro","version":"1"}}}';"#;
    const TOOLS: &str = r#"read l; read l; echo '{"id":2,"result":{"tools":[]}}';"#;

    /// Tries a script with little patience.
    fn probed(script: &str) -> Probed {
        let launch = Launch {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            directory: "/".into(),
            variables: Vec::new(),
            inherits: true,
            answers_within: Duration::from_secs(2),
            ends_within: Duration::from_secs(1),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(probe(&launch))
    }

    fn fault(script: &str) -> String {
        probed(script).fault.unwrap().to_string()
    }

    /// A server that says nothing is not waited for, whatever it ignores, and is told by the step.
    #[test]
    fn silence_has_an_end() {
        let hangs = "trap '' TERM INT; echo still here >&2; sleep 600 & sleep 600";
        assert_eq!(fault(hangs), "it did not answer `initialize` within 2 s, having said: still here");
        assert_eq!(
            fault(&format!("{ANSWER} {hangs}")),
            "it did not answer `tools/list` within 2 s, having said: still here"
        );
        let lingers = probed(&format!("{ANSWER} {TOOLS} {hangs}"));
        assert_eq!(lingers.answer.unwrap().tools, 0);
        assert_eq!(lingers.fault.unwrap().to_string(), "it did not end within 1 s of the end of its input");
    }

    /// A message without end is not held in memory, and neither is a list.
    #[test]
    fn floods_have_an_end() {
        let told = fault("yes | tr -d '\\n'");
        assert!(told.contains("is larger than") || told.contains("within"), "{told}");
        let chatter = r#"while :; do echo '{"method":"x"}'; done"#;
        assert!(fault(chatter).starts_with("it did not answer `initialize` within 2 s"));
        let pages = format!(
            r#"{ANSWER} read l; i=2; while read l; do echo '{{"id":'$i',"result":{{"tools":[],"nextCursor":"x"}}}}'; i=$((i+1)); done"#
        );
        let told = fault(&pages);
        assert!(told.contains("has more than 100 pages") || told.contains("within"), "{told}");
    }

    /// Only the end of what a server complains of is kept.
    #[test]
    fn complaints_are_cut() {
        let told = fault("yes complaint | head -c 100000 >&2; echo last >&2; exit 1");
        assert!(told.ends_with("last") && told.len() < 2 * PROBE_STDERR_BYTES_MAX, "{told}");
    }
}
