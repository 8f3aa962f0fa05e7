"""parallel-attempts: one computer is prepared, each of its copies tries another way, the best one is applied."""

import asyncio

from conversation import checkout, git, run, talk

FILES = {
    "words": "pear\napple\npear\nfig\napple\n",
    "unique.sh": "cat words\n",
    "test.sh": 'test "$(sh unique.sh | tr "\\n" " ")" = "apple fig pear " && echo ok\n',
}

# What each copy tries: one is wrong, one is long, one is right and short.
WAYS = [
    "uniq words\n",
    "sort words > /tmp/sorted\n" + "# step by step\n" * 20 + "uniq /tmp/sorted\n",
    "sort -u words\n",
]


async def main():
    project = checkout("unique", FILES)
    async with talk(project) as conversation:
        recipe = await conversation.recipe("parallel-attempts", task="print each word once", attempts="3")
        origin = (await conversation.call("workspace_create", name="origin"))["workspace_id"]
        prepared = await conversation.sh(origin, "sh test.sh; echo prepared > /var/tmp/prepared")
        assert "ok" not in prepared["stdout"]
        forked = await conversation.call("workspace_fork", workspace_id=origin, count=3, name="way")
        copies = [fork["workspace_id"] for fork in forked["forks"]]
        assert len(set(copies)) == 3 and [fork["name"] for fork in forked["forks"]] == ["way-1", "way-2", "way-3"]

        async def attempt(copy, way):
            assert (await conversation.sh(copy, "cat /var/tmp/prepared"))["stdout"] == "prepared\n"
            await conversation.call("workspace_file_write", workspace_id=copy, path="unique.sh", text=way)
            ran = await conversation.sh(copy, "sh test.sh")
            diff = await conversation.call("workspace_diff", workspace_id=copy)
            return ran["exit_code"], diff["patch_bytes"], diff["patch"]

        tried = await asyncio.gather(*map(attempt, copies, WAYS))
        assert [exit_code for exit_code, _, _ in tried] == [1, 0, 0], tried
        assert len({patch for _, _, patch in tried}) == 3
        _, best = min((size, number) for number, (exit_code, size, _) in enumerate(tried) if exit_code == 0)
        assert best == 2

        # Neither the prepared computer nor the other copies have anything of it.
        assert (await conversation.call("workspace_diff", workspace_id=origin))["total"] == 0
        read = await conversation.call("workspace_file_read", workspace_id=copies[0], path="unique.sh")
        assert read["content"] == WAYS[0]
        applied = await conversation.call("workspace_apply", workspace_id=copies[best])
        assert applied["applied"] and applied["written"] == 1, applied
        for workspace in [origin, *copies]:
            await conversation.call("workspace_delete", workspace_id=workspace)
        conversation.followed(recipe)
    assert (project / "unique.sh").read_text() == WAYS[best]
    assert git(project, "diff", "--full-index") == tried[best][2]


run(main)
