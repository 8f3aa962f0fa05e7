"""Every tool of the whole profile is called with a real result: the client holds each to the tool's output schema."""

from conversation import checkout, run, talk

PATCH = """diff --git a/patched b/patched
new file mode 100644
--- /dev/null
+++ b/patched
@@ -0,0 +1 @@
+by a patch
"""


async def vms(talker):
    call = talker.call
    listed = await call("vm_list_environments")
    assert any(one["name"] == "debian:12" and one["installed"] for one in listed["environments"]), listed
    ran = await call("vm_run", command="echo out; echo err >&2; exit 7")
    assert (ran["exit_code"], ran["stdout"], ran["stderr"]) == (7, "out\n", "err\n"), ran
    vm = (await call("vm_create", ttl_seconds=600))["vm_id"]
    assert (await call("vm_exec", vm_id=vm, command="echo kept > /root/kept; cat /root/kept"))["stdout"] == "kept\n"
    assert (await call("vm_status", vm_id=vm))["state"] == "started"
    network = await call("vm_network_info", vm_id=vm)
    assert (network["network_enabled"], network["network_policy"]) == (False, "off"), network
    assert (await call("vm_stop", vm_id=vm))["state"] == "stopped"
    assert (await call("vm_start", vm_id=vm))["state"] == "started"
    assert (await call("vm_exec", vm_id=vm, command="cat /root/kept"))["stdout"] == "kept\n"
    assert (await call("vm_reap_expired"))["count"] == 0, "its time is not over"
    assert (await call("vm_delete", vm_id=vm))["deleted"] == [vm]


async def files(talker, project, computer):
    call = talker.call
    assert (await call("workspace_status", workspace_id=computer))["state"] == "started"
    written = await call("workspace_file_write", workspace_id=computer, path="dir/tool", text="echo hi\n", mode="755")
    assert written["bytes_written"] == 8, written
    assert (await call("workspace_file_read", workspace_id=computer, path="dir/tool"))["content"] == "echo hi\n"
    listed = await call("workspace_file_list", workspace_id=computer, path="dir")
    assert listed["count"] == 1, listed
    assert (await call("workspace_patch_apply", workspace_id=computer, patch=PATCH))["added"] == 1
    pushed = await call("workspace_sync_push", workspace_id=computer, source_path="more", dest="pushed")
    assert pushed["entry_count"] >= 1, pushed
    ran = await talker.sh(computer, "dir/tool; cat patched pushed/b")
    assert ran["stdout"] == "hi\nby a patch\nb\n", ran
    left = await talker.sh(computer, "sleep 1000", detach=True)
    assert left["detached"] and left["sequence"] == ran["sequence"] + 1, left
    logs = await call("workspace_logs", workspace_id=computer)
    assert [entry["state"] for entry in logs["entries"]] == ["exited", "running"], logs
    paged = await call("workspace_logs", workspace_id=computer, sequence=ran["sequence"], stream="stdout", cursor=3)
    assert paged["page"]["text"] == "by a patch\nb\n", paged
    exported = await call("workspace_export", workspace_id=computer, path="dir", output_path="exported")
    assert exported["entry_count"] >= 1 and (project / "exported/tool").read_text() == "echo hi\n", exported
    diff = await call("workspace_diff", workspace_id=computer)
    assert diff["added"] == 3, diff
    stat = await call("workspace_diff", workspace_id=computer, stat=True)
    assert stat["total"] == diff["total"], stat
    summary = await call("workspace_summary", workspace_id=computer)
    changed = {one["path"] for one in summary["changes"]["paths"]}
    assert {"dir/tool", "patched", "pushed/b"} <= changed and summary["commands"]["total"] == 2, summary
    applied = await call("workspace_apply", workspace_id=computer, paths=["patched"])
    assert applied["applied"] and (project / "patched").read_text() == "by a patch\n", applied
    dry = await call("workspace_apply", workspace_id=computer, dry_run=True)
    assert not dry["applied"] and dry["executables"], dry


async def shells(talker, computer):
    call = talker.call
    shell = (await call("shell_open", workspace_id=computer))["shell_id"]
    names = {"workspace_id": computer, "shell_id": shell}
    await call("shell_write", **names, input="echo $((40 + 2))")
    read = await call("shell_read", **names, until="(?m)^42", wait_ms=60_000)
    assert read["matched"], read
    screen = await call("shell_read", **names, screen=True)
    assert "42" in screen["output"], screen
    await call("shell_write", **names, input="sh -c 'echo be''gun; sleep 1000'")
    read = await call("shell_read", **names, cursor=read["next_cursor"], until="(?m)^begun", wait_ms=60_000)
    assert read["matched"], read
    await call("shell_signal", **names)
    await call("shell_write", **names, input="echo behind")
    read = await call("shell_read", **names, cursor=read["next_cursor"], until="(?m)^behind", wait_ms=60_000)
    assert read["matched"], read
    closed = await call("shell_close", **names)
    assert closed["state"] != "running", closed


async def services(talker, computer):
    call = talker.call
    names = {"workspace_id": computer, "service_name": "ticker"}
    line = "echo ready; touch /tmp/ready; sleep 1000"
    started = await call("service_start", **names, command=line, ready_file="/tmp/ready")
    assert started["readiness"] == "file", started
    assert (await call("service_status", **names))["state"] == "running"
    listed = await call("service_list", workspace_id=computer)
    assert (listed["count"], listed["running_count"]) == (1, 1), listed
    logs = await call("service_logs", **names)
    assert [entry["text"] for entry in logs["entries"]] == ["ready"], logs
    assert (await call("service_stop", **names))["state"] != "running"


async def moments(talker, computer):
    call = talker.call
    taken = await call("snapshot_create", workspace_id=computer, snapshot_name="here", memory=True)
    assert taken["snapshot_name"] == "here", taken
    listed = await call("snapshot_list", workspace_id=computer)
    assert [one["snapshot_name"] for one in listed["snapshots"]] == ["baseline", "here"], listed
    forked = await call("workspace_fork", workspace_id=computer, snapshot="here", name="copy", labels=["kind=copy"])
    (copy,) = [fork["workspace_id"] for fork in forked["forks"]]
    found = await call("workspace_list", labels=["kind=copy"])
    assert [one["workspace_id"] for one in found["workspaces"]] == [copy], found
    updated = await call("workspace_update", workspace_id=copy, name="other", ttl_seconds=1200)
    assert (updated["name"], updated["ttl_seconds"]) == ("other", 1200), updated
    reset = await call("workspace_reset", workspace_id=computer, snapshot="here", disk_only=True)
    assert reset["reset"]["snapshot_name"] == "here", reset
    assert (await talker.sh(computer, "cat patched"))["stdout"] == "by a patch\n"
    assert (await call("workspace_stop", workspace_id=computer))["state"] == "stopped"
    assert (await call("workspace_start", workspace_id=computer))["state"] == "started"
    assert (await call("snapshot_delete", workspace_id=computer, snapshot_name="here"))["snapshot_name"] == "here"
    for workspace in [copy, computer]:
        assert (await call("workspace_delete", workspace_id=workspace))["deleted"] == [workspace]


async def failures(talker):
    """A failure is a value that the schema has, too."""
    for tool, arguments in [
        ("workspace_status", {"workspace_id": "nobody"}),
        ("workspace_exec", {"workspace_id": "nobody", "command": "true"}),
        ("vm_status", {"vm_id": "nobody"}),
        ("vm_run", {"command": "true", "environment": "plan9"}),
    ]:
        code, text = await talker.refusal(tool, **arguments)
        assert code and text.startswith("error: "), (code, text)


async def main():
    project = checkout("project", {"file": "x\n", "more/b": "b\n"})
    async with talk(project, "--profile", "workspace-full") as talker:
        tools = {tool.name: tool for tool in (await talker.client.list_tools()).tools}
        assert all(tool.output_schema["additionalProperties"] is False for tool in tools.values())
        await vms(talker)
        computer = (await talker.call("workspace_create", name="all", labels=["kind=all"]))["workspace_id"]
        await files(talker, project, computer)
        await shells(talker, computer)
        await services(talker, computer)
        await moments(talker, computer)
        await failures(talker)
        assert talker.called == set(tools) and len(tools) == 43, set(tools) ^ talker.called


run(main)
