"""review: somebody else's work in a workspace is looked at, tried in a copy, and left as it is."""

from conversation import checkout, pyro, run, steps, talk

FILES = {
    "double.sh": "echo $(($1 + $1))\n",
    "test.sh": 'test "$(sh double.sh 4)" = 8 && echo ok\n',
    "notes": "".join(f"note {number}\n" for number in range(300)),
}


def somebody_works(project):
    """A workspace with changes and commands, made on the command line."""
    made = pyro("workspace", "create", "debian:12", "--id-only", "--name", "their-work", "--seed-path", str(project))
    script = "sh test.sh && echo 'echo $(($1 * 3))' > double.sh && sed -i s/note/NOTE/ notes && echo new > new"
    pyro("workspace", "exec", "their-work", "--", "sh", "-c", script)
    return made.strip()


async def main():
    project = checkout("double", FILES)
    theirs = somebody_works(project)
    async with talk(project, mode="legacy") as conversation:
        recipe = await conversation.recipe("review", workspace_id="their-work")
        assert len(steps(recipe)) == 5, recipe
        stat = await conversation.call("workspace_diff", workspace_id="their-work", stat=True)
        assert (stat["added"], stat["modified"]) == (1, 2) and "patch" not in stat, stat
        whole = (await conversation.call("workspace_diff", workspace_id="their-work"))["patch"]
        parts = ""
        for path in ["double.sh", "new", "notes"]:
            parts += (await conversation.call("workspace_diff", workspace_id="their-work", paths=[path]))["patch"]
        assert sorted(parts.splitlines()) == sorted(whole.splitlines()), "file by file it is the same"
        assert parts.count("diff --git ") == 3

        logs = await conversation.call("workspace_logs", workspace_id="their-work")
        (entry,) = logs["entries"]
        assert entry["exit_code"] == 0 and entry["stdout"] == "ok\n", "their tests ran before the last change"

        (fork,) = (await conversation.call("workspace_fork", workspace_id="their-work"))["forks"]
        copy = fork["workspace_id"]
        assert (await conversation.sh(copy, "sh test.sh"))["exit_code"] == 1, "it does not hold"
        assert (await conversation.sh(copy, "rm -rf /workspace/* /usr/bin/git; ls"))["stdout"] == ""
        await conversation.call("workspace_delete", workspace_id=copy)

        again = (await conversation.call("workspace_diff", workspace_id=theirs))["patch"]
        assert again == whole, "the original stays as it is"
        assert (await conversation.call("workspace_logs", workspace_id=theirs))["entries"] == logs["entries"]
        resource = await conversation.client.read_resource(f"pyro://workspaces/{theirs}/diff")
        assert resource.contents[0].text == whole
        listed = await conversation.call("workspace_list")
        assert [one["workspace_id"] for one in listed["workspaces"]] == [theirs]
        conversation.followed(recipe)
    pyro("workspace", "delete", "--yes", theirs)


run(main)
