//! A workspace as the block of lines that the transcript fixes.

use pyro::WorkspaceInfo;

use crate::untrusted::printable;

/// One line per fact; what is not known of a stopped workspace has none.
pub(super) fn block(info: &WorkspaceInfo) -> String {
    let mut text = String::new();
    let mut line =
        |name: &str, value: &str| text.push_str(&format!("{name}: {}\n", printable(value.as_bytes())));
    line("Workspace ID", &info.workspace_id);
    if let Some(name) = &info.name {
        line("Name", name);
    }
    if !info.labels.is_empty() {
        line("Labels", &labels(info));
    }
    line("Environment", &info.environment);
    line("State", info.state);
    line("Workspace", info.workspace_path);
    line("Workspace seed", &seed(info));
    if let Some(execution_mode) = info.execution_mode {
        line("Execution mode", execution_mode);
    }
    if let Some(accelerator) = info.accelerator {
        line("Accelerator", accelerator);
    }
    line("Resources", &format!("{} vCPU / {} MiB", info.vcpu_count, info.mem_mib));
    line("Command count", &info.command_count.to_string());
    text
}

/// What the block leaves to `status`.
pub(super) fn more(info: &WorkspaceInfo) -> String {
    let ttl = info.ttl_seconds.map_or_else(|| "none".to_owned(), |seconds| seconds.to_string());
    format!(
        "Reset count: {}\nNetwork policy: {}\nTTL seconds: {ttl}\nCreated: {}\nLast used: {}\n",
        info.reset_count, info.network_policy, info.created_at, info.last_used_at
    )
}

pub(super) fn labels(info: &WorkspaceInfo) -> String {
    info.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

fn seed(info: &WorkspaceInfo) -> String {
    match &info.workspace_seed.path {
        Some(path) => format!("{} from {}", info.workspace_seed.mode, path.display()),
        None => info.workspace_seed.mode.to_owned(),
    }
}
