//! How a guest's command ended, in words.

use std::ffi::OsStr;

use pyro::{Exited, Outcome};

use crate::terminal;

/// The word of a result for an end that is not the command's own.
pub(crate) fn reason(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::TimedOut => Some("timeout"),
        Outcome::OutOfMemory => Some("out_of_memory"),
        Outcome::Signal(_) => Some("signal"),
        Outcome::Code(_) => None,
    }
}

/// What an exit code alone does not say.
pub(crate) fn explain(exited: &Exited, timeout_seconds: u64, memory_mib: u64) {
    match exited.outcome {
        Outcome::TimedOut => terminal::error(&format!(
            "the command was killed at its time limit of {timeout_seconds} s; give it longer with --timeout-seconds",
        )),
        Outcome::OutOfMemory => terminal::error(&format!(
            "the guest ran out of memory ({memory_mib} MiB) and killed the command; give it more with --mem-mib",
        )),
        Outcome::Code(_) | Outcome::Signal(_) if exited.out_of_memory_kills > 0 => terminal::note(&format!(
            "note: the guest ran out of memory ({memory_mib} MiB) and killed {} of the command's processes",
            exited.out_of_memory_kills
        )),
        Outcome::Code(_) | Outcome::Signal(_) => {}
    }
}

/// The command as a shell would take it.
pub(crate) fn shell_words<W: AsRef<OsStr>>(command: &[W]) -> String {
    command.iter().map(|word| shell_word(&word.as_ref().to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command in a result can be pasted into a shell.
    #[test]
    fn commands_are_quoted() {
        let words = ["git", "--version", "a b", "it's", ""];
        assert_eq!(shell_words(&words), r"git --version 'a b' 'it'\''s' ''");
    }
}
