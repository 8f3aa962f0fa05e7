//! `pyro mcp serve`

use std::io::Read;
use std::path::Path;

use pyro::{Code, Config, Failure, Pyro};
use pyro_mcp::{HttpOptions, Options, Profile, Project};

use crate::arguments::{Mcp, McpProfile, McpServe};
use crate::exit::Status;
use crate::interrupt::Interrupts;
use crate::{settings, terminal};

/// Bytes of a file that can be a token.
const TOKEN_FILE_BYTES_MAX: u64 = 4096;

impl From<McpProfile> for Profile {
    fn from(profile: McpProfile) -> Profile {
        match profile {
            McpProfile::VmRun => Profile::VmRun,
            McpProfile::WorkspaceCore => Profile::WorkspaceCore,
            McpProfile::WorkspaceFull => Profile::WorkspaceFull,
        }
    }
}

/// Serves until its client goes, or a signal asks it to end: either is a good end.
pub(crate) async fn run(config: Config, Mcp::Serve(arguments): Mcp) -> Result<Status, Failure> {
    // What is wrong with the state is told now, where a person sees it.
    drop(Pyro::open(config.clone())?);
    let project =
        Project::open(arguments.project_path.as_deref(), &settings::directory()?, &arguments.allow_paths)?;
    let options = Options {
        config,
        profile: arguments.profile.into(),
        project,
        git_rules: settings::git_rules(),
        temporary: settings::temporary_directory(),
    };
    let mut interrupts = Interrupts::install()
        .map_err(|error| Failure::new(Code::System, "signals cannot be handled").because(error))?;
    let ended = async {
        interrupts.next().await;
    };
    match arguments.http {
        None => {
            if terminal::stdin_is_terminal() {
                tell_person();
            }
            pyro_mcp::serve_stdio(options, ended).await?;
        }
        Some(address) => {
            let (token, is_new) = token(&arguments)?;
            let http = HttpOptions {
                address,
                token: token.clone(),
                hosts: arguments.allow_hosts,
                origins: arguments.allow_origins,
                is_remote_allowed: arguments.allow_remote,
            };
            let listening = pyro_mcp::listen(options, http).await?;
            terminal::note(&format!("[mcp] url={}", listening.url()));
            if is_new {
                terminal::note(&format!("[mcp] token={token}"));
            }
            listening.serve(ended).await;
        }
    }
    Ok(Status::SUCCESS)
}

/// Somebody typed it: what waits here is for programs.
fn tell_person() {
    terminal::note("pyro speaks the Model Context Protocol here; a program is to start this, not a person");
    terminal::note("set one up with `pyro host connect claude-code|codex|opencode|cursor`; Ctrl-D ends it");
}

/// The token, and whether it was made just now.
fn token(arguments: &McpServe) -> Result<(String, bool), Failure> {
    if let Some(path) = &arguments.token_file {
        return Ok((read_token(path)?, false));
    }
    match settings::mcp_token()? {
        Some(token) => Ok((token, false)),
        None => Ok((pyro_mcp::new_token()?, true)),
    }
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let unreadable = |why: &dyn std::fmt::Display| {
        Failure::new(Code::InvalidArgument, format!("no token can be read from {}", path.display()))
            .because(why)
            .fix("name a file with one line, as `openssl rand -hex 32` writes it")
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| unreadable(&error))?;
    file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| unreadable(&error))?;
    Ok(text.trim().to_owned())
}
