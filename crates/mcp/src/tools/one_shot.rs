//! A VM for one command.

use pyro::results::{Ran, VmFacts};
use pyro::{Failure, LaunchRequest, Shape, parse_seconds};
use schemars::JsonSchema;
use serde::Deserialize;

use super::commands::{default_timeout, ran_text};
use super::workspaces::{default_environment, default_memory, default_processors, default_ttl};
use super::{Arguments, Effect, Tool};
use crate::answer::Answer;
use crate::call::{Call, output_bytes, shell_line, words};
use crate::profile::Profile;

pub(super) fn add(tools: &mut Vec<Tool>) {
    tools.push(Tool::new::<VmRun>(Profile::VmRun));
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VmRun {
    /// A line for sh.
    command: String,
    #[serde(default = "default_environment")]
    environment: String,
    #[serde(default = "default_timeout")]
    timeout_seconds: u64,
    #[serde(default = "default_processors")]
    vcpu_count: u64,
    #[serde(default = "default_memory")]
    mem_mib: u64,
    #[serde(default = "default_ttl")]
    ttl_seconds: u64,
    /// Of each output, shown.
    max_bytes: Option<u64>,
}

impl Arguments for VmRun {
    const NAME: &'static str = "vm_run";
    const DESCRIPTION: &'static str = "Run one command in a fresh Linux VM that is gone afterwards. No files of the \
        host, no network. Nothing it writes is kept: use a workspace for work that goes on.";
    const EFFECT: Effect = Effect::Adds;
    type Output = Ran;

    async fn run(self, call: &Call) -> Result<Answer<Ran>, Failure> {
        let shape = Shape::parse(self.vcpu_count, self.mem_mib)?;
        let ttl_seconds = parse_seconds("ttl_seconds", self.ttl_seconds)?;
        let exec = shell_line(&self.command, None, self.timeout_seconds)?;
        call.environment(&self.environment).await?;
        // However it ends, another VM takes the place of the one that it takes.
        let _refilling = call.pyro.refill_at_end(&self.environment, shape);
        let request =
            LaunchRequest { environment: self.environment.clone(), shape, ttl_seconds: Some(ttl_seconds) };
        let mut vm = call.pyro.launch(request, |notice| call.report.notice(notice)).await?;
        let finished =
            vm.exec(exec)?.finish(output_bytes(self.max_bytes), |bytes| call.report.output(bytes)).await?;
        let facts = VmFacts::of(&vm);
        let stopped = vm.stop().await;
        let ran = Ran::new(facts, &self.environment, &words(&self.command), finished, stopped.is_ok());
        let text = ran_text(&ran.end, "run it again with a larger max_bytes");
        Ok(Answer::new(ran, text))
    }
}
