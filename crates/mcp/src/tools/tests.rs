use std::collections::BTreeSet;

use serde_json::json;

use super::*;

fn text(profile: Profile) -> String {
    serde_json::to_string(&json!({ "tools": list(profile) })).unwrap()
}

/// A list of tools costs every conversation: each profile keeps to its budget, and the documentation says what it is.
#[test]
fn lists_keep_to_their_budgets() {
    let encoding = tiktoken_rs::cl100k_base().unwrap();
    let documented = include_str!("../../../../docs/mcp.md");
    for (profile, budget) in
        [(Profile::VmRun, 400), (Profile::WorkspaceCore, 4_000), (Profile::WorkspaceFull, 8_500)]
    {
        let tokens = encoding.encode_ordinary(&text(profile)).len();
        let row = format!("| `{}` | {} | {tokens} |", profile.as_str(), list(profile).len());
        assert!(tokens <= budget, "{row} exceeds {budget}");
        assert!(documented.contains(&row), "docs/mcp.md needs the row {row}");
    }
}

/// The names are the reference's, with what is ours beside them; profiles grow; lists are sorted.
#[test]
fn names_are_the_reference_s() {
    let names = |profile| list(profile).iter().map(|tool| tool.name.to_string()).collect::<Vec<_>>();
    let all: BTreeSet<String> = names(Profile::WorkspaceFull).into_iter().collect();
    let reference = "vm_run vm_list_environments vm_create vm_start vm_exec vm_stop vm_delete vm_status \
        vm_network_info vm_reap_expired workspace_create workspace_sync_push workspace_exec workspace_export \
        workspace_diff workspace_reset workspace_status workspace_logs workspace_delete snapshot_create \
        snapshot_list snapshot_delete shell_open shell_read shell_write shell_signal shell_close service_start \
        service_list service_status service_logs service_stop workspace_list workspace_update workspace_start \
        workspace_stop workspace_file_list workspace_file_read workspace_file_write workspace_patch_apply \
        workspace_summary workspace_fork workspace_apply";
    assert_eq!(all, reference.split_whitespace().map(str::to_owned).collect());
    assert_eq!(names(Profile::VmRun), ["vm_run"]);
    let core = names(Profile::WorkspaceCore);
    assert!(core.is_sorted() && core.contains(&"vm_run".to_owned()) && core.len() == 16, "{core:?}");
    assert_eq!(text(Profile::WorkspaceCore), text(Profile::WorkspaceCore));
}

/// Arguments that are not there, or not of their type, are refused by name.
#[test]
fn arguments_are_strict() {
    for tool in catalog() {
        assert_eq!(tool.input["additionalProperties"], json!(false), "{}", tool.name);
        assert_eq!(tool.output["type"], "object", "{}", tool.name);
        let mut arguments = JsonObject::new();
        arguments.insert("no such".to_owned(), json!(1));
        let refused = (tool.refuses)(arguments).expect("an unknown argument is refused");
        assert!(refused.to_string().contains("unknown field `no such`"), "{}: {refused}", tool.name);
        for only in tool.whole_profile_only {
            assert!(tool.input["properties"].get(only).is_some(), "{}: {only}", tool.name);
        }
    }
}
