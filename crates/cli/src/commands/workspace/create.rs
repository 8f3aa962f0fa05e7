//! `pyro workspace create`

use std::io;

use pyro::{
    Code, CreateRequest, Failure, Notice, Progress, Pyro, Seed, Shape, Source, Workspace, parse_seconds,
};

use super::block::block;
use super::push::{rules_of, watch};
use crate::arguments::workspace::Create;
use crate::commands::env;
use crate::exit::Status;
use crate::interrupt::unless_interrupted;
use crate::{report, terminal};

pub(super) async fn run(pyro: &Pyro, arguments: Create) -> Result<Status, Failure> {
    let request = request(&arguments)?;
    let name = arguments.environment.as_str();
    if !pyro.is_installed(name)? {
        env::pull(pyro, name).await?;
    }
    // However it ends, another VM takes the place of the one that it takes.
    let _refilling = pyro.refill_at_end(name, request.shape);
    unless_interrupted(create(pyro, request, &arguments)).await
}

fn request(arguments: &Create) -> Result<CreateRequest, Failure> {
    refuse_what_is_not_there(arguments)?;
    let rules = rules_of(arguments.seed_ignore);
    Ok(CreateRequest {
        environment: arguments.environment.clone(),
        shape: Shape::parse(arguments.sizing.vcpu_count, arguments.sizing.mem_mib)?,
        ttl_seconds: parse_seconds("--ttl-seconds", arguments.ttl_seconds)?,
        name: arguments.name.clone(),
        labels: arguments.labels.clone(),
        seed: arguments.seed_path.clone().map(|path| Source::open(&Seed { path, rules })).transpose()?,
    })
}

fn refuse_what_is_not_there(arguments: &Create) -> Result<(), Failure> {
    let missing = |flag: &str, why: &str| {
        Err(Failure::new(Code::NotSupported, format!("{flag} is not available yet"))
            .because(why)
            .fix("make the workspace without it"))
    };
    match arguments.network_policy.as_str() {
        "off" => {}
        "egress" | "egress+published-ports" => {
            return missing("--network-policy", "this release gives guests no network");
        }
        other => {
            return Err(Failure::new(Code::InvalidArgument, format!("{other:?} is no network policy"))
                .fix("choose off, egress or egress+published-ports"));
        }
    }
    if !arguments.publish.is_empty() {
        return missing("--publish", "this release gives guests no network");
    }
    if !arguments.secret.is_empty() || !arguments.secret_file.is_empty() {
        return missing("--secret", "this release keeps no secrets");
    }
    Ok(())
}

async fn create(pyro: &Pyro, request: CreateRequest, arguments: &Create) -> Result<Status, Failure> {
    let bar = terminal::progress_bar();
    let progress = Progress::default();
    let made = pyro.create_workspace(request, &progress, |notice| match notice {
        Notice::MakingTemplate => {
            bar.set_message("first use of this shape: booting it once");
            bar.enable_steady_tick(terminal::TICK);
        }
        Notice::Starting { .. } | Notice::ServiceFailed { .. } => {}
        Notice::Seeding => terminal::begin_bytes(&bar, "seeding"),
    });
    let made = watch(made, &bar, &progress).await;
    bar.finish_and_clear();
    let workspace = made?;
    show(pyro, &workspace, arguments).await.map(report::written)
}

async fn show(pyro: &Pyro, workspace: &Workspace, arguments: &Create) -> Result<io::Result<()>, Failure> {
    if arguments.id_only {
        return Ok(terminal::result(workspace.id()));
    }
    let info = pyro.workspace(workspace.id()).await?;
    Ok(if arguments.json { report::json(&info) } else { terminal::result(&block(&info)) })
}
