//! One run of a host program: its own process group, its output read line by line, bounded, and its whole process tree
//! killed when the work is canceled or takes too long. It never decides what a failure means.

mod output;

use std::io::Read;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

pub use output::{ToolError, ToolOutput};

use crate::limits::{POLL_INTERVAL, TOOL_LINE_BYTES_MAX, TOOL_LINES_QUEUED_MAX, TREE_GONE_MAX};
use crate::process_tree;
use crate::progress::Cancel;

/// What bounds a run.
#[derive(Clone, Copy)]
pub(crate) struct Bounds<'a> {
    pub(crate) program: &'static str,
    pub(crate) limit: Duration,
    pub(crate) cancel: &'a Cancel,
}

/// A started program. Dropping it kills its process tree.
pub(crate) struct Running {
    program: &'static str,
    child: Child,
    lines: Receiver<String>,
    output: ToolOutput,
    started: Instant,
}

/// Starts a program and waits for it. Every line of its stderr goes through `on_line`.
pub(crate) fn run(
    command: Command,
    bounds: Bounds<'_>,
    on_line: &mut dyn FnMut(&str),
) -> Result<(), ToolError> {
    start(command, bounds.program)?.finish(bounds, on_line)
}

/// Starts a program. Its stdin and stdout are the caller's choice, its stderr is read here.
pub(crate) fn start(mut command: Command, program: &'static str) -> Result<Running, ToolError> {
    use std::os::unix::process::CommandExt;
    let refuse = |source| ToolError::Start { program, source };
    let mut child =
        command.env("LC_ALL", "C").stderr(Stdio::piped()).process_group(0).spawn().map_err(refuse)?;
    let (sender, lines) = sync_channel(TOOL_LINES_QUEUED_MAX);
    let stderr = child.stderr.take();
    let running = Running { program, child, lines, output: ToolOutput::default(), started: Instant::now() };
    let reader = std::thread::Builder::new().name(format!("{program} stderr"));
    reader.spawn(move || stderr.map(|stderr| forward_lines(stderr, &sender))).map_err(refuse)?;
    Ok(running)
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub(crate) fn has_exited(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills the program and gives what it said so far.
    pub(crate) fn abandon(mut self) -> ToolOutput {
        self.kill_tree();
        self.drain();
        std::mem::take(&mut self.output)
    }

    /// Waits for the end of the program and of its output.
    pub(crate) fn finish(
        mut self,
        bounds: Bounds<'_>,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<(), ToolError> {
        let mut silent_since_exit = None;
        loop {
            self.check(bounds)?;
            match self.lines.recv_timeout(POLL_INTERVAL) {
                Ok(line) => {
                    self.output.add(&line);
                    on_line(&line);
                    silent_since_exit = None;
                }
                Err(RecvTimeoutError::Disconnected) => break,
                // Something it left behind may hold stderr open for ever.
                Err(RecvTimeoutError::Timeout) if self.has_exited() => {
                    let since = silent_since_exit.get_or_insert_with(Instant::now);
                    if since.elapsed() > TREE_GONE_MAX {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        self.reap(bounds)
    }

    fn reap(mut self, bounds: Bounds<'_>) -> Result<(), ToolError> {
        loop {
            let refuse = |source| ToolError::Start { program: bounds.program, source };
            match self.child.try_wait().map_err(refuse)? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    let output = std::mem::take(&mut self.output);
                    return Err(ToolError::Failed { program: self.program, status, output });
                }
                None => {
                    self.check(bounds)?;
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }

    fn check(&mut self, bounds: Bounds<'_>) -> Result<(), ToolError> {
        bounds.cancel.check().inspect_err(|_| self.kill_tree())?;
        if self.started.elapsed() > bounds.limit {
            self.kill_tree();
            return Err(ToolError::TimedOut { program: self.program, limit: bounds.limit });
        }
        Ok(())
    }

    /// Kills the program and all it started, and waits until they have let go of stderr.
    fn kill_tree(&mut self) {
        if self.has_exited() {
            return;
        }
        process_tree::kill(self.child.id());
        let _ = self.child.wait();
        self.drain();
    }

    /// Takes what is still said until nobody holds stderr any more.
    fn drain(&mut self) {
        let deadline = Instant::now() + TREE_GONE_MAX;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.output.add(&line);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_tree();
    }
}

/// Cuts a stream into lines of bounded length. Carriage returns end lines too, as progress meters use them.
fn forward_lines(mut stream: impl Read, sender: &SyncSender<String>) {
    let mut buffer = [0; 4096];
    let mut line = Vec::new();
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        for &byte in buffer.get(..count).unwrap_or_default() {
            match byte {
                b'\n' | b'\r' if line.is_empty() => {}
                b'\n' | b'\r' => send_line(&mut line, sender),
                _ if line.len() < TOOL_LINE_BYTES_MAX => line.push(byte),
                _ => {}
            }
        }
    }
    if !line.is_empty() {
        send_line(&mut line, sender);
    }
}

fn send_line(line: &mut Vec<u8>, sender: &SyncSender<String>) {
    let text = String::from_utf8_lossy(line).into_owned();
    line.clear();
    // The receiver is gone when the run was given up: then nobody wants the rest, which is still drained.
    let _ = sender.send(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::TOOL_TAIL_LINES_MAX;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn bounds(cancel: &Cancel, limit: Duration) -> Bounds<'_> {
        Bounds { program: "sh", limit, cancel }
    }

    /// Keeps: a failing program's error carries its exit code and last words.
    #[test]
    fn failures_carry_the_last_words() {
        let cancel = Cancel::new();
        let limit = Duration::from_secs(60);
        let error =
            run(shell("echo first >&2; echo E: last >&2; exit 3"), bounds(&cancel, limit), &mut |_| {});
        let ToolError::Failed { status, output, .. } = error.unwrap_err() else { panic!("another error") };
        assert_eq!(status.code(), Some(3));
        assert_eq!(output.errors, ["E: last"]);
        assert_eq!(output.tail, ["first", "E: last"]);
    }

    /// Keeps: output without end costs bounded memory, and every line is bounded.
    #[test]
    fn output_is_bounded() {
        let cancel = Cancel::new();
        let limit = Duration::from_secs(60);
        let script = "i=0; while [ $i -lt 2000 ]; do echo line $i >&2; i=$((i+1)); done; \
                      head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1";
        let mut longest = 0;
        let result =
            run(shell(script), bounds(&cancel, limit), &mut |line| longest = longest.max(line.len()));
        let ToolError::Failed { output, .. } = result.unwrap_err() else { panic!("another error") };
        assert_eq!(output.tail.len(), TOOL_TAIL_LINES_MAX);
        assert_eq!(longest, TOOL_LINE_BYTES_MAX);
    }

    /// Keeps: a canceled or late program is killed with everything it started, wherever that went.
    #[test]
    fn the_whole_tree_dies() {
        let directory = tempfile::tempdir().unwrap();
        let pids = directory.path().join("pids");
        let script = format!(
            "sleep 1000 & echo $! >>{0}; setsid sh -c 'echo $$ >>{0}; sleep 1000; :' & echo ready >&2; wait",
            pids.display()
        );
        let cancel = Cancel::new();
        let stop = cancel.clone();
        let began = Instant::now();
        let result = run(shell(&script), bounds(&cancel, Duration::from_secs(60)), &mut |_| {
            while std::fs::read_to_string(&pids).unwrap_or_default().lines().count() < 2 {
                std::thread::sleep(Duration::from_millis(5));
            }
            stop.cancel();
        });
        assert!(matches!(result, Err(ToolError::Canceled(_))));
        assert!(began.elapsed() < Duration::from_secs(5));
        // A process that was killed is there until it has been taken apart.
        let is_gone = |pid: &str| {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ") || state.contains(") X ")
        };
        for pid in std::fs::read_to_string(&pids).unwrap().lines() {
            while !is_gone(pid) {
                assert!(began.elapsed() < Duration::from_secs(60), "process {pid} lives on");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Keeps: a program that never ends is given up after its limit.
    #[test]
    fn a_late_program_is_killed() {
        let cancel = Cancel::new();
        let result = run(shell("sleep 1000"), bounds(&cancel, Duration::from_millis(100)), &mut |_| {});
        assert!(matches!(result, Err(ToolError::TimedOut { program: "sh", .. })));
    }
}
