//! The tools: a table of what they are called, what they take and give, and what they do with the core. They have no
//! logic of their own.

mod changes;
mod commands;
mod copies;
mod files;
mod one_shot;
mod services;
mod shells;
mod snapshots;
mod vms;
mod workspaces;

use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use pyro::{Code, Failure};
use rmcp::model::{CallToolResult, JsonObject, Tool as Definition, ToolAnnotations};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::answer::Answer;
use crate::call::Call;
use crate::profile::Profile;
use crate::schema;

/// What a call of a tool changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Nothing.
    Reads,
    /// Something comes.
    Adds,
    /// Something may be lost.
    Destroys,
}

/// The arguments of a tool; their documentation is what models read.
trait Arguments: DeserializeOwned + JsonSchema + 'static {
    /// The tool's name.
    const NAME: &'static str;
    /// What it does, for a model.
    const DESCRIPTION: &'static str;
    /// What a call changes.
    const EFFECT: Effect;
    /// Arguments that only make sense beside the tools of the whole profile.
    const WHOLE_PROFILE_ONLY: &'static [&'static str] = &[];
    /// What it gives.
    type Output: Serialize + JsonSchema;

    /// Does it.
    fn run(self, call: &Call) -> impl Future<Output = Result<Answer<Self::Output>, Failure>>;
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<CallToolResult, Failure>> + 'a>>;

/// A tool.
pub(crate) struct Tool {
    /// Its name.
    pub(crate) name: &'static str,
    /// The smallest profile that has it.
    pub(crate) profile: Profile,
    description: &'static str,
    effect: Effect,
    input: Arc<JsonObject>,
    output: Arc<JsonObject>,
    whole_profile_only: &'static [&'static str],
    run: for<'a> fn(&'a Call, JsonObject) -> Running<'a>,
    #[cfg(test)]
    refuses: fn(JsonObject) -> Option<Failure>,
}

impl std::fmt::Debug for Tool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tool").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tool {
    fn new<A: Arguments>(profile: Profile) -> Tool {
        Tool {
            name: A::NAME,
            profile,
            description: A::DESCRIPTION,
            effect: A::EFFECT,
            input: schema::input::<A>(),
            output: schema::output::<A::Output>(),
            whole_profile_only: A::WHOLE_PROFILE_ONLY,
            run: run::<A>,
            #[cfg(test)]
            refuses: |arguments| parse::<A>(arguments).err(),
        }
    }

    /// As a client of this profile sees it.
    pub(crate) fn definition(&self, profile: Profile) -> Definition {
        let mut input = self.input.clone();
        if profile < Profile::WorkspaceFull && !self.whole_profile_only.is_empty() {
            let narrowed = Arc::make_mut(&mut input);
            if let Some(Value::Object(properties)) = narrowed.get_mut("properties") {
                properties.retain(|name, _| !self.whole_profile_only.contains(&name.as_str()));
            }
        }
        let hints = ToolAnnotations::new().open_world(false);
        let hints = match self.effect {
            Effect::Reads => hints.read_only(true),
            Effect::Adds => hints.destructive(false),
            Effect::Destroys => hints.destructive(true),
        };
        Definition::new(self.name, self.description, input)
            .with_raw_output_schema(self.output.clone())
            .with_annotations(hints)
    }

    /// Runs it. What the profile does not show, no argument reaches.
    pub(crate) async fn run(&self, call: &Call, arguments: JsonObject) -> Result<CallToolResult, Failure> {
        if call.options().profile < Profile::WorkspaceFull
            && let Some(name) = self.whole_profile_only.iter().find(|name| arguments.contains_key(**name))
        {
            return Err(Failure::new(Code::InvalidArgument, format!("{} takes no `{name}` here", self.name))
                .because(format!("the profile {} does not have it", call.options().profile.as_str()))
                .fix("leave it out, or ask the person to start the server with the profile workspace-full"));
        }
        (self.run)(call, arguments).await
    }
}

fn run<A: Arguments>(call: &Call, arguments: JsonObject) -> Running<'_> {
    Box::pin(async move {
        let arguments: A = parse(arguments)?;
        Ok(arguments.run(call).await?.into_result())
    })
}

fn parse<A: Arguments>(arguments: JsonObject) -> Result<A, Failure> {
    serde_path_to_error::deserialize(Value::Object(arguments)).map_err(|error| {
        let place = error.path().to_string();
        let what = match place.as_str() {
            "." => format!("the arguments of {} do not fit", A::NAME),
            place => format!("the argument `{place}` of {} does not fit", A::NAME),
        };
        Failure::new(Code::InvalidArgument, what)
            .because(error.into_inner())
            .fix("call it again with arguments as its input schema has them")
    })
}

/// All tools, sorted by name.
pub(crate) fn catalog() -> &'static [Tool] {
    static CATALOG: LazyLock<Vec<Tool>> = LazyLock::new(|| {
        let mut tools = Vec::new();
        for add in [
            one_shot::add,
            vms::add,
            workspaces::add,
            copies::add,
            commands::add,
            files::add,
            changes::add,
            snapshots::add,
            shells::add,
            services::add,
        ] {
            add(&mut tools);
        }
        tools.sort_by_key(|tool| tool.name);
        tools
    });
    &CATALOG
}

/// A tool that a profile has.
pub(crate) fn find(name: &str, profile: Profile) -> Option<&'static Tool> {
    catalog().iter().find(|tool| tool.name == name && tool.profile <= profile)
}

/// The list of tools of a profile: the same for every client, always.
pub(crate) fn list(profile: Profile) -> Vec<Definition> {
    catalog().iter().filter(|tool| tool.profile <= profile).map(|tool| tool.definition(profile)).collect()
}

#[cfg(test)]
mod tests;
