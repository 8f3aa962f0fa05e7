//! The arguments of services.

use std::ffi::OsString;

use clap::{ArgGroup, Args, Subcommand};

use super::{Connected, One};

#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// Start a service, and wait until it is ready
    Start(Box<ServiceStart>),
    /// List the services of a workspace
    #[command(visible_alias = "ls")]
    List(One),
    /// Show one service
    Status(ServiceOne),
    /// Show what a service wrote
    Logs(ServiceLogs),
    /// End a service and everything it has started
    Stop(ServiceStop),
    /// End a service if it runs, and start it as it was
    Restart(ServiceRestart),
}

/// A service.
#[derive(Args, Debug)]
pub(crate) struct ServiceOne {
    #[command(flatten)]
    pub(crate) one: One,
    /// The service
    pub(crate) name: String,
}

#[derive(Args, Debug)]
#[command(
    override_usage = "pyro workspace service start [OPTIONS] <WORKSPACE> <NAME> -- <COMMAND>...",
    group = ArgGroup::new("readiness").multiple(false)
)]
pub(crate) struct ServiceStart {
    #[command(flatten)]
    pub(crate) connected: Connected,
    /// A name that no other service of the workspace has
    pub(crate) name: String,
    /// Working directory, in /workspace unless absolute
    #[arg(long, visible_alias = "workdir", value_name = "DIR")]
    pub(crate) cwd: Option<OsString>,
    /// Set a variable, or hand on one of this environment by its name
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<OsString>,
    /// User in the guest: name or uid, with an optional :group
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// It is ready when this file is there, in /workspace unless absolute, and made or changed since this start
    #[arg(long, value_name = "PATH", group = "readiness")]
    pub(crate) ready_file: Option<OsString>,
    /// It is ready when this address of the guest accepts connections
    #[arg(long, value_name = "HOST:PORT", group = "readiness")]
    pub(crate) ready_tcp: Option<String>,
    /// It is ready when this URL of the guest answers with a status from 200 to 399
    #[arg(long, value_name = "URL", group = "readiness")]
    pub(crate) ready_http: Option<String>,
    /// It is ready when this command, given to `sh -c`, exits with 0
    #[arg(long, value_name = "COMMAND", group = "readiness")]
    pub(crate) ready_command: Option<OsString>,
    /// It has failed when it is not ready after so long
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) ready_timeout_seconds: u64,
    /// Look so often; the first looks come faster
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pub(crate) ready_interval_ms: u64,
    /// Start it again when it ends: no, on-failure, always; then it also comes back with the workspace
    #[arg(long, value_name = "POLICY", default_value = "no")]
    pub(crate) restart: String,
    /// Publish a port of the guest; not available yet
    #[arg(long, value_name = "PORT")]
    pub(crate) publish: Vec<String>,
    /// The command, behind `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct ServiceLogs {
    #[command(flatten)]
    pub(crate) which: ServiceOne,
    /// So many lines from the end
    #[arg(long, value_name = "COUNT", default_value_t = pyro::limits::LOG_LINES_DEFAULT)]
    pub(crate) tail_lines: u64,
    /// All that is kept
    #[arg(long, conflicts_with = "tail_lines")]
    pub(crate) all: bool,
    /// Go on until the service ends
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) follow: bool,
    /// Begin each line with its time
    #[arg(long, conflicts_with = "json")]
    pub(crate) timestamps: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ServiceStop {
    #[command(flatten)]
    pub(crate) which: ServiceOne,
    /// Kill what has not ended by itself after so long
    #[arg(long, value_name = "SECONDS", default_value_t = pyro::limits::SERVICE_GRACE_SECONDS_DEFAULT)]
    pub(crate) grace_seconds: u64,
}

#[derive(Args, Debug)]
pub(crate) struct ServiceRestart {
    #[command(flatten)]
    pub(crate) connected: Connected,
    /// The service
    pub(crate) name: String,
    /// Kill what has not ended by itself after so long
    #[arg(long, value_name = "SECONDS", default_value_t = pyro::limits::SERVICE_GRACE_SECONDS_DEFAULT)]
    pub(crate) grace_seconds: u64,
}
