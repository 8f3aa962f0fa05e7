//! A client of the MCP server that writes and reads single lines: what goes over the wire is what a test says.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::collector::Collector;
use super::{HANG_SECONDS_MAX, Machine, Process, wait_until};

/// A server whose client has gone, or that was told to end, is gone within this.
pub(crate) const SERVER_END_SECONDS_MAX: Duration = Duration::from_secs(25);

/// The revision with a handshake that clients speak.
pub(crate) const WITH_HANDSHAKE: &str = "2025-11-25";

/// The one without.
pub(crate) const STATELESS: &str = "2026-07-28";

/// A server that has used no processor for so long waits for somebody.
const IDLE_MS: Duration = Duration::from_millis(500);

const RECHECK_MS: Duration = Duration::from_millis(5);

/// A server over standard input and output, and its one client.
#[derive(Debug)]
pub(crate) struct Mcp {
    child: Child,
    stdin: Option<ChildStdin>,
    heard: Arc<Heard>,
    reader: Option<JoinHandle<()>>,
    /// While nobody reads it.
    unread: Option<ChildStdout>,
    stderr: Option<Collector>,
    last_id: u64,
}

/// What the server has said so far.
#[derive(Debug, Default)]
struct Heard {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    messages: Vec<Value>,
    /// Lines that are no message: there must be none.
    odd: Vec<String>,
    has_ended: bool,
}

impl Machine {
    /// `pyro mcp serve OPTIONS`, with a client that has said nothing yet.
    pub(crate) fn mcp(&self, options: &[&str]) -> Mcp {
        let mut mcp = self.mcp_unread(options);
        mcp.start_reading();
        mcp
    }

    /// The same, with a client that does not read.
    pub(crate) fn mcp_unread(&self, options: &[&str]) -> Mcp {
        let mut command = self.pyro(["mcp", "serve"].iter().chain(options)).into_command();
        command.current_dir(self.root());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().map(Collector::start);
        let (stdin, unread) = (child.stdin.take(), child.stdout.take());
        Mcp { child, stdin, heard: Arc::default(), reader: None, unread, stderr, last_id: 0 }
    }

    /// The same, with the handshake done.
    pub(crate) fn mcp_client(&self, options: &[&str]) -> Mcp {
        let mut mcp = self.mcp(options);
        mcp.shake_hands();
        mcp
    }

    /// The same, with every tool and a project.
    pub(crate) fn mcp_for(&self, project: &Path) -> Mcp {
        self.mcp_client(&["--profile", "workspace-full", "--project-path", project.to_str().unwrap()])
    }
}

impl Lines {
    /// The last ones, for a failure.
    fn end(&self) -> String {
        const SHOWN: usize = 5;
        let last = self.messages.iter().rev().take(SHOWN).rev();
        let shown: Vec<String> =
            last.map(|message| message.to_string().chars().take(500).collect()).collect();
        format!("{} messages, {:?}, others {:?}", self.messages.len(), shown, self.odd)
    }
}

impl Heard {
    fn read(&self, mut stdout: impl BufRead) {
        loop {
            let mut line = Vec::new();
            let read = stdout.read_until(b'\n', &mut line).unwrap_or_default();
            let mut lines = self.lines.lock().unwrap();
            if read == 0 {
                lines.has_ended = true;
                self.more.notify_all();
                return;
            }
            match serde_json::from_slice::<Value>(&line) {
                Ok(message) if message["jsonrpc"] == "2.0" && line.ends_with(b"\n") => {
                    lines.messages.push(message);
                }
                _ => lines.odd.push(String::from_utf8_lossy(&line).into_owned()),
            }
            self.more.notify_all();
        }
    }
}

impl Mcp {
    /// `initialize`, answered, and the notification behind it. Gives what the server said of itself.
    pub(crate) fn shake_hands(&mut self) -> Value {
        let hello = json!({
            "protocolVersion": WITH_HANDSHAKE,
            "capabilities": {},
            "clientInfo": { "name": "tests", "version": "1" },
        });
        let answer = self.ask("initialize", hello);
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        answer["result"].clone()
    }

    /// Begins to read what the server says.
    pub(crate) fn start_reading(&mut self) {
        let (stdout, heard) = (self.unread.take().unwrap(), Arc::clone(&self.heard));
        self.reader = Some(std::thread::spawn(move || heard.read(BufReader::new(stdout))));
    }

    /// From now on nobody ever will.
    pub(crate) fn stop_reading(&mut self) {
        self.unread = None;
    }

    /// The way to the server, for who writes more than it takes.
    pub(crate) fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().unwrap()
    }

    /// Waits until the server has had nothing to do for a while, and this is so too.
    pub(crate) fn wait_until_idle(&self, mut is_so: impl FnMut() -> bool) {
        let mut last = (Process::ticks(self.pid()), Instant::now());
        wait_until("the server is idle", || {
            let ticks = Process::ticks(self.pid());
            if ticks != last.0 || !is_so() {
                last = (ticks, Instant::now());
            }
            last.1.elapsed() > IDLE_MS
        });
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Writes a message.
    pub(crate) fn send(&mut self, message: &Value) {
        self.write(format!("{message}\n").as_bytes());
    }

    /// Begins a request; gives its id.
    pub(crate) fn request(&mut self, method: &str, params: Value) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// Begins a call of a tool; gives its id, which is its progress token too.
    pub(crate) fn begin(&mut self, tool: &str, arguments: Value) -> u64 {
        let token = self.last_id + 1;
        let params = json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": token } });
        self.request("tools/call", params)
    }

    /// Calls a request off.
    pub(crate) fn cancel(&mut self, id: u64) {
        let params = json!({ "requestId": id, "reason": "no longer wanted" });
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params }));
    }

    /// Waits for the answer to a request.
    pub(crate) fn answer(&self, id: impl Into<Value>) -> Value {
        let id = id.into();
        self.wait(&format!("an answer to {id}"), |message| is_answer(message) && message["id"] == id)
    }

    /// Whether a request has been answered.
    pub(crate) fn has_answered(&self, id: u64) -> bool {
        let lines = self.heard.lines.lock().unwrap();
        lines.messages.iter().any(|message| is_answer(message) && message["id"] == id)
    }

    /// A request with its answer.
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.request(method, params);
        self.answer(id)
    }

    /// A call of a tool with its answer, whichever it is.
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let id = self.begin(tool, arguments);
        self.answer(id)
    }

    /// A call of a tool that must succeed; gives its value.
    pub(crate) fn tool(&mut self, tool: &str, arguments: Value) -> Value {
        value_of(&self.call(tool, arguments))
    }

    /// A call of a tool that must fail; gives the code, and what a model reads.
    pub(crate) fn refusal(&mut self, tool: &str, arguments: Value) -> (String, String) {
        refusal_of(&self.call(tool, arguments))
    }

    /// Waits for news of a call that have this in them.
    pub(crate) fn wait_for_news(&self, id: u64, text: &str) {
        self.wait(&format!("news of {id} with {text:?}"), |message| {
            message["method"] == "notifications/progress"
                && message["params"]["progressToken"] == id
                && message["params"]["message"].as_str().is_some_and(|news| news.contains(text))
        });
    }

    /// Everything that was said so far.
    pub(crate) fn messages(&self) -> Vec<Value> {
        self.heard.lines.lock().unwrap().messages.clone()
    }

    fn wait(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + HANG_SECONDS_MAX;
        let mut lines = self.heard.lines.lock().unwrap();
        loop {
            if let Some(message) = lines.messages.iter().find(|message| is_it(message)) {
                return message.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !lines.has_ended && !left.is_zero(),
                "{what} never came: {} {}",
                lines.end(),
                self.told()
            );
            lines = self.heard.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends the server's standard input.
    pub(crate) fn close(&mut self) {
        self.stdin = None;
    }

    /// Closes its input and asserts that it ends well.
    pub(crate) fn finish(mut self) -> Vec<Value> {
        self.close();
        self.ends()
    }

    /// Asserts that it ends in time, with 0, and that it has said nothing but messages on standard output. Gives those.
    pub(crate) fn ends(mut self) -> Vec<Value> {
        let status = self.wait_for_end();
        assert_eq!(status.code(), Some(0), "{status}: {}", self.told());
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        let mut lines = self.heard.lines.lock().unwrap();
        assert!(lines.odd.is_empty(), "no messages: {:?}", lines.odd);
        std::mem::take(&mut lines.messages)
    }

    fn wait_for_end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + SERVER_END_SECONDS_MAX;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end: {}", self.told());
            sleep(RECHECK_MS);
        }
    }

    /// What it said on standard error.
    pub(crate) fn told(&self) -> String {
        let told = self.stderr.as_ref().map(Collector::so_far).unwrap_or_default();
        String::from_utf8_lossy(&told).into_owned()
    }
}

impl Drop for Mcp {
    fn drop(&mut self) {
        // A test that failed must not leave its server behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_answer(message: &Value) -> bool {
    message.get("result").is_some() || message.get("error").is_some()
}

/// The value of a call that must have succeeded.
pub(crate) fn value_of(answer: &Value) -> Value {
    let result = &answer["result"];
    assert!(result.is_object() && result["isError"] != true, "{answer}");
    result["structuredContent"].clone()
}

/// Code and text of a call that must have been refused by its tool.
pub(crate) fn refusal_of(answer: &Value) -> (String, String) {
    let result = &answer["result"];
    assert_eq!(result["isError"], true, "{answer}");
    let code = result["structuredContent"]["error"]["code"].as_str().unwrap_or_default();
    (code.to_owned(), text_of(answer))
}

/// What a model reads of an answer.
pub(crate) fn text_of(answer: &Value) -> String {
    let content = answer["result"]["content"].as_array();
    content.into_iter().flatten().filter_map(|part| part["text"].as_str()).collect()
}
