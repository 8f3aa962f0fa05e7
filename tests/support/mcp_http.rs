//! A client of the MCP server over HTTP that writes requests itself, byte for byte.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;
use serde_json::Value;

use super::mcp::SERVER_END_SECONDS_MAX;
use super::{Call, HANG_SECONDS_MAX, Machine, Running, wait_until};

/// A server that listens.
#[derive(Debug)]
pub(crate) struct Listening {
    running: Running,
    /// `HOST:PORT`
    pub(crate) address: String,
    pub(crate) token: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in small letters.
    headers: Vec<(String, String)>,
    body: String,
}

impl Machine {
    /// `pyro mcp serve --http ADDRESS OPTIONS`, to be started.
    pub(crate) fn serve_http(&self, address: &str, options: &[&str]) -> Call {
        let fixed = ["mcp", "serve", "--http", address];
        self.pyro(fixed.iter().chain(options)).inside(self.root())
    }

    /// The same on any port, with a token that it makes itself.
    pub(crate) fn mcp_over_http(&self, options: &[&str]) -> Listening {
        let running = self.serve_http("127.0.0.1:0", options).start();
        wait_until("the token is told", || {
            running.err_so_far().contains("token=") && running.err_so_far().ends_with('\n')
        });
        let token = said(&running, "token=");
        Listening::of(running, token)
    }
}

/// What a server said of itself on its standard error.
fn said(running: &Running, name: &str) -> String {
    let told = running.err_so_far();
    let line = told.lines().find_map(|line| line.strip_prefix("[mcp] ")?.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {told}")).to_owned()
}

impl Listening {
    /// One that has been started with a token that is known.
    pub(crate) fn of(running: Running, token: impl Into<String>) -> Listening {
        running.wait_for_err("/mcp\n");
        let url = said(&running, "url=");
        let address =
            url.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/mcp")).unwrap().to_owned();
        Listening { running, address, token: token.into() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What it said on standard error.
    pub(crate) fn told(&self) -> String {
        self.running.err_so_far()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// A connection on which this has been sent.
    pub(crate) fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(HANG_SECONDS_MAX)).unwrap();
        // A server that has refused a long request need not read all of it.
        let _ = stream.write_all(bytes);
        stream
    }

    /// A message to the protocol's place, with all that a request needs; `changes` replace or add headers, and drop those
    /// that they give nothing for.
    pub(crate) fn request(&self, path: &str, body: &str, changes: &[(&str, &str)]) -> Vec<u8> {
        self.spelled("POST", path, body, changes)
    }

    /// Ends a session, and waits for the response.
    pub(crate) fn delete(&self, session: &str) -> Response {
        Response::read(self.send(&self.spelled("DELETE", "/mcp", "", &[("Mcp-Session-Id", session)])))
    }

    fn spelled(&self, method: &str, path: &str, body: &str, changes: &[(&str, &str)]) -> Vec<u8> {
        let (length, authorization) = (body.len().to_string(), format!("Bearer {}", self.token));
        let mut headers = vec![
            ("Host", self.address.as_str()),
            ("Authorization", &authorization),
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
            ("Content-Length", &length),
            ("Connection", "close"),
        ];
        for (name, value) in changes {
            headers.retain(|(known, _)| known != name);
            headers.push((name, value));
        }
        headers.retain(|(_, value)| !value.is_empty());
        let head: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{method} {path} HTTP/1.1\r\n{head}\r\n{body}").into_bytes()
    }

    /// Sends a message, and waits for the whole response.
    pub(crate) fn post(&self, body: &Value, changes: &[(&str, &str)]) -> Response {
        Response::read(self.send(&self.request("/mcp", &body.to_string(), changes)))
    }

    /// Tells it to end, and asserts that it ends well and in time.
    pub(crate) fn ends(self) {
        self.running.signal(Signal::TERM);
        let told = std::time::Instant::now();
        self.running.finish().exits(0).says("");
        assert!(told.elapsed() < SERVER_END_SECONDS_MAX, "it took {:?}", told.elapsed());
    }
}

impl Response {
    /// Reads up to the end of the connection.
    pub(crate) fn read(mut stream: TcpStream) -> Response {
        let mut bytes = Vec::new();
        // What a server that has refused a request does not read breaks the connection behind its answer.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Response { status, headers, body: body.to_owned() }
    }

    /// A header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The last message in it, whether it came as it is or as an event.
    pub(crate) fn message(&self) -> Value {
        let lines = self.body.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
        let message =
            lines.rev().find_map(|line| serde_json::from_str::<Value>(line).ok().filter(Value::is_object));
        message.unwrap_or_else(|| panic!("no message in {self:?}"))
    }
}
