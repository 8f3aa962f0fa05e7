//! Runs the archive tool as root of its own world: real root in a new mount and pid namespace, or an ordinary user who is
//! root of a user namespace. There the user is uid 0 himself and his subordinate ids are the rest, so a cache under a home
//! directory of mode 0700 is reachable. It never changes anything of the caller's process.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::child::{self, Bounds, Running, ToolError, ToolOutput};
use crate::limits::{SMALL_TOOL_RUN_MAX, TREE_GONE_MAX};
use crate::progress::Cancel;
use crate::subordinate::{SubordinateIds, subordinate_ids};
use crate::tools::{Tool, ToolMissing, Tools};

/// Which world a program runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum World {
    /// We are root: new mount and pid namespaces.
    Root,
    /// We are root, and may not make namespaces (a container without CAP_SYS_ADMIN): as we are.
    Bare,
    /// We are an ordinary user: a user namespace in front.
    User(SubordinateIds),
    /// We are an ordinary user whom a policy gives no rights in namespaces, but gives them to mmdebstrap (AppArmor on
    /// Ubuntu 24.04). Its namespace has our subordinate ids only, who cannot reach a private directory by its path: so the
    /// working directory is mounted on `/tmp` there.
    Archive,
}

/// The [`World::Archive`]'s first command: `.` needs no way to it. Perl wants a working directory it can name.
const ENTER_WORKING_DIRECTORY: &str =
    "mount --no-canonicalize --rbind . /tmp && cd /tmp && exec \"$@\" </dev/null";

/// One program to run in a world.
pub(crate) struct Program<'a> {
    pub(crate) tool: Tool,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(&'static str, OsString)>,
    /// Where it runs. What it writes goes there; see [`World::inside`].
    pub(crate) directory: &'a Path,
    pub(crate) bounds: Bounds<'a>,
    /// An open file the whole process tree keeps open as its stdout: a lock on it outlasts this process when that is killed.
    pub(crate) held: Option<File>,
}

impl World {
    /// The world this process can have: a program is tried in it.
    pub(crate) fn of_this_process(tools: &Tools, cancel: &Cancel) -> Result<Self, ToolError> {
        if tools.run_bare() {
            return Ok(Self::Bare);
        }
        if rustix::process::geteuid().is_root() {
            return Ok(if Self::Root.works(tools, cancel)?.is_none() { Self::Root } else { Self::Bare });
        }
        let user = Self::User(subordinate_ids()?);
        let Some(refusal) = user.works(tools, cancel)? else { return Ok(user) };
        match Self::Archive.works(tools, cancel)? {
            None => Ok(Self::Archive),
            Some(_) => Err(ToolError::NamespaceRefused { output: refusal }),
        }
    }

    /// Tries a harmless program; gives what was said when it could not run.
    fn works(&self, tools: &Tools, cancel: &Cancel) -> Result<Option<ToolOutput>, ToolError> {
        let trial = Program {
            tool: Tool::Rm,
            arguments: vec!["--version".into()],
            environment: Vec::new(),
            directory: Path::new("/"),
            bounds: Bounds { program: "unshare", limit: SMALL_TOOL_RUN_MAX, cancel },
            held: None,
        };
        match self.run(tools, trial, &mut |_| {}) {
            Ok(()) => Ok(None),
            Err(ToolError::Failed { output, .. } | ToolError::NamespaceRefused { output }) => {
                Ok(Some(output))
            }
            Err(error) => Err(error),
        }
    }

    /// How a program in this world names its working directory.
    pub(crate) fn inside(&self, directory: &Path) -> PathBuf {
        match self {
            Self::Archive => PathBuf::from("/tmp"),
            Self::Root | Self::Bare | Self::User(_) => directory.to_owned(),
        }
    }

    /// The mode its working directory needs. A world of other ids needs it open to all; the directory above keeps them out.
    pub(crate) fn directory_mode(&self) -> u32 {
        match self {
            Self::Archive => 0o777,
            Self::Root | Self::Bare | Self::User(_) => 0o755,
        }
    }

    /// Runs a program in this world and waits for it.
    pub(crate) fn run(
        &self,
        tools: &Tools,
        program: Program<'_>,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<(), ToolError> {
        let mut command = self.command(tools, program.tool)?;
        command.args(&program.arguments).envs(program.environment).current_dir(program.directory);
        command.stdout(program.held.map_or_else(Stdio::null, Stdio::from));
        let bounds = program.bounds;
        match self {
            Self::Root | Self::Bare | Self::Archive => child::run(null_stdin(command), bounds, on_line),
            Self::User(ids) => {
                command.stdin(Stdio::piped());
                let running = child::start(command, bounds.program)?;
                give_ids(tools, running, ids)?.finish(bounds, on_line)
            }
        }
    }

    fn command(&self, tools: &Tools, tool: Tool) -> Result<Command, ToolMissing> {
        match self {
            Self::Bare => Ok(Command::new(tools.require(tool)?)),
            Self::Root => {
                let mut command = Command::new(tools.require(Tool::Setpriv)?);
                command.args(tie(tools, tool)?.into_iter().skip(1));
                Ok(command)
            }
            Self::Archive => {
                let mut command = Command::new(tools.require(Tool::Setpriv)?);
                command.args(["--pdeathsig", "KILL", "--"]).arg(tools.require(Tool::Mmdebstrap)?);
                command.arg("--unshare-helper").arg(tools.require(Tool::Sh)?);
                command.args(["-c", ENTER_WORKING_DIRECTORY, "sh"]).arg(tools.require(tool)?);
                Ok(command)
            }
            Self::User(_) => {
                let mut command = Command::new(tools.require(Tool::Unshare)?);
                // The shell waits for the ids: a program that is executed before has no capabilities.
                command.arg("--user").arg("--").arg(tools.require(Tool::Sh)?);
                command.arg("-c").arg("read -r ids && exec \"$@\" </dev/null").arg("sh");
                command.args(tie(tools, tool)?);
                Ok(command)
            }
        }
    }
}

/// Removes, of a tree that is in nobody's use, the files that belong to subordinate ids of this user: those in these parts
/// of its working directory, or all of it where that is as easy. The rest is the user's own.
pub(crate) fn remove_foreign_files(
    tools: &Tools,
    tree: &Path,
    directory: &str,
    parts: &[&str],
) -> Result<(), ToolError> {
    let cancel = Cancel::new();
    let world = World::of_this_process(tools, &cancel)?;
    let mut arguments: Vec<OsString> = vec!["-rf".into(), "--one-file-system".into(), "--".into()];
    let working = tree.join(directory);
    let (directory, targets) = match world {
        World::Archive => {
            (working.as_path(), parts.iter().map(|part| world.inside(&working).join(part)).collect())
        }
        World::Root | World::Bare | World::User(_) => (Path::new("/"), vec![tree.to_owned()]),
    };
    arguments.extend(targets.into_iter().map(OsString::from));
    let bounds = Bounds { program: "rm", limit: SMALL_TOOL_RUN_MAX, cancel: &cancel };
    let program =
        Program { tool: Tool::Rm, arguments, environment: Vec::new(), directory, bounds, held: None };
    world.run(tools, program, &mut |_| {})
}

/// `setpriv --pdeathsig KILL unshare … tool`: the tree dies with us, and with its first process.
fn tie(tools: &Tools, tool: Tool) -> Result<Vec<OsString>, ToolMissing> {
    Ok(vec![
        tools.require(Tool::Setpriv)?.into(),
        "--pdeathsig".into(),
        "KILL".into(),
        "--".into(),
        tools.require(Tool::Unshare)?.into(),
        "--mount".into(),
        "--pid".into(),
        "--fork".into(),
        "--kill-child=KILL".into(),
        "--".into(),
        tools.require(tool)?.into(),
    ])
}

/// Maps the ids of a started `unshare --user` and lets it go on.
fn give_ids(tools: &Tools, mut running: Running, ids: &SubordinateIds) -> Result<Running, ToolError> {
    if !entered_user_namespace(&mut running) {
        return Err(ToolError::NamespaceRefused { output: running.abandon() });
    }
    let stdin = running.take_stdin();
    for (tool, arguments) in ids.map_arguments(running.id()) {
        map_ids(tools, tool, arguments)?;
    }
    let told = stdin.map(|mut stdin| stdin.write_all(b"go\n"));
    match told {
        Some(Ok(())) => Ok(running),
        _ => Err(ToolError::NamespaceRefused { output: running.abandon() }),
    }
}

fn map_ids(tools: &Tools, tool: Tool, arguments: Vec<String>) -> Result<(), ToolError> {
    let mut command = Command::new(tools.require(tool)?);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    let cancel = Cancel::new();
    let bounds = Bounds { program: tool.program(), limit: SMALL_TOOL_RUN_MAX, cancel: &cancel };
    child::run(command, bounds, &mut |_| {})
}

/// Waits until the process is in another user namespace than ours. Its link cannot be read while it is on its way.
fn entered_user_namespace(running: &mut Running) -> bool {
    let Ok(ours) = fs::read_link("/proc/self/ns/user") else { return false };
    let theirs = format!("/proc/{}/ns/user", running.id());
    let deadline = Instant::now() + TREE_GONE_MAX;
    while Instant::now() < deadline && !running.has_exited() {
        if fs::read_link(&theirs).is_ok_and(|theirs| theirs != ours) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

fn null_stdin(mut command: Command) -> Command {
    command.stdin(Stdio::null());
    command
}
