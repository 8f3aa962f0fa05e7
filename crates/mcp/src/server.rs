//! What the protocol asks, answered: the same for every client and transport.

use pyro::{Code, Failure};
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CustomRequest, CustomResult, ErrorCode, ErrorData,
    GetPromptRequestParams, GetPromptResponse, Implementation, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities, ServerConfig,
    Tool as Definition,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::json;

use crate::answer::failed;
use crate::engine::Engine;
use crate::limits::LIST_TTL_MS;
use crate::profile::Profile;
use crate::progress::Report;
use crate::wording::in_tool_words;
use crate::{prompts, resources, tools};

/// What a model is told of all tools together.
const INSTRUCTIONS: &str = "\
pyro gives you disposable Linux VMs. Nothing you run touches the person's machine.
workspace_create copies the project into a VM that stays; work there with workspace_exec and the file tools; look at \
the result with workspace_diff; bring it back with workspace_apply. workspace_reset starts over, workspace_fork tries \
several ways at once. VMs have no network. Answers are cut in the middle where they are long, and say how to get the \
rest. Delete workspaces that nobody needs any more.";

/// The same for a server with one tool.
const INSTRUCTIONS_OF_VM_RUN: &str = "\
pyro gives you disposable Linux VMs. vm_run runs one command in a fresh one, which is gone afterwards: nothing touches \
the person's machine, nothing is kept, there is no network.";

/// What a connection talks to.
#[cfg(not(feature = "conformance"))]
pub(crate) type Face = Server;

/// The same with what the conformance suite calls by name.
#[cfg(feature = "conformance")]
pub(crate) type Face = crate::conformance::Fixtures;

/// A server, as each connection has it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    engine: Engine,
}

impl Server {
    pub(crate) fn new(engine: Engine) -> Server {
        Server { engine }
    }

    fn profile(&self) -> Profile {
        self.engine.options().profile
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let (capabilities, instructions) = match self.profile() {
            Profile::VmRun => (ServerCapabilities::builder().enable_tools().build(), INSTRUCTIONS_OF_VM_RUN),
            Profile::WorkspaceCore | Profile::WorkspaceFull => (
                ServerCapabilities::builder().enable_tools().enable_prompts().enable_resources().build(),
                INSTRUCTIONS,
            ),
        };
        ServerConfig::new(capabilities)
            .with_server_info(
                Implementation::new("pyro", env!("CARGO_PKG_VERSION"))
                    .with_title("pyro: disposable computers"),
            )
            .with_instructions(instructions)
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        one_page(request)?;
        let list = ListToolsResult::with_all_items(tools::list(self.profile()));
        Ok(list.with_ttl_ms(LIST_TTL_MS).with_cache_scope(CacheScope::Public))
    }

    fn get_tool(&self, name: &str) -> Option<Definition> {
        tools::find(name, self.profile()).map(|tool| tool.definition(self.profile()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = tools::find(&request.name, self.profile()) else {
            return Err(unknown_tool(&request.name, self.profile()));
        };
        let arguments = request.arguments.unwrap_or_default();
        Ok(self.engine.call(tool, arguments, &context).await.into())
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let method = request.method;
        Err(match is_method(&method, context.protocol_version().as_ref()) {
            true => ErrorData::invalid_params(format!("the parameters of {method} do not fit"), None),
            false => {
                ErrorData::new(ErrorCode::METHOD_NOT_FOUND, format!("there is no method {method:?}"), None)
            }
        })
    }

    async fn list_prompts(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        one_page(request)?;
        let list = ListPromptsResult::with_all_items(prompts::list(self.profile()));
        Ok(list.with_ttl_ms(LIST_TTL_MS).with_cache_scope(CacheScope::Public))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        prompts::get(self.profile(), &request.name, &arguments).map(GetPromptResponse::Complete)
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        one_page(request)?;
        if self.profile() == Profile::VmRun {
            return Ok(ListResourcesResult::default());
        }
        let list = self.engine.run(&context.ct, Report::default(), resources::list).await;
        // Workspaces come and go, and are this person's own.
        let list = ListResourcesResult::with_all_items(list.map_err(|failure| broken(&failure))?);
        Ok(list.with_ttl_ms(0).with_cache_scope(CacheScope::Private))
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        one_page(request)?;
        let templates = match self.profile() {
            Profile::VmRun => Vec::new(),
            Profile::WorkspaceCore | Profile::WorkspaceFull => resources::templates(),
        };
        let list = ListResourceTemplatesResult::with_all_items(templates);
        Ok(list.with_ttl_ms(LIST_TTL_MS).with_cache_scope(CacheScope::Public))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri;
        if self.profile() == Profile::VmRun {
            return Err(resources::unknown(&uri));
        }
        let place = resources::parse(&uri)?;
        let named = uri.clone();
        let reading = async move |call| resources::read(&call, place, &named).await;
        match self.engine.run(&context.ct, Report::default(), reading).await.map_err(in_tool_words) {
            Ok(result) => Ok(ReadResourceResponse::Complete(
                result.with_ttl_ms(0).with_cache_scope(CacheScope::Private),
            )),
            Err(failure) => Err(match failure.code {
                Code::WorkspaceUnknown | Code::PathMissing | Code::PathOutside => {
                    ErrorData::resource_not_found(failure.to_string(), Some(json!({ "uri": uri })))
                }
                _ => broken(&failure),
            }),
        }
    }
}

/// Methods that are there: a request of one that the library cannot read has other parameters than it should.
const METHODS: &[&str] = &[
    "completion/complete",
    "initialize",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/templates/list",
    "server/discover",
    "tools/call",
    "tools/list",
];

/// Whether a revision of the protocol has a method. Since 2026-07-28 nothing is agreed on before the first request.
fn is_method(name: &str, version: Option<&ProtocolVersion>) -> bool {
    // Versions are dates, and compare as such.
    let has_handshake =
        version.is_none_or(|version| version.as_str() < ProtocolVersion::V_2026_07_28.as_str());
    METHODS.contains(&name) && (has_handshake || name != "initialize")
}

/// Every list is one page: there is nothing to go on with.
fn one_page(request: Option<PaginatedRequestParams>) -> Result<(), ErrorData> {
    match request.and_then(|request| request.cursor) {
        None => Ok(()),
        Some(cursor) => Err(ErrorData::invalid_params(
            format!("there is no cursor {cursor:?}: this list is one page"),
            None,
        )),
    }
}

fn unknown_tool(name: &str, profile: Profile) -> ErrorData {
    let message = match tools::find(name, Profile::WorkspaceFull) {
        Some(tool) => format!(
            "the profile {} does not have the tool {name}: start the server with --profile {}",
            profile.as_str(),
            tool.profile.as_str()
        ),
        None => format!("there is no tool {name:?}: tools/list has them all"),
    };
    ErrorData::invalid_params(message, None)
}

/// A failure where the protocol has no result for one.
fn broken(failure: &Failure) -> ErrorData {
    ErrorData::internal_error(failure.to_string(), failed(failure).structured_content)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a revision has done away with is no method of it, however well it was meant.
    #[test]
    fn methods_are_those_of_the_revision() {
        let (older, newer) = (ProtocolVersion::V_2025_11_25, ProtocolVersion::V_2026_07_28);
        assert!(is_method("initialize", None) && is_method("initialize", Some(&older)));
        assert!(!is_method("initialize", Some(&newer)));
        assert!(is_method("tools/call", Some(&older)) && is_method("tools/call", Some(&newer)));
        assert!(!is_method("tools/recall", None));
    }
}
