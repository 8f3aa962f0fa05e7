//! Failures of requests as the host is told them.

use pyro_proto::agent::{Failure, FailureKind};
use pyro_proto::limits::FAILURE_TEXT_BYTES_MAX;
use rustix::io::Errno;

/// A failure of `kind`, its text cut to what the protocol allows.
pub(crate) fn failure(kind: FailureKind, detail: impl Into<String>) -> Failure {
    let mut detail = detail.into();
    let mut end = detail.len().min(FAILURE_TEXT_BYTES_MAX);
    while !detail.is_char_boundary(end) {
        end -= 1;
    }
    detail.truncate(end);
    Failure { kind, detail }
}

/// A system call that failed while the agent did `what`.
pub(crate) fn system(what: impl std::fmt::Display, errno: Errno) -> Failure {
    let kind = match errno {
        Errno::NOSPC | Errno::DQUOT => FailureKind::NoSpace,
        _ => FailureKind::System,
    };
    failure(kind, format!("{what}: {}", errno_text(errno)))
}

/// The kernel's word for an error, without the number that [`std::io::Error`] appends.
pub(crate) fn errno_text(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = words.chars();
    match letters.next() {
        // Leave acronyms such as "I/O error" as they are.
        Some(first) if letters.as_str().starts_with(|second: char| second.is_lowercase()) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A failure's text stays within the protocol's bound and within its characters.
    #[test]
    fn text_is_cut_between_characters() {
        let long = failure(FailureKind::System, "é".repeat(FAILURE_TEXT_BYTES_MAX));
        assert_eq!(long.detail.len(), FAILURE_TEXT_BYTES_MAX);
        assert!(
            failure(FailureKind::System, format!("x{}", "é".repeat(4000))).detail.len()
                < FAILURE_TEXT_BYTES_MAX
        );
    }

    /// Error texts are fragments that fit into a sentence.
    #[test]
    fn errno_texts_are_fragments() {
        assert_eq!(errno_text(Errno::NOENT), "no such file or directory");
        assert_eq!(errno_text(Errno::NOSPC), "no space left on device");
    }
}
