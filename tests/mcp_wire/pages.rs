//! Answers that are too long for one: parts of them put together are the whole.

use serde_json::{Value, json};

use crate::support::tree::{Tree, assert_same, copy, git_apply, unpack, write};
use crate::support::{Machine, Mcp};

/// Reads all pages; `ask` gives the page from a cursor on, and the cursor behind it.
fn pages(mut ask: impl FnMut(u64) -> (String, Option<u64>)) -> (String, usize) {
    let (mut whole, mut cursor, mut count) = (String::new(), 0, 0);
    loop {
        let (text, next) = ask(cursor);
        whole.push_str(&text);
        count += 1;
        match next {
            Some(next) => {
                assert!(next > cursor, "a page is something");
                cursor = next;
            }
            None => return (whole, count),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn pages_of_outputs_and_files_are_the_whole() {
    // Promise: a long output is shown with both ends and a way to the rest; its pages, and those of a file, are the exact
    // bytes, letters of several bytes included.
    let machine = Machine::new();
    let mut mcp = machine.mcp_client(&[]);
    let made = mcp.tool("workspace_create", json!({ "empty": true }));
    let workspace = machine.adopt(made["workspace_id"].as_str().unwrap());
    let id = workspace.id.clone();
    let script = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo \"line $i äöü €\"; done | tee all";
    let ran = mcp.tool("workspace_exec", json!({ "workspace_id": id, "command": script, "max_bytes": 1000 }));
    let expected: String = (1..=3000).map(|line| format!("line {line} äöü €\n")).collect();
    let shown = text(&ran["stdout"]);
    assert!(
        shown.starts_with("line 1 ") && shown.ends_with("line 3000 äöü €\n") && shown.len() < 1200,
        "{shown}"
    );
    let cut = ran["stdout_bytes_cut"].as_u64().unwrap();
    assert!(cut > 50_000 && cut < expected.len() as u64, "{cut}");

    let sequence = ran["sequence"].clone();
    let (whole, count) = pages(|cursor| {
        let arguments = json!({ "workspace_id": id, "sequence": sequence, "stream": "stdout", "cursor": cursor, "max_bytes": 9_999 });
        let page = mcp.tool("workspace_logs", arguments)["page"].clone();
        let (next, total) = (page["next_cursor"].as_u64().unwrap(), page["total_bytes"].as_u64().unwrap());
        (text(&page["text"]), (next < total).then_some(next))
    });
    assert!(whole == expected && count > 5, "{count} pages of {} bytes", whole.len());

    let (whole, count) = pages(|cursor| {
        let arguments = json!({ "workspace_id": id, "path": "all", "cursor": cursor, "max_bytes": 10_001 });
        let part = mcp.tool("workspace_file_read", arguments);
        (text(&part["content"]), part["next_cursor"].as_u64())
    });
    assert!(whole == expected && count > 5, "{count} pages of {} bytes", whole.len());
    mcp.finish();
}

#[test]
fn pages_of_a_diff_are_a_patch() {
    // Promise: the pages of a diff are the command line's patch, byte for byte, and git takes it to the guest's tree.
    let machine = Machine::new();
    let project = machine.root().join("project");
    let lines: String = (0..2000).map(|line| format!("line {line}\n")).collect();
    write(&project, "long", &lines);
    write(&project, "gone", "gone\n");
    write(&project, "dir/tool", "#!/bin/sh\n");
    let seed = machine.root().join("seed");
    copy(&project, &seed);
    let mut mcp = machine.mcp_for(&project);
    let made = mcp.tool("workspace_create", json!({}));
    let workspace = machine.adopt(made["workspace_id"].as_str().unwrap());
    workspace.shell("sed -i 's/7$/seven/' long; rm gone; chmod +x dir/tool; head -c 3000 /dev/urandom > noise; ln -s long link; printf 'no newline' > end; mkdir new; printf 'ä\\n' > 'new/ö ü'");
    let all = |mcp: &mut Mcp, bytes: u64| {
        pages(|cursor| {
            let arguments = json!({ "workspace_id": workspace.id, "cursor": cursor, "max_bytes": bytes });
            let part = mcp.tool("workspace_diff", arguments);
            assert_eq!(part["patch_is_exact"], true);
            (text(&part["patch"]), part["next_cursor"].as_u64())
        })
    };
    let (patch, count) = all(&mut mcp, 2_000);
    assert!(count > 10, "{count} pages");
    assert_eq!(patch.as_bytes(), workspace.patch());
    assert_eq!(all(&mut mcp, 1 << 20), (patch.clone(), 1));
    git_apply(&seed, patch.as_bytes());
    let guest = machine.root().join("guest");
    unpack(&workspace.tar(), &guest);
    assert_same(&Tree::as_git_sees(&guest), &Tree::as_git_sees(&seed), "git gets the guest's tree");
    mcp.finish();
}
