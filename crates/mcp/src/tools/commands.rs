//! Commands of a workspace and what they wrote.

use pyro::results::{Detached, End, Executed, LoggedCommand, shell_words};
use pyro::{Code, Failure, HistoryEntry, KeptOutput};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Arguments, Effect, Tool};
use crate::answer::{self, Answer};
use crate::call::{Call, directory, output_bytes, shell_line, words};
use crate::limits::{COMMAND_BYTES_MAX, HISTORY_COMMANDS_MAX, HISTORY_OUTPUT_BYTES, OUTPUT_BYTES_MAX};
use crate::profile::Profile;

pub(super) fn add(tools: &mut Vec<Tool>) {
    tools.push(Tool::new::<WorkspaceExec>(Profile::WorkspaceCore));
    tools.push(Tool::new::<WorkspaceLogs>(Profile::WorkspaceCore));
}

pub(super) fn default_timeout() -> u64 {
    30
}

/// A command that is waited for.
pub(super) struct Command<'a> {
    pub(super) line: &'a str,
    pub(super) cwd: Option<&'a str>,
    pub(super) timeout_seconds: u64,
    pub(super) max_bytes: Option<u64>,
}

impl Command<'_> {
    /// Runs it to its end; the guest kills all of it when this is dropped.
    pub(super) async fn run(&self, call: &Call, workspace: &str) -> Result<Answer<Executed>, Failure> {
        let cwd = directory(self.cwd);
        let exec = shell_line(self.line, Some(&cwd), self.timeout_seconds)?;
        let mut workspace = call.workspace(workspace).await?;
        call.report.say("running");
        let mut execution = workspace.exec(exec)?;
        let finished =
            execution.finish(output_bytes(self.max_bytes), |bytes| call.report.output(bytes)).await?;
        let sequence = execution.sequence();
        let executed = Executed {
            workspace_id: workspace.id().to_owned(),
            sequence,
            command: shell_words(&words(self.line)),
            cwd: cwd.to_string_lossy().into_owned(),
            origin: (&workspace).into(),
            end: finished.into(),
        };
        let rest = format!("page through it with workspace_logs(sequence={})", sequence.unwrap_or_default());
        let number = sequence.map(|sequence| format!("sequence={sequence} ")).unwrap_or_default();
        let text = number + &ran_text(&executed.end, &rest);
        Ok(Answer::new(executed, text))
    }
}

/// The end of a command in a line, and what it wrote.
pub(super) fn ran_text(end: &End, rest: &str) -> String {
    let reason = end.reason.map(|reason| format!(" reason={reason}")).unwrap_or_default();
    let mut text = format!("exit_code={}{reason} duration_ms={}", end.exit_code, end.duration_ms);
    section(&mut text, "stdout", &end.stdout);
    section(&mut text, "stderr", &end.stderr);
    let cut = end.stdout_bytes_cut + end.stderr_bytes_cut;
    if cut > 0 {
        text.push_str(&format!("\n[{cut} bytes are not shown: {rest}]"));
    }
    text
}

fn section(text: &mut String, name: &str, output: &str) {
    if !output.is_empty() {
        text.push_str(&format!("\n[{name}]\n{}", output.trim_end_matches('\n')));
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WorkspaceExec {
    workspace_id: String,
    /// A line for sh.
    command: String,
    /// Default /workspace.
    cwd: Option<String>,
    #[serde(default = "default_timeout")]
    timeout_seconds: u64,
    /// Of each output, shown.
    max_bytes: Option<u64>,
    /// Do not wait; see workspace_logs.
    #[serde(default)]
    detach: bool,
}

/// A command that has ended, or one that was left to run.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum Execed {
    Ended(Executed),
    Left(Detached),
}

impl Arguments for WorkspaceExec {
    const NAME: &'static str = "workspace_exec";
    const DESCRIPTION: &'static str =
        "Run a command in a workspace. A timeout kills all that it started; cancelling does too.";
    const EFFECT: Effect = Effect::Destroys;
    type Output = Execed;

    async fn run(self, call: &Call) -> Result<Answer<Execed>, Failure> {
        if !self.detach {
            let command = Command {
                line: &self.command,
                cwd: self.cwd.as_deref(),
                timeout_seconds: self.timeout_seconds,
                max_bytes: self.max_bytes,
            };
            let Answer { value, text } = command.run(call, &self.workspace_id).await?;
            return Ok(Answer::new(Execed::Ended(value), text));
        }
        let cwd = directory(self.cwd.as_deref());
        let exec = shell_line(&self.command, Some(&cwd), self.timeout_seconds)?;
        let mut workspace = call.workspace(&self.workspace_id).await?;
        let sequence = workspace.exec_detached(exec).await?;
        let detached = Detached {
            workspace_id: workspace.id().to_owned(),
            sequence,
            command: shell_words(&words(&self.command)),
            cwd: cwd.to_string_lossy().into_owned(),
            detached: true,
            origin: (&workspace).into(),
        };
        let text = format!("sequence={sequence} runs; see workspace_logs(sequence={sequence})");
        Ok(Answer::new(Execed::Left(detached), text))
    }
}

/// One of a command's two outputs.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WorkspaceLogs {
    workspace_id: String,
    /// Only this command.
    sequence: Option<u64>,
    /// Page through this output of it.
    stream: Option<Stream>,
    /// First byte: 0, then next_cursor.
    #[serde(default)]
    cursor: u64,
    max_bytes: Option<u64>,
}

/// Commands, and a page of what one of them wrote.
#[derive(Debug, Serialize, JsonSchema)]
struct Logs {
    workspace_id: String,
    count: usize,
    /// Earlier commands that are not here.
    earlier: usize,
    entries: Vec<LoggedCommand>,
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<Page>,
}

/// A part of one output.
#[derive(Debug, Serialize, JsonSchema)]
struct Page {
    stream: Stream,
    cursor: u64,
    next_cursor: u64,
    total_bytes: u64,
    text: String,
}

impl Arguments for WorkspaceLogs {
    const NAME: &'static str = "workspace_logs";
    const DESCRIPTION: &'static str = "The commands of a workspace since its last reset, with what they wrote; or one of them; or one output of it page by page.";
    const EFFECT: Effect = Effect::Reads;
    type Output = Logs;

    async fn run(self, call: &Call) -> Result<Answer<Logs>, Failure> {
        let id = call.pyro.workspace_id(&self.workspace_id)?;
        match (self.sequence, self.stream) {
            (Some(sequence), Some(stream)) => self.page(call, id, sequence, stream),
            (Some(sequence), None) if self.cursor == 0 => self.one(call, id, sequence),
            (None, None) if self.cursor == 0 => self.all(call, id),
            _ => Err(Failure::new(
                Code::InvalidArgument,
                "stream and cursor are for the output of one command",
            )
            .fix("give sequence, stream and cursor together, or none of them")),
        }
    }
}

impl WorkspaceLogs {
    fn all(&self, call: &Call, id: String) -> Result<Answer<Logs>, Failure> {
        let mut history = call.pyro.history(&id)?;
        let earlier = history.len().saturating_sub(HISTORY_COMMANDS_MAX);
        let bytes_max = self.max_bytes.map_or(HISTORY_OUTPUT_BYTES, |bytes| output_bytes(Some(bytes)));
        let mut entries = Vec::new();
        // What one answer may have is for all of them together.
        let shares = 2 * (history.len() - earlier).max(1);
        let bytes_max = bytes_max.min(OUTPUT_BYTES_MAX as usize / shares);
        for mut entry in history.drain(earlier..) {
            shorten(&mut entry);
            let kept = bounded(&call.pyro.kept_output(&id, entry.sequence)?, bytes_max);
            entries.push(LoggedCommand::new(entry, &kept));
        }
        let mut text: String = entries.iter().map(|entry| logged_text(entry) + "\n").collect();
        if earlier > 0 {
            text.insert_str(0, &format!("[{earlier} earlier commands: ask for one with sequence]\n"));
        }
        if text.is_empty() {
            text.push_str("no command has run");
        }
        Ok(Answer::new(Logs { workspace_id: id, count: entries.len(), earlier, entries, page: None }, text))
    }

    fn one(&self, call: &Call, id: String, sequence: u64) -> Result<Answer<Logs>, Failure> {
        let entry = call.pyro.history_entry(&id, sequence)?;
        let kept = bounded(&call.pyro.kept_output(&id, sequence)?, output_bytes(self.max_bytes));
        let mut entry = entry;
        shorten(&mut entry);
        let entry = LoggedCommand::new(entry, &kept);
        let text = logged_text(&entry);
        Ok(Answer::new(
            Logs { workspace_id: id, count: 1, earlier: 0, entries: vec![entry], page: None },
            text,
        ))
    }

    fn page(&self, call: &Call, id: String, sequence: u64, stream: Stream) -> Result<Answer<Logs>, Failure> {
        let entry = call.pyro.history_entry(&id, sequence)?;
        let [stdout, stderr] = call.pyro.kept_output(&id, sequence)?;
        let kept = match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        };
        let page = kept.page(self.cursor, output_bytes(self.max_bytes).max(1));
        let nothing = bounded(&[KeptOutput::default(), KeptOutput::default()], 0);
        let page = Page {
            stream,
            cursor: page.cursor,
            next_cursor: page.next_cursor,
            total_bytes: page.total_bytes,
            text: String::from_utf8_lossy(&page.bytes).into_owned(),
        };
        let skipped = match page.cursor > self.cursor {
            true => format!(" (bytes {} to {} are not kept)", self.cursor, page.cursor),
            false => String::new(),
        };
        let text = format!(
            "cursor={} next_cursor={} total_bytes={}{skipped}\n{}",
            page.cursor, page.next_cursor, page.total_bytes, page.text
        );
        let mut entry = entry;
        shorten(&mut entry);
        let entries = vec![LoggedCommand::new(entry, &nothing)];
        Ok(Answer::new(Logs { workspace_id: id, count: 1, earlier: 0, entries, page: Some(page) }, text))
    }
}

/// A command line can be as long as a message; who sent it knows the rest.
fn shorten(entry: &mut HistoryEntry) {
    entry.command = answer::bounded(&entry.command, COMMAND_BYTES_MAX).0;
    let room = COMMAND_BYTES_MAX / entry.argv.len().max(1);
    entry.argv.iter_mut().for_each(|word| *word = answer::bounded(word, room).0);
}

fn bounded([stdout, stderr]: &[KeptOutput; 2], bytes_max: usize) -> [KeptOutput; 2] {
    [stdout.bounded(bytes_max), stderr.bounded(bytes_max)]
}

fn logged_text(logged: &LoggedCommand) -> String {
    let entry = &logged.entry;
    let code = entry.exit_code.map(|code| format!(" exit_code={code}")).unwrap_or_default();
    let mut text = format!("sequence={} state={}{code} $ {}", entry.sequence, entry.state, entry.command);
    section(&mut text, "stdout", &logged.stdout);
    section(&mut text, "stderr", &logged.stderr);
    let cut = logged.stdout_bytes_cut + logged.stderr_bytes_cut;
    if cut > 0 {
        text.push_str(&format!(
            "\n[{cut} bytes are not shown: page through it with sequence={} and stream]",
            entry.sequence
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a command wrote is told apart, and what is not shown is counted, with the way to it.
    #[test]
    fn ends_are_short() {
        let end = End {
            exit_code: 1,
            reason: None,
            duration_ms: 12,
            stdout: "out\n".to_owned(),
            stdout_bytes_cut: 0,
            stderr: "err\n".to_owned(),
            stderr_bytes_cut: 7,
        };
        assert_eq!(
            ran_text(&end, "do this"),
            "exit_code=1 duration_ms=12\n[stdout]\nout\n[stderr]\nerr\n[7 bytes are not shown: do this]"
        );
    }
}
