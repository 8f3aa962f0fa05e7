//! One short line on the guest's console when something is wrong, where the host can show it.
//!
//! Never waits and never fails: a console that takes nothing loses the line.

use std::fmt::Display;

/// Writes one line.
pub(crate) fn warn(message: impl Display) {
    let line = format!("pyro-agent: {message}\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}
