//! Shells and services.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{LogEntry, ServiceInfo, ShellInfo, ShellReading};

/// A shell.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ShellResult {
    /// The workspace.
    pub workspace_id: String,
    /// The shell.
    #[serde(flatten)]
    pub shell: ShellInfo,
    /// How the guest is reached; `none` where nothing runs.
    pub execution_mode: &'static str,
}

impl ShellResult {
    /// The result of what was done to a shell.
    pub fn new(workspace_id: &str, shell: &ShellInfo, execution_mode: &'static str) -> ShellResult {
        ShellResult { workspace_id: workspace_id.to_owned(), shell: shell.clone(), execution_mode }
    }
}

/// A workspace's shells.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ShellList {
    /// The workspace.
    pub workspace_id: String,
    /// How many.
    pub count: usize,
    /// All of them, oldest first.
    pub shells: Vec<ShellInfo>,
}

/// What was read of a shell.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ShellOutput {
    /// The shell.
    #[serde(flatten)]
    pub shell: ShellResult,
    /// What it printed.
    pub output: String,
    /// The first byte that was asked for.
    pub cursor: u64,
    /// The byte to go on from.
    pub next_cursor: u64,
    /// Whether bytes from the cursor on are not kept any more.
    pub truncated: bool,
    /// The first byte that is kept.
    pub first_available: u64,
    /// Whether the pattern matched, if there was one.
    pub matched: Option<bool>,
    /// Bytes that were read for the pattern and are more than could be given.
    pub passed_over: u64,
    /// The cursor's place on the screen, if that was asked for.
    pub screen_cursor: Option<ScreenCursor>,
}

/// A place on a screen, from 0.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct ScreenCursor {
    /// Line.
    pub row: u16,
    /// Column.
    pub column: u16,
}

impl ShellOutput {
    /// The result of a reading.
    pub fn new(workspace_id: &str, reading: &ShellReading) -> ShellOutput {
        let mode = reading.execution_mode.unwrap_or("none");
        ShellOutput {
            shell: ShellResult::new(workspace_id, &reading.shell, mode),
            output: String::from_utf8_lossy(&reading.output).into_owned(),
            cursor: reading.cursor,
            next_cursor: reading.next_cursor,
            truncated: reading.truncated,
            first_available: reading.first_available,
            matched: reading.matched,
            passed_over: reading.passed_over,
            screen_cursor: reading.screen_cursor.map(|(row, column)| ScreenCursor { row, column }),
        }
    }
}

/// A service.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ServiceResult {
    /// The workspace.
    pub workspace_id: String,
    /// The service.
    #[serde(flatten)]
    pub service: ServiceInfo,
    /// How the guest is reached; `none` where nothing runs.
    pub execution_mode: &'static str,
}

impl ServiceResult {
    /// The result of what was done to a service.
    pub fn new(workspace_id: &str, service: &ServiceInfo, execution_mode: &'static str) -> ServiceResult {
        ServiceResult { workspace_id: workspace_id.to_owned(), service: service.clone(), execution_mode }
    }
}

/// A workspace's services.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ServiceList {
    /// The workspace.
    pub workspace_id: String,
    /// How many.
    pub count: usize,
    /// How many of them run.
    pub running_count: usize,
    /// All of them.
    pub services: Vec<ServiceInfo>,
    /// How the guest is reached; `none` where nothing runs.
    pub execution_mode: &'static str,
}

/// Lines of a service's log.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ServiceLines {
    /// The workspace.
    pub workspace_id: String,
    /// The service.
    pub service_name: String,
    /// Its state.
    pub state: &'static str,
    /// How many lines.
    pub count: usize,
    /// The lines, oldest first.
    pub entries: Vec<LogEntry>,
    /// Bytes of the log that are not kept any more.
    pub bytes_cut: u64,
}
