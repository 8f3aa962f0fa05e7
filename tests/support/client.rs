//! A call of the program: started, waited for, looked at.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::collector::Collector;
use super::{HANG_SECONDS_MAX, Process, wait_until};

const RECHECK_MS: Duration = Duration::from_millis(5);

/// A call that has not begun.
#[derive(Debug)]
pub(crate) struct Call {
    command: Command,
    input: Option<Vec<u8>>,
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<Collector>,
    stderr: Option<Collector>,
}

/// A call that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Call {
    pub(crate) fn new(command: Command) -> Call {
        Call { command, input: None }
    }

    /// With a variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Call {
        self.command.env(name, value);
        self
    }

    /// Without one.
    pub(crate) fn without(mut self, name: &str) -> Call {
        self.command.env_remove(name);
        self
    }

    /// In a directory.
    pub(crate) fn inside(mut self, directory: &std::path::Path) -> Call {
        self.command.current_dir(directory);
        self
    }

    /// With bytes on standard input, then its end.
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Call {
        self.input = Some(bytes.into());
        self
    }

    /// The call as a plain command, for what has to be started in another way.
    pub(crate) fn into_command(self) -> Command {
        self.command
    }

    /// Starts it, with its standard input left open.
    pub(crate) fn start(mut self) -> Running {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let stdout = child.stdout.take().map(Collector::start);
        let stderr = child.stderr.take().map(Collector::start);
        let stdin = child.stdin.take();
        Running { child, stdin, stdout, stderr }
    }

    /// Runs it to its end.
    pub(crate) fn finish(mut self) -> Finished {
        let input = self.input.take().unwrap_or_default();
        let mut running = self.start();
        let stdin = running.stdin.take();
        let feeder = std::thread::spawn(move || {
            // A reader that leaves early is the caller's matter.
            stdin.map(|mut stdin| stdin.write_all(&input))
        });
        let finished = running.finish();
        let _ = feeder.join().unwrap();
        finished
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The supervisor, once it is there.
    pub(crate) fn shim(&self) -> Process {
        let mut found = None;
        wait_until("the client starts a supervisor", || {
            found = Process::shims_of(self.pid()).pop();
            found.is_some()
        });
        found.unwrap()
    }

    /// The VMM, once it is there.
    pub(crate) fn vmm(&self) -> Process {
        let shim = self.shim();
        let mut found = None;
        wait_until("the supervisor starts a VMM", || {
            found = Process::vmms_of(shim.pid).pop();
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until text has come on standard output.
    pub(crate) fn wait_for_out(&self, text: &str) {
        let out = self.stdout.as_ref().unwrap();
        assert!(out.wait_for(text, HANG_SECONDS_MAX), "{text:?} never came: {}", self.told());
    }

    /// Waits until text has come on standard error.
    pub(crate) fn wait_for_err(&self, text: &str) {
        let err = self.stderr.as_ref().unwrap();
        assert!(err.wait_for(text, HANG_SECONDS_MAX), "{text:?} never came: {}", self.told());
    }

    /// Standard output so far.
    pub(crate) fn out_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stdout.as_ref().unwrap().so_far()).into_owned()
    }

    /// Standard error so far.
    pub(crate) fn err_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stderr.as_ref().unwrap().so_far()).into_owned()
    }

    /// Types a line.
    pub(crate) fn send(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Ends standard input.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits for its end; standard input stays as it is.
    pub(crate) fn finish(mut self) -> Finished {
        let deadline = Instant::now() + HANG_SECONDS_MAX;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the client hangs: {}", self.told());
            sleep(RECHECK_MS);
        };
        let stdout = self.stdout.take().unwrap().whole();
        let stderr = self.stderr.take().unwrap().whole();
        Finished { status, stdout, stderr }
    }

    fn told(&self) -> String {
        let text = |stream: &Option<Collector>| match stream {
            Some(stream) => shown(&stream.so_far()),
            None => String::new(),
        };
        format!("stdout {:?}, stderr {:?}", text(&self.stdout), text(&self.stderr))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed must not leave its client behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// Asserts the exit code.
    pub(crate) fn exits(&self, code: i32) -> &Finished {
        assert_eq!(
            self.status.code(),
            Some(code),
            "signal {:?}\nstdout: {}\nstderr: {}",
            self.status.signal(),
            shown(&self.stdout),
            shown(&self.stderr)
        );
        self
    }

    /// Asserts that standard output is exactly this.
    pub(crate) fn says(&self, text: &str) -> &Finished {
        assert_eq!(self.out(), text, "stderr: {}", shown(&self.stderr));
        self
    }

    /// Asserts that standard output has this in it.
    pub(crate) fn tells(&self, text: &str) -> &Finished {
        assert!(self.out().contains(text), "{text:?} is not in: {}, stderr: {}", self.out(), self.err());
        self
    }

    /// Asserts that standard error has each of these.
    pub(crate) fn explains(&self, texts: &[&str]) -> &Finished {
        for text in texts {
            assert!(self.err().contains(text), "{text:?} is not in: {}", self.err());
        }
        self
    }

    pub(crate) fn out(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Standard output as the one JSON object that it has to be.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {} {}", shown(&self.stdout), shown(&self.stderr)))
    }

    /// The code of a failure in JSON.
    pub(crate) fn error_code(&self) -> String {
        self.json()["error"]["code"]
            .as_str()
            .unwrap_or_else(|| panic!("no error in {}", self.out()))
            .to_owned()
    }
}

/// The beginning of what may be a hundred megabytes.
fn shown(bytes: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 4_000;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]).into_owned();
    if bytes.len() > SHOWN_BYTES_MAX { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}
