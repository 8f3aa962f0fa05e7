//! What a call gives back: a value for programs, and a short text for models, both bounded.

use pyro::Failure;
use pyro::results::ErrorResult;
use rmcp::model::{CallToolResult, ContentBlock};
use serde::Serialize;

use crate::wording::in_tool_words;

/// What a tool gives.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    /// For programs: what its output schema describes.
    pub(crate) value: T,
    /// For models: the same, as short as it can be said.
    pub(crate) text: String,
}

impl<T> Answer<T> {
    pub(crate) fn new(value: T, text: impl Into<String>) -> Answer<T> {
        Answer { value, text: text.into() }
    }
}

impl<T: Serialize> Answer<T> {
    /// As it goes over the wire.
    pub(crate) fn into_result(self) -> CallToolResult {
        let mut result = CallToolResult::success(vec![ContentBlock::text(self.text)]);
        result.structured_content = serde_json::to_value(self.value).ok();
        result
    }
}

/// A failure as a tool's result: the model reads it and knows what to do next.
pub(crate) fn failed(failure: &Failure) -> CallToolResult {
    let failure = in_tool_words(failure.clone());
    let mut text = format!("error: {failure}");
    let console = String::from_utf8_lossy(&failure.console);
    if !console.trim().is_empty() {
        text.push_str(&format!("\nend of the guest's console:\n{}", console.trim_end()));
    }
    let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
    result.structured_content = serde_json::to_value(ErrorResult::from(&failure)).ok();
    result
}

/// A text with a line in the place of what is too much: both ends stay.
pub(crate) fn bounded(text: &str, bytes_max: usize) -> (String, u64) {
    if text.len() <= bytes_max {
        return (text.to_owned(), 0);
    }
    let head = boundary_before(text, bytes_max / 2);
    let tail = boundary_behind(text, text.len() - bytes_max / 2);
    let cut = (tail - head) as u64;
    let (begin, end) = (text.get(..head).unwrap_or_default(), text.get(tail..).unwrap_or_default());
    (format!("{begin}\n[{cut} bytes cut]\n{end}"), cut)
}

/// The last place up to `index` where no letter is cut in two.
pub(crate) fn boundary_before(text: &str, index: usize) -> usize {
    (0..=index.min(text.len())).rev().find(|index| text.is_char_boundary(*index)).unwrap_or_default()
}

fn boundary_behind(text: &str, index: usize) -> usize {
    (index..text.len()).find(|index| text.is_char_boundary(*index)).unwrap_or(text.len())
}

/// The items of a list that fit into an answer, and how many do not.
pub(crate) fn first<T>(mut items: Vec<T>, items_max: usize) -> (Vec<T>, usize) {
    let more = items.len().saturating_sub(items_max);
    items.truncate(items_max);
    (items, more)
}

#[cfg(test)]
mod tests {
    use pyro::Code;

    use super::*;

    /// Both ends of a long text stay, and what is between is counted.
    #[test]
    fn texts_are_bounded() {
        assert_eq!(bounded("short", 10), ("short".to_owned(), 0));
        assert_eq!(bounded("abcdefghij", 4), ("ab\n[6 bytes cut]\nij".to_owned(), 6));
        assert_eq!(bounded("ääää", 5).0, "ä\n[4 bytes cut]\nä", "no letter is cut in two");
    }

    /// A failure says in words and in JSON what happened, why, and what to do next.
    #[test]
    fn failures_are_results() {
        let failure = Failure::new(Code::CommandUnknown, "no command 7")
            .because("there are three")
            .fix("see `pyro workspace logs` for the numbers there are");
        let result = failed(&failure);
        assert_eq!(result.is_error, Some(true));
        let text = result.content.first().and_then(|content| content.as_text()).unwrap();
        assert!(text.text.contains("workspace_logs"), "{}", text.text);
        assert_eq!(result.structured_content.unwrap()["error"]["code"], "command-unknown");
    }
}
