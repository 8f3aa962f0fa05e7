//! What to do about troubles that are told in several ways.

/// A snapshot of this name is there.
pub(crate) const SNAPSHOT_TAKEN: &str = "choose another name, or delete that snapshot first";

/// A snapshot of this name is not there.
pub(crate) const SNAPSHOT_UNKNOWN: &str = "see `pyro workspace snapshot list` for those there are";

/// A layer of a disk cannot be used.
pub(crate) const LAYER_DAMAGED: &str =
    "bring the file back from a backup, or reset the workspace to a snapshot that does not need it";

/// A disk can have no further layer.
pub(crate) const LAYERS_TOO_MANY: &str = "delete snapshots and copies that are not needed, run `pyro workspace gc`, then stop and start the workspace";

/// A memory that was kept cannot be used.
pub(crate) const MEMORY_UNUSABLE: &str =
    "use the disk without it: stop a paused workspace, or give --disk-only to `reset` and `fork`";

/// Somebody else has the workspace.
pub(crate) const HELD: &str = "run the command again in a moment; if it stays so, its VM runs under another PYRO_RUNTIME_DIR or XDG_RUNTIME_DIR";

/// There is no such shell.
pub(crate) const SHELL_UNKNOWN: &str = "see `pyro workspace shell list` for those there are";

/// A shell does not run any more.
pub(crate) const SHELL_ENDED: &str = "read what it printed with `pyro workspace shell read`, and open another one with `pyro workspace shell open`";

/// There is no such service.
pub(crate) const SERVICE_UNKNOWN: &str = "see `pyro workspace service list` for those there are";

/// A service of this name runs.
pub(crate) const SERVICE_EXISTS: &str =
    "choose another name, or stop that one first with `pyro workspace service stop`";

/// A service does not run.
pub(crate) const SERVICE_STOPPED: &str = "start it with `pyro workspace service start` or `restart`";

/// A service was not ready in time.
pub(crate) const SERVICE_UNREADY: &str = "read what it wrote with `pyro workspace service logs`, see that it gives the sign that is waited for, and give a slow one longer with --ready-timeout-seconds";

/// A service ended before it was ready.
pub(crate) const SERVICE_ENDED: &str =
    "read what it wrote with `pyro workspace service logs`; a service has to stay in the foreground";

/// Something else answers where a service is to be found.
pub(crate) const SERVICE_ADDRESS_TAKEN: &str = "stop what answers there (`pyro workspace service list` shows the services), or give this one another port";
