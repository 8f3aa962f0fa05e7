//! Tools that give every kind of content, tell how far they are, and ask their client back in the way of 2025-11-25.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ClientResult, ContentBlock,
    ElicitRequest, ErrorData, JsonObject, LoggingLevel, LoggingMessageNotification,
    LoggingMessageNotificationParam, ProgressNotification, ProgressNotificationParam, ResourceContents,
    ServerNotification, ServerRequest, Tool,
};
use rmcp::service::RequestContext;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::contents::{PNG, WAV};
use super::{CHANGES, Change, inputs};

/// Between two things that a tool tells.
const STEP: Duration = Duration::from_millis(50);

/// Names of those here, and the argument that each needs.
const NAMES: &[(&str, Option<&str>)] = &[
    ("test_simple_text", None),
    ("test_image_content", None),
    ("test_audio_content", None),
    ("test_embedded_resource", None),
    ("test_multiple_content_types", None),
    ("test_tool_with_logging", None),
    ("test_logging_tool", None),
    ("test_error_handling", None),
    ("test_tool_with_progress", None),
    ("test_sampling", Some("prompt")),
    ("test_elicitation", Some("message")),
    ("test_elicitation_sep1034_defaults", None),
    ("test_elicitation_sep1330_enums", None),
    ("test_missing_capability", None),
    ("test_trigger_tool_change", None),
    ("test_trigger_prompt_change", None),
];

/// All fixtures that are tools.
pub(super) fn list() -> Vec<Tool> {
    let others = inputs::NAMES.iter().map(|name| (*name, None));
    let tool = |(name, argument): (&'static str, Option<&str>)| {
        let mut schema = json!({ "type": "object", "properties": {} });
        if let Some(argument) = argument {
            schema = json!({
                "type": "object",
                "properties": { argument: { "type": "string" } },
                "required": [argument]
            });
        }
        let schema: JsonObject = schema.as_object().cloned().unwrap_or_default();
        Tool::new(name, "A fixture of the conformance suite", Arc::new(schema))
    };
    NAMES.iter().copied().chain(others).map(tool).collect()
}

/// Calls one, if it is one of those here.
pub(super) async fn call(
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Option<Result<CallToolResponse, ErrorData>> {
    let content = match request.name.as_ref() {
        "test_simple_text" => Ok(vec![text("This is a simple text response for testing.")]),
        "test_image_content" => Ok(vec![ContentBlock::image(PNG, "image/png")]),
        "test_audio_content" => Ok(vec![ContentBlock::audio(WAV, "audio/wav")]),
        "test_embedded_resource" => Ok(vec![embedded(
            "test://embedded-resource",
            "text/plain",
            "This is an embedded resource content.",
        )]),
        "test_multiple_content_types" => Ok(vec![
            text("Multiple content types test:"),
            ContentBlock::image(PNG, "image/png"),
            embedded("test://mixed-content-resource", "application/json", r#"{"test":"data","value":123}"#),
        ]),
        "test_error_handling" => {
            let why = vec![text("This tool intentionally returns an error for testing")];
            return Some(Ok(CallToolResult::error(why).into()));
        }
        "test_tool_with_logging" => logging(context).await,
        // Since 2026-07-28 a request says itself whether it wants any.
        "test_logging_tool" if context.meta.log_level().is_some() => logging(context).await,
        "test_logging_tool" => Ok(vec![text("Nobody asked for a log")]),
        "test_tool_with_progress" => progress(context).await,
        "test_sampling" => sampling(argument(request, "prompt"), context).await,
        "test_elicitation" => elicitation(argument(request, "message"), contact(), context).await,
        "test_elicitation_sep1034_defaults" => elicitation("Defaults", defaults(), context).await,
        "test_elicitation_sep1330_enums" => elicitation("Choices", choices(), context).await,
        "test_missing_capability" => ready(only_for_sampling(context)).await,
        "test_trigger_tool_change" => Ok(changed(Change::Tools)),
        "test_trigger_prompt_change" => Ok(changed(Change::Prompts)),
        _ => return None,
    };
    Some(content.map(|content| CallToolResult::success(content).into()))
}

fn text(text: impl Into<String>) -> ContentBlock {
    ContentBlock::text(text)
}

fn embedded(uri: &str, mime_type: &str, contents: &str) -> ContentBlock {
    ContentBlock::resource(ResourceContents::text(contents, uri).with_mime_type(mime_type))
}

fn argument<'a>(request: &'a CallToolRequestParams, name: &str) -> &'a str {
    let arguments = request.arguments.as_ref();
    arguments.and_then(|arguments| arguments.get(name)).and_then(Value::as_str).unwrap_or_default()
}

fn changed(change: Change) -> Vec<ContentBlock> {
    // Nobody may be listening.
    let _ = CHANGES.send(change);
    vec![text("Whoever listens is told")]
}

fn only_for_sampling(context: &RequestContext<RoleServer>) -> Result<Vec<ContentBlock>, ErrorData> {
    match context.client_capabilities().is_some_and(|capabilities| capabilities.sampling.is_some()) {
        true => Ok(vec![text("The client can be asked for samples")]),
        false => Err(ErrorData::missing_required_client_capability(
            ClientCapabilities::builder().enable_sampling().build(),
        )),
    }
}

async fn logging(context: &RequestContext<RoleServer>) -> Result<Vec<ContentBlock>, ErrorData> {
    for message in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
        let notification = LoggingMessageNotification::new(LoggingMessageNotificationParam::new(
            LoggingLevel::Info,
            message.into(),
        ));
        let notification = ServerNotification::LoggingMessageNotification(notification);
        context.peer.send_notification(notification).await.map_err(broken)?;
        sleep(STEP).await;
    }
    Ok(vec![text("Logged three times")])
}

async fn progress(context: &RequestContext<RoleServer>) -> Result<Vec<ContentBlock>, ErrorData> {
    for done in [0.0, 50.0, 100.0] {
        if let Some(token) = context.meta.get_progress_token() {
            let told = ProgressNotificationParam::new(token, done).with_total(100.0);
            let notification = ServerNotification::ProgressNotification(ProgressNotification::new(told));
            context.peer.send_notification(notification).await.map_err(broken)?;
        }
        sleep(STEP).await;
    }
    Ok(vec![text("Told how far it was three times")])
}

async fn sampling(
    prompt: &str,
    context: &RequestContext<RoleServer>,
) -> Result<Vec<ContentBlock>, ErrorData> {
    let request = ServerRequest::CreateMessageRequest(inputs::message_request(prompt)?);
    match context.peer.send_request(request).await.map_err(broken)? {
        ClientResult::CreateMessageResult(result) => {
            let said = serde_json::to_string(&result.message.content).map_err(broken)?;
            Ok(vec![text(format!("LLM response: {said}"))])
        }
        other => Err(broken(format!("{other:?} is no sample"))),
    }
}

async fn elicitation(
    message: &str,
    schema: Value,
    context: &RequestContext<RoleServer>,
) -> Result<Vec<ContentBlock>, ErrorData> {
    let request: ElicitRequest = inputs::elicit_request(message, schema)?;
    match context.peer.send_request(ServerRequest::ElicitRequest(request)).await.map_err(broken)? {
        ClientResult::ElicitResult(result) => {
            let said = serde_json::to_string(&result).map_err(broken)?;
            Ok(vec![text(format!("Elicitation completed: {said}"))])
        }
        other => Err(broken(format!("{other:?} is no answer"))),
    }
}

fn broken(why: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(why.to_string(), None)
}

fn contact() -> Value {
    json!({
        "type": "object",
        "properties": {
            "username": { "type": "string", "description": "User's response" },
            "email": { "type": "string", "description": "User's email address" }
        },
        "required": ["username", "email"]
    })
}

fn defaults() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "default": "John Doe" },
            "age": { "type": "integer", "default": 30 },
            "score": { "type": "number", "default": 95.5 },
            "status": {
                "type": "string",
                "enum": ["active", "inactive", "pending"],
                "default": "active"
            },
            "verified": { "type": "boolean", "default": true }
        },
        "required": []
    })
}

fn choices() -> Value {
    let titled = |title: &str| {
        let choice = |number: &str, word: &str| json!({ "const": format!("value{number}"), "title": format!("{word} {title}") });
        json!([choice("1", "First"), choice("2", "Second"), choice("3", "Third")])
    };
    json!({
        "type": "object",
        "properties": {
            "untitledSingle": { "type": "string", "enum": ["option1", "option2", "option3"] },
            "titledSingle": { "type": "string", "oneOf": titled("Option") },
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"]
            },
            "untitledMulti": {
                "type": "array",
                "items": { "type": "string", "enum": ["option1", "option2", "option3"] }
            },
            "titledMulti": { "type": "array", "items": { "anyOf": titled("Choice") } }
        },
        "required": []
    })
}
