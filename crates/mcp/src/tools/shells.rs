//! Shells: terminals that stay between calls.

use pyro::limits::SHELL_GRACE_SECONDS_DEFAULT;
use pyro::results::{ShellOutput, ShellResult};
use pyro::{Failure, ReadRequest, ShellRequest, ShellView, Workspace, parse_signal, terminal_size};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Arguments, Effect, Tool};
use crate::answer::Answer;
use crate::call::{Call, directory};
use crate::limits::{OUTPUT_BYTES_MAX, SHELL_CHARS_DEFAULT};
use crate::profile::Profile;

pub(super) fn add(tools: &mut Vec<Tool>) {
    tools.push(Tool::new::<Open>(Profile::WorkspaceFull));
    tools.push(Tool::new::<Read>(Profile::WorkspaceFull));
    tools.push(Tool::new::<Write>(Profile::WorkspaceFull));
    tools.push(Tool::new::<Signal>(Profile::WorkspaceFull));
    tools.push(Tool::new::<Close>(Profile::WorkspaceFull));
}

fn stands(result: ShellResult) -> Answer<ShellResult> {
    let code = result.shell.exit_code.map(|code| format!(" exit_code={code}")).unwrap_or_default();
    let text = format!("shell_id={} state={}{code}", result.shell.shell_id, result.shell.state);
    Answer::new(result, text)
}

/// A shell as it is now that something was done to it.
fn looked_up(call: &Call, workspace: &Workspace, shell_id: &str) -> Result<Answer<ShellResult>, Failure> {
    let shell = call.pyro.shell(workspace.id(), shell_id)?;
    Ok(stands(ShellResult::new(workspace.id(), &shell, workspace.execution_mode())))
}

fn default_columns() -> u64 {
    120
}

fn default_rows() -> u64 {
    30
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Open {
    workspace_id: String,
    /// Default /workspace.
    cwd: Option<String>,
    #[serde(default = "default_columns")]
    cols: u64,
    #[serde(default = "default_rows")]
    rows: u64,
}

impl Arguments for Open {
    const NAME: &'static str = "shell_open";
    const DESCRIPTION: &'static str =
        "Open an interactive shell in a workspace. It stays open between calls.";
    const EFFECT: Effect = Effect::Adds;
    type Output = ShellResult;

    async fn run(self, call: &Call) -> Result<Answer<ShellResult>, Failure> {
        let request = ShellRequest {
            command: Vec::new(),
            environment: Vec::new(),
            directory: directory(self.cwd.as_deref()),
            user: None,
            size: terminal_size(self.cols, self.rows)?,
        };
        let mut workspace = call.workspace(&self.workspace_id).await?;
        let id = workspace.open_shell(request).await?;
        looked_up(call, &workspace, &id)
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Read {
    workspace_id: String,
    shell_id: String,
    /// First byte: 0, then next_cursor.
    #[serde(default)]
    cursor: u64,
    max_chars: Option<u64>,
    /// Wait no longer than this.
    wait_ms: Option<u64>,
    /// Wait until it was quiet for so long.
    wait_for_idle_ms: Option<u64>,
    /// Wait until the lines match this regular expression.
    until: Option<String>,
    /// Escape sequences as they are.
    #[serde(default)]
    raw: bool,
    /// The screen of a full-screen program instead.
    #[serde(default)]
    screen: bool,
}

impl Arguments for Read {
    const NAME: &'static str = "shell_read";
    const DESCRIPTION: &'static str =
        "What a shell printed from a cursor on, as the lines that a person would see.";
    const EFFECT: Effect = Effect::Reads;
    type Output = ShellOutput;

    async fn run(self, call: &Call) -> Result<Answer<ShellOutput>, Failure> {
        let request = ReadRequest {
            cursor: self.cursor,
            chars_max: self.max_chars.unwrap_or(SHELL_CHARS_DEFAULT).min(OUTPUT_BYTES_MAX),
            wait_ms: self.wait_ms,
            idle_ms: self.wait_for_idle_ms,
            until: self.until,
            view: match (self.screen, self.raw) {
                (true, _) => ShellView::Screen,
                (false, true) => ShellView::Raw,
                (false, false) => ShellView::Plain,
            },
        };
        let id = call.pyro.workspace_id(&self.workspace_id)?;
        let reading = call.pyro.read_shell(&id, &self.shell_id, &request).await?;
        let output = ShellOutput::new(&id, &reading);
        let mut text = format!("state={} next_cursor={}", output.shell.shell.state, output.next_cursor);
        if output.truncated {
            text.push_str(&format!(" first_available={}", output.first_available));
        }
        if let Some(matched) = output.matched {
            text.push_str(&format!(" matched={matched}"));
        }
        text.push('\n');
        text.push_str(&output.output);
        Ok(Answer::new(output, text))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Write {
    workspace_id: String,
    shell_id: String,
    input: String,
    /// Do not press Enter behind it.
    #[serde(default)]
    no_newline: bool,
}

impl Arguments for Write {
    const NAME: &'static str = "shell_write";
    const DESCRIPTION: &'static str = "Type into a shell.";
    const EFFECT: Effect = Effect::Destroys;
    type Output = ShellResult;

    async fn run(self, call: &Call) -> Result<Answer<ShellResult>, Failure> {
        let mut bytes = self.input.into_bytes();
        if !self.no_newline {
            bytes.push(b'\n');
        }
        let (mut workspace, shell) = call.pyro.reach_shell(&self.workspace_id, &self.shell_id).await?;
        workspace.write_shell(&shell.shell_id, &bytes).await?;
        looked_up(call, &workspace, &shell.shell_id)
    }
}

fn default_signal() -> String {
    "INT".to_owned()
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Signal {
    workspace_id: String,
    shell_id: String,
    #[serde(default = "default_signal")]
    signal: String,
}

impl Arguments for Signal {
    const NAME: &'static str = "shell_signal";
    const DESCRIPTION: &'static str = "Send a signal to what runs in the foreground of a shell.";
    const EFFECT: Effect = Effect::Destroys;
    type Output = ShellResult;

    async fn run(self, call: &Call) -> Result<Answer<ShellResult>, Failure> {
        let signal = parse_signal(&self.signal)?;
        let (mut workspace, shell) = call.pyro.reach_shell(&self.workspace_id, &self.shell_id).await?;
        workspace.signal_shell(&shell.shell_id, signal).await?;
        looked_up(call, &workspace, &shell.shell_id)
    }
}

fn default_grace() -> u64 {
    SHELL_GRACE_SECONDS_DEFAULT
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Close {
    workspace_id: String,
    shell_id: String,
    #[serde(default = "default_grace")]
    grace_seconds: u64,
}

impl Arguments for Close {
    const NAME: &'static str = "shell_close";
    const DESCRIPTION: &'static str = "Close a shell and end all that runs in it.";
    const EFFECT: Effect = Effect::Destroys;
    type Output = ShellResult;

    async fn run(self, call: &Call) -> Result<Answer<ShellResult>, Failure> {
        let id = call.pyro.workspace_id(&self.workspace_id)?;
        let (shell, mode) = call.pyro.close_shell(&id, &self.shell_id, self.grace_seconds).await?;
        Ok(stands(ShellResult::new(&id, &shell, mode.unwrap_or("none"))))
    }
}
