//! Prompts and resources that are always the same.

use rmcp::model::{
    ContentBlock, GetPromptRequestParams, GetPromptResult, Prompt, PromptArgument, PromptMessage,
    ReadResourceResult, Resource, ResourceContents, ResourceTemplate, Role,
};
use serde_json::{Value, json};

use super::inputs;

/// An image: one pixel.
pub(super) const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGN4FK8FAAOSAWxivn6PAAAAAElFTkSuQmCC";

/// A sound: eight samples.
pub(super) const WAV: &str =
    "UklGRjQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YRAAAAAAAOgD0AfoAwAAGPww+Bj8";

const TEXT_URI: &str = "test://static-text";
const BINARY_URI: &str = "test://static-binary";
const WATCHED_URI: &str = "test://watched-resource";

/// Name and needed arguments of each prompt.
const PROMPTS: &[(&str, &[&str])] = &[
    ("test_simple_prompt", &[]),
    ("test_prompt_with_arguments", &["arg1", "arg2"]),
    ("test_prompt_with_embedded_resource", &["resourceUri"]),
    ("test_prompt_with_image", &[]),
    (inputs::PROMPT, &[]),
];

pub(super) fn prompts() -> impl Iterator<Item = Prompt> {
    PROMPTS.iter().map(|(name, arguments)| {
        let arguments = arguments.iter().map(|name| {
            PromptArgument::new(*name).with_description("What the suite says").with_required(true)
        });
        Prompt::new(*name, Some("A fixture of the conformance suite"), Some(arguments.collect()))
    })
}

/// A prompt, if it is one of those that ask nothing back.
pub(super) fn prompt(request: &GetPromptRequestParams) -> Option<GetPromptResult> {
    let user = |content| PromptMessage::new(Role::User, content);
    let messages = match request.name.as_str() {
        "test_simple_prompt" => vec![user(ContentBlock::text("This is a simple prompt for testing."))],
        "test_prompt_with_arguments" => {
            let (one, other) = (argument(request, "arg1"), argument(request, "arg2"));
            vec![user(ContentBlock::text(format!("Prompt with arguments: arg1='{one}', arg2='{other}'")))]
        }
        "test_prompt_with_embedded_resource" => {
            let resource = ResourceContents::text(
                "Embedded resource content for testing.",
                argument(request, "resourceUri"),
            );
            vec![
                user(ContentBlock::resource(resource.with_mime_type("text/plain"))),
                user(ContentBlock::text("Please process the embedded resource above.")),
            ]
        }
        "test_prompt_with_image" => vec![
            user(ContentBlock::image(PNG, "image/png")),
            user(ContentBlock::text("Please analyze the image above.")),
        ],
        _ => return None,
    };
    Some(GetPromptResult::new(messages))
}

fn argument<'a>(request: &'a GetPromptRequestParams, name: &str) -> &'a str {
    let arguments = request.arguments.as_ref();
    arguments.and_then(|arguments| arguments.get(name)).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn resources() -> Vec<Resource> {
    vec![
        Resource::new(TEXT_URI, "text").with_mime_type("text/plain"),
        Resource::new(BINARY_URI, "image").with_mime_type("image/png"),
        Resource::new(WATCHED_URI, "watched").with_mime_type("text/plain"),
    ]
}

pub(super) fn template() -> ResourceTemplate {
    ResourceTemplate::new("test://template/{id}/data", "data").with_mime_type("application/json")
}

/// A resource, if it is one of those here.
pub(super) fn read(uri: &str) -> Option<ReadResourceResult> {
    let contents = match uri {
        TEXT_URI => ResourceContents::text("This is the content of the static text resource.", uri)
            .with_mime_type("text/plain"),
        BINARY_URI => ResourceContents::blob(PNG, uri).with_mime_type("image/png"),
        WATCHED_URI => ResourceContents::text("Nothing changes here.", uri).with_mime_type("text/plain"),
        _ => {
            let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
            let data = json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
            ResourceContents::text(data.to_string(), uri).with_mime_type("application/json")
        }
    };
    Some(ReadResourceResult::new(vec![contents]))
}
