//! Tools and a prompt that ask their client back in the way of 2026-07-28: the answer says what else is needed, and the
//! request comes again with it. Nothing is kept in between but what the client carries.

use std::sync::LazyLock;

use rmcp::RoleServer;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, CreateMessageRequest,
    ElicitRequest, ErrorData, GetPromptRequestParams, GetPromptResponse, GetPromptResult, InputRequest,
    InputRequests, InputRequiredResult, InputResponses, ListRootsRequest, PromptMessage, Role,
};
use rmcp::service::RequestContext;
use serde_json::{Value, json};

/// Names of the tools here.
pub(super) const NAMES: &[&str] = &[
    "test_input_required_result_capabilities",
    "test_input_required_result_elicitation",
    "test_input_required_result_list_roots",
    "test_input_required_result_multi_round",
    "test_input_required_result_multiple_inputs",
    "test_input_required_result_request_state",
    "test_input_required_result_sampling",
    "test_input_required_result_tampered_state",
    "test_streaming_elicitation",
];

/// The prompt here.
pub(super) const PROMPT: &str = "test_input_required_result_prompt";

/// Makes a state that comes back something that only this process has made.
static SEAL: LazyLock<String> = LazyLock::new(|| crate::http::new_token().unwrap_or_default());

/// What one asks for, and what it says once it has that.
struct Asking {
    requests: InputRequests,
    state: Option<String>,
    done: String,
}

/// Calls a tool, if it is one of those here.
pub(super) fn call(
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Option<Result<CallToolResponse, ErrorData>> {
    let asking = match request.name.as_ref() {
        "test_input_required_result_elicitation" | "test_streaming_elicitation" => {
            one("user_name", elicit("What is your name?", "name", "string"), "Hello")
        }
        "test_input_required_result_sampling" => {
            one("capital_question", sample("What is the capital of France?"), "The client has said")
        }
        "test_input_required_result_list_roots" => one("client_roots", Ok(roots()), "The roots are"),
        "test_input_required_result_request_state" | "test_input_required_result_tampered_state" => {
            one("confirm", elicit("Please confirm", "ok", "boolean"), "state-ok")
                .map(|asking| sealed(asking, "1"))
        }
        "test_input_required_result_multiple_inputs" => several(),
        "test_input_required_result_capabilities" => what_is_supported(context),
        "test_input_required_result_multi_round" => return Some(round(request)),
        _ => return None,
    };
    Some(asking.and_then(|asking| match given(&asking, request)? {
        Some(said) => Ok(done(said)),
        None => Ok(asking.into()),
    }))
}

/// Gets a prompt, if it is the one here.
pub(super) fn prompt(request: &GetPromptRequestParams) -> Option<Result<GetPromptResponse, ErrorData>> {
    if request.name != PROMPT {
        return None;
    }
    let asking =
        one("user_context", elicit("What context should the prompt use?", "context", "string"), "Use");
    Some(asking.and_then(|asking| {
        let said = match &request.input_responses {
            Some(responses) => said(&asking, responses)?,
            None => None,
        };
        Ok(match said {
            Some(said) => GetPromptResult::new(vec![PromptMessage::new_text(Role::User, said)]).into(),
            None => InputRequiredResult::new(Some(asking.requests), None).into(),
        })
    }))
}

/// A request to the client's model.
pub(super) fn message_request(prompt: &str) -> Result<CreateMessageRequest, ErrorData> {
    let params = json!({
        "messages": [{ "role": "user", "content": { "type": "text", "text": prompt } }],
        "maxTokens": 100
    });
    serde_json::from_value(params).map(CreateMessageRequest::new).map_err(unreadable)
}

/// A request to the client's person.
pub(super) fn elicit_request(message: &str, schema: Value) -> Result<ElicitRequest, ErrorData> {
    let params = json!({ "mode": "form", "message": message, "requestedSchema": schema });
    serde_json::from_value(params).map(ElicitRequest::new).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

fn elicit(message: &str, property: &str, kind: &str) -> Result<InputRequest, ErrorData> {
    let schema =
        json!({ "type": "object", "properties": { property: { "type": kind } }, "required": [property] });
    elicit_request(message, schema).map(InputRequest::Elicitation)
}

fn sample(prompt: &str) -> Result<InputRequest, ErrorData> {
    message_request(prompt).map(InputRequest::CreateMessage)
}

fn roots() -> InputRequest {
    InputRequest::ListRoots(ListRootsRequest::default())
}

fn one(key: &str, request: Result<InputRequest, ErrorData>, done: &str) -> Result<Asking, ErrorData> {
    let requests = InputRequests::from([(key.to_owned(), request?)]);
    Ok(Asking { requests, state: None, done: done.to_owned() })
}

fn several() -> Result<Asking, ErrorData> {
    let requests = InputRequests::from([
        ("user_name".to_owned(), elicit("What is your name?", "name", "string")?),
        ("greeting".to_owned(), sample("Generate a greeting")?),
        ("client_roots".to_owned(), roots()),
    ]);
    Ok(sealed(Asking { requests, state: None, done: "All three have come".to_owned() }, "1"))
}

/// Nothing is asked of a client that it has not said it can.
fn what_is_supported(context: &RequestContext<RoleServer>) -> Result<Asking, ErrorData> {
    let capabilities = context.client_capabilities().unwrap_or_default();
    let mut requests = InputRequests::new();
    if capabilities.sampling.is_some() {
        requests.insert("greeting".to_owned(), sample("Generate a greeting")?);
    }
    if capabilities.elicitation.is_some() {
        requests.insert("user_name".to_owned(), elicit("What is your name?", "name", "string")?);
    }
    if capabilities.roots.is_some() {
        requests.insert("client_roots".to_owned(), roots());
    }
    Ok(Asking { requests, state: None, done: "The client can do that".to_owned() })
}

/// The state says which round this is.
fn round(request: &CallToolRequestParams) -> Result<CallToolResponse, ErrorData> {
    let first = one("step1", elicit("Step 1: What is your name?", "name", "string"), "")?;
    let second = one("step2", elicit("Step 2: What is your favorite color?", "color", "string"), "Done")?;
    let (first, second) = (sealed(first, "1"), sealed(second, "2"));
    if request.request_state != second.state {
        return Ok(if given(&first, request)?.is_some() { second.into() } else { first.into() });
    }
    Ok(given(&second, request)?.map_or_else(|| second.into(), done))
}

fn done(said: String) -> CallToolResponse {
    CallToolResult::success(vec![ContentBlock::text(said)]).into()
}

impl From<Asking> for CallToolResponse {
    fn from(asking: Asking) -> CallToolResponse {
        InputRequiredResult::new(Some(asking.requests), asking.state).into()
    }
}

fn sealed(mut asking: Asking, word: &str) -> Asking {
    asking.state = Some(seal(word));
    asking
}

fn seal(word: &str) -> String {
    format!("{word}.{}", *SEAL)
}

/// What is said when everything has come; nothing while it has not.
fn given(asking: &Asking, request: &CallToolRequestParams) -> Result<Option<String>, ErrorData> {
    let Some(responses) = &request.input_responses else { return Ok(None) };
    if asking.state.is_some() && asking.state != request.request_state {
        return Err(ErrorData::invalid_params("the request state is not what this server has made", None));
    }
    said(asking, responses)
}

fn said(asking: &Asking, responses: &InputResponses) -> Result<Option<String>, ErrorData> {
    let mut said = asking.done.clone();
    for key in asking.requests.keys() {
        match responses.get(key) {
            Some(Value::Object(response)) => said.push_str(&format!(", {key}: {}", json!(response))),
            Some(_) => return Err(ErrorData::invalid_params(format!("{key} is no response"), None)),
            None => return Ok(None),
        }
    }
    Ok(Some(said))
}
