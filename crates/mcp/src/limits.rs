//! Bounds of what a client may ask for, and of what it is given.

use std::time::Duration;

/// Longest message of a client, over standard input and over HTTP alike.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Tool calls that run at once; more are refused with advice to wait.
pub(crate) const CALLS_MAX: usize = 64;

/// Threads that tool calls run on. Commands are waited for without one; what holds a thread is a look into a database, or
/// the writing of an apply.
pub(crate) const THREADS_MAX: usize = 4;

/// Messages that a client has not read yet; while there are more, nothing is read from it.
pub(crate) const UNREAD_MESSAGES_MAX: usize = 64;

/// A client that leaves that many unread for so long is gone.
pub(crate) const UNREAD_PATIENCE: Duration = Duration::from_secs(600);

/// Bytes of each output that an answer has unless more is asked for.
pub(crate) const OUTPUT_BYTES_DEFAULT: u64 = 16 * 1024;

/// Bytes of each output, of a patch or of a file that one answer can have.
pub(crate) const OUTPUT_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes of a patch that an answer has unless more is asked for.
pub(crate) const PATCH_BYTES_DEFAULT: u64 = 64 * 1024;

/// Bytes of a file that an answer has unless more is asked for.
pub(crate) const FILE_BYTES_DEFAULT: u64 = 64 * 1024;

/// Entries of a listing that one answer has.
pub(crate) const LISTED_MAX: usize = 500;

/// Bytes of each command's output where a whole history is shown.
pub(crate) const HISTORY_OUTPUT_BYTES: usize = 2 * 1024;

/// Bytes of a command line where a history is shown.
pub(crate) const COMMAND_BYTES_MAX: usize = 4 * 1024;

/// Commands of a history that one answer has, the latest ones.
pub(crate) const HISTORY_COMMANDS_MAX: usize = 20;

/// Characters that one reading of a shell gives unless told otherwise.
pub(crate) const SHELL_CHARS_DEFAULT: u64 = 16 * 1024;

/// Workspaces whose resources are listed.
pub(crate) const RESOURCE_WORKSPACES_MAX: usize = 50;

/// Between two notifications of progress of one call.
pub(crate) const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// A call that has nothing new to tell says after this that it goes on.
pub(crate) const PROGRESS_SILENCE_MAX: Duration = Duration::from_secs(5);

/// A notification that was begun is out within this, or is given up with its call's end.
pub(crate) const PROGRESS_SEND_MAX: Duration = Duration::from_secs(1);

/// Bytes of a notification's text.
pub(crate) const PROGRESS_TEXT_BYTES_MAX: usize = 200;

/// When the server ends, calls that were called off have cleaned up within this.
pub(crate) const END_SECONDS_MAX: Duration = Duration::from_secs(20);

/// Connections over HTTP at once.
pub(crate) const CONNECTIONS_MAX: usize = 256;

/// A connection has sent the head of a request within this.
pub(crate) const HEAD_SECONDS_MAX: Duration = Duration::from_secs(30);

/// Sessions of clients of older revisions end after so long without a message. Longer than any command should be
/// silent: a session takes its calls along.
pub(crate) const SESSION_SECONDS_MAX: Duration = Duration::from_secs(24 * 3600);

/// Sessions of such clients at once.
pub(crate) const SESSIONS_MAX: usize = 256;

/// Lists that never change may be kept so long by a client.
pub(crate) const LIST_TTL_MS: u64 = 3_600_000;

/// Bytes of a bearer token: shorter ones can be guessed, longer ones are no header.
pub(crate) const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=512;
