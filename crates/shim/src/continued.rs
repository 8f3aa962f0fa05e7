//! The commands that run in an image of a guest's memory: what another shim has to know of them to take them over.
//! Written beside the image, read back with suspicion.

use pyro_store::NewExec;
use pyro_vmm::{Draft, Template, TemplateError};
use serde::{Deserialize, Serialize};

use crate::limits::{CONTINUED_BYTES_MAX, CONTINUED_COMMAND_BYTES_MAX};

/// Format of the file; another one is not read.
const FORMAT: u32 = 1;

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

impl ContinuedCall {
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
