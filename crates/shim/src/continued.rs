//! What runs in an image of a guest's memory: what another shim has to know of it to take it over.
//! Written beside the image, read back with suspicion.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyro_proto::agent;
use pyro_store::{NewExec, NewShell, ServiceName, ServiceNews, ServiceState, ShellId};
use pyro_vmm::{Draft, Template, TemplateError};
use serde::{Deserialize, Serialize};

use crate::limits::{CONTINUED_BYTES_MAX, CONTINUED_COMMAND_BYTES_MAX};

/// Format of the file; another one is not read.
const FORMAT: u32 = 2;

/// Its name beside the image.
const FILE: &str = "calls";

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Continued {
    format: u32,
    /// The highest stream id that the guest has seen.
    pub(crate) last_stream: u32,
    pub(crate) calls: Vec<ContinuedCall>,
}

/// One of them, as its calls stood when nothing was under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContinuedCall {
    pub(crate) stream: u32,
    pub(crate) command: Vec<String>,
    pub(crate) directory: String,
    pub(crate) user: Option<String>,
    /// Bytes that the guest may still send of each output; `None` of one that has ended.
    pub(crate) stdout_room: Option<u32>,
    pub(crate) stderr_room: Option<u32>,
    /// Whether it still waits for input, which ends now: nobody is there who could give it any.
    pub(crate) takes_input: bool,
    /// Until the guest must have ended it, in milliseconds.
    pub(crate) left_ms: Option<u64>,
    /// What it is.
    pub(crate) role: Role,
}

/// What a process of a workspace is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// A command of the history.
    Command,
    /// A shell.
    Shell {
        id: String,
        columns: u16,
        rows: u16,
        /// Bytes that the guest still takes as input.
        input_room: u32,
    },
    /// A service.
    Service { name: String, definition: Box<agent::Service>, standing: Standing },
}

/// How a service stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    state: String,
    restarts: u32,
    /// When it became ready, in milliseconds since 1970.
    ready_ms: Option<u64>,
    ended_ms: Option<u64>,
    exit_code: Option<u8>,
    reason: Option<String>,
}

impl Continued {
    pub(crate) fn new(last_stream: u32, calls: Vec<ContinuedCall>) -> Continued {
        Continued { format: FORMAT, last_stream, calls }
    }

    /// Puts it beside an image in the making.
    pub(crate) fn write(&self, draft: &Draft) -> Result<(), TemplateError> {
        // Numbers and text always serialize.
        draft.add_note(FILE, &serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads it back. What cannot be understood would leave commands behind whose output blocks for ever: such an image is
    /// not used.
    pub(crate) fn read(image: &Template) -> Result<Continued, TemplateError> {
        let bytes = image.note(FILE, CONTINUED_BYTES_MAX)?;
        match serde_json::from_slice::<Continued>(&bytes) {
            Ok(continued) if continued.format == FORMAT => Ok(continued),
            _ => Err(TemplateError::Stale {
                directory: image.directory().to_owned(),
                reason: "what is kept of its commands is damaged",
            }),
        }
    }
}

/// The beginning of a command: what is kept of it here is for lists.
pub(crate) fn shortened(command: Vec<String>) -> Vec<String> {
    let mut left = CONTINUED_COMMAND_BYTES_MAX;
    let fits = |word: &String| {
        left = left.saturating_sub(word.len());
        left > 0
    };
    command.into_iter().take_while(fits).collect()
}

impl Standing {
    pub(crate) fn of(news: &ServiceNews) -> Standing {
        Standing {
            state: news.state.as_str().to_owned(),
            restarts: news.restarts,
            ready_ms: news.ready.map(to_ms),
            ended_ms: news.ended.map(to_ms),
            exit_code: news.exit_code,
            reason: news.reason.clone(),
        }
    }

    /// The same, of a service that runs.
    pub(crate) fn to_news(&self) -> ServiceNews {
        ServiceNews {
            state: ServiceState::parse(&self.state).unwrap_or(ServiceState::Starting),
            wanted: true,
            restarts: self.restarts,
            ready: self.ready_ms.and_then(from_ms),
            ended: self.ended_ms.and_then(from_ms),
            exit_code: self.exit_code,
            reason: self.reason.clone(),
        }
    }
}

fn to_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A time that no clock has is none.
fn from_ms(ms: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(ms))
}

impl ContinuedCall {
    /// How it is recorded as a shell, if it is one.
    pub(crate) fn to_shell(&self) -> Option<NewShell> {
        let Role::Shell { id, columns, rows, .. } = &self.role else { return None };
        Some(NewShell {
            id: ShellId::parse(id).ok()?,
            command: self.command.clone(),
            directory: self.directory.clone(),
            user: self.user.clone(),
            columns: *columns,
            rows: *rows,
        })
    }

    /// As a service, if it is one.
    pub(crate) fn to_service(&self) -> Option<(ServiceName, agent::Service, ServiceNews)> {
        let Role::Service { name, definition, standing } = &self.role else { return None };
        Some((ServiceName::parse(name).ok()?, (**definition).clone(), standing.to_news()))
    }

    /// How it is recorded in the history of the workspace that it goes on in.
    pub(crate) fn to_exec(&self) -> NewExec {
        NewExec {
            command: self.command.clone(),
            directory: self.directory.clone(),
            user: self.user.clone(),
            detached: true,
        }
    }
}
