//! The control groups: `agent` for this process, `pyro` for all commands, bounded so that neither a fork
//! bomb nor a memory hog takes what the kernel and the agent need.

use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::BootError;
use crate::console::warn;
use crate::exec::cgroup_write;
use crate::limits::{MEMORY_RESERVE_BYTES, PROCESSES_MAX};

const ROOT: &str = "/sys/fs/cgroup";
const CONTROLLERS: &[u8] = b"+memory +pids +cpu";

/// Makes the groups and moves this process into its own; gives the directory for commands' groups.
pub(crate) fn make_command_cgroups() -> Result<PathBuf, BootError> {
    let root = Path::new(ROOT);
    let (agent, commands) = (root.join("agent"), root.join("pyro"));
    make(&agent).and_then(|()| make(&commands)).map_err(BootError::Cgroups)?;
    set(&agent, "cgroup.procs", b"0").map_err(BootError::Cgroups)?;
    // What follows bounds commands; a kernel without one of the controllers still runs them.
    let limits: [(&Path, &str, Vec<u8>); 5] = [
        (root, "cgroup.subtree_control", CONTROLLERS.to_vec()),
        (&commands, "cgroup.subtree_control", CONTROLLERS.to_vec()),
        (&commands, "pids.max", PROCESSES_MAX.to_string().into_bytes()),
        (&commands, "memory.max", memory_max(memory_total_bytes()).to_string().into_bytes()),
        (&commands, "memory.swap.max", b"0".to_vec()),
    ];
    for (directory, name, value) in limits {
        match set(directory, name, &value) {
            Err(Errno::NOENT) if name == "memory.swap.max" => {}
            Err(errno) => warn(format_args!("{name} cannot be set: {errno}")),
            Ok(()) => {}
        }
    }
    Ok(commands)
}

fn make(path: &Path) -> rustix::io::Result<()> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}

fn set(directory: &Path, name: &str, value: &[u8]) -> rustix::io::Result<()> {
    let directory =
        rustix::fs::open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    cgroup_write(std::os::fd::AsFd::as_fd(&directory), name, value)
}

fn memory_total_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let unit = u64::from(info.mem_unit.max(1));
    info.totalram.saturating_mul(unit)
}

/// A small guest keeps at least half of its memory for commands.
fn memory_max(total_bytes: u64) -> u64 {
    total_bytes.saturating_sub(MEMORY_RESERVE_BYTES).max(total_bytes / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands never get all of the memory, and never less than half.
    #[test]
    fn commands_leave_room() {
        let mib = 1024 * 1024;
        assert_eq!(memory_max(1024 * mib), 976 * mib);
        assert_eq!(memory_max(64 * mib), 32 * mib);
        assert_eq!(memory_max(0), 0);
    }
}
