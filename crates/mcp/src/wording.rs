//! Failures in the words of tools: what the command line advises to type, a model calls.

use pyro::Failure;

/// What there is to type, and what to call instead. Longer ones first where one begins like another.
const WORDS: &[(&str, &str)] = &[
    ("pyro workspace sync push", "workspace_sync_push"),
    ("pyro workspace create", "workspace_create"),
    ("pyro workspace list", "workspace_list"),
    ("pyro workspace status", "workspace_status"),
    ("pyro workspace update", "workspace_update"),
    ("pyro workspace logs", "workspace_logs"),
    ("pyro workspace summary", "workspace_summary"),
    ("pyro workspace exec", "workspace_exec"),
    ("pyro workspace diff", "workspace_diff"),
    ("pyro workspace apply", "workspace_apply"),
    ("pyro workspace export", "workspace_export"),
    ("pyro workspace file list", "workspace_file_list"),
    ("pyro workspace file read", "workspace_file_read"),
    ("pyro workspace file write", "workspace_file_write"),
    ("pyro workspace patch apply", "workspace_patch_apply"),
    ("pyro workspace start", "workspace_start"),
    ("pyro workspace resume", "workspace_start"),
    ("pyro workspace stop", "workspace_stop"),
    ("pyro workspace snapshot create", "snapshot_create"),
    ("pyro workspace snapshot list", "snapshot_list"),
    ("pyro workspace snapshot delete", "snapshot_delete"),
    ("pyro workspace reset", "workspace_reset"),
    ("pyro workspace fork", "workspace_fork"),
    ("pyro workspace delete", "workspace_delete"),
    ("pyro workspace shell open", "shell_open"),
    ("pyro workspace shell read", "shell_read"),
    ("pyro workspace shell write", "shell_write"),
    ("pyro workspace shell signal", "shell_signal"),
    ("pyro workspace shell close", "shell_close"),
    ("pyro workspace service start", "service_start"),
    ("pyro workspace service list", "service_list"),
    ("pyro workspace service status", "service_status"),
    ("pyro workspace service logs", "service_logs"),
    ("pyro workspace service stop", "service_stop"),
    ("pyro env list", "vm_list_environments"),
];

/// The same failure with tools in the place of commands, and parameters in the place of flags. Its cause stays as it is:
/// a guest may have said it.
pub(crate) fn in_tool_words(mut failure: Failure) -> Failure {
    failure.message = reworded(&failure.message);
    failure.remediation = failure.remediation.as_deref().map(reworded);
    failure
}

fn reworded(text: &str) -> String {
    let mut text = text.to_owned();
    for (typed, called) in WORDS {
        if text.contains(typed) {
            text = text.replace(typed, called);
        }
    }
    without_flags(&text)
}

/// `--ready-timeout-seconds` is `ready_timeout_seconds` here; what only the server's own command line has stays.
fn without_flags(text: &str) -> String {
    const OF_THE_SERVER: [&str; 2] = ["allow-path", "project-path"];
    let mut rest = text;
    let mut out = String::with_capacity(text.len());
    while let Some(at) = rest.find("--") {
        let (before, flag) = rest.split_at(at);
        let name = flag.trim_start_matches("--");
        let length = name.find(|c: char| !(c.is_ascii_lowercase() || c == '-')).unwrap_or(name.len());
        let (name, after) = name.split_at(length);
        out.push_str(before);
        let starts_a_word =
            before.chars().next_back().is_none_or(|c| c.is_whitespace() || "`('\"".contains(c));
        match starts_a_word && !name.is_empty() && !OF_THE_SERVER.contains(&name) {
            true => out.push_str(&parameter(name)),
            false => {
                out.push_str("--");
                out.push_str(name);
            }
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What a flag is called as a parameter.
fn parameter(flag: &str) -> String {
    match flag {
        "output" => "output_path".to_owned(),
        flag => flag.replace('-', "_"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::catalog;

    /// Advice names tools and parameters, and every tool that it names is there.
    #[test]
    fn advice_can_be_followed() {
        assert_eq!(
            reworded("see `pyro workspace logs` with --sequence, or give --ready-timeout-seconds 5"),
            "see `workspace_logs` with sequence, or give ready_timeout_seconds 5"
        );
        assert_eq!(reworded("start it with --allow-path, a -- b"), "start it with --allow-path, a -- b");
        let names: Vec<&str> = catalog().iter().map(|tool| tool.name).collect();
        for (_, called) in WORDS {
            assert!(names.contains(called), "{called}");
        }
    }
}
