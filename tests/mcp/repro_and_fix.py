"""repro-and-fix: a failing test, a fix, the same test on a reset computer with nothing but the patch."""

import subprocess

from conversation import checkout, git, run, steps, talk, tree

FILES = {
    "README.md": "Sums numbers.\n",
    "sum.sh": '# The sum of all arguments.\ntotal=0\nfor number in "$@"; do\n    total=$((total - number))\ndone\necho $total\n',
    "test.sh": 'set -e\ntest "$(sh sum.sh)" = 0\ntest "$(sh sum.sh 1 2 3)" = 6\necho all is well\n',
}


def test_on_this_machine(project):
    return subprocess.run(["sh", "test.sh"], cwd=project, capture_output=True).returncode


async def main():
    project = checkout("sums", FILES)
    before = tree(project)
    assert test_on_this_machine(project) == 1
    async with talk(project) as conversation:
        recipe = await conversation.recipe("repro-and-fix", problem="`sum.sh 1 2 3` is not 6")
        assert len(steps(recipe)) == 6, recipe
        computer = (await conversation.call("workspace_create"))["workspace_id"]
        command = "sh sum.sh 1 2 3"
        shown = await conversation.sh(computer, command)
        assert (shown["exit_code"], shown["stdout"]) == (0, "-6\n")
        assert (await conversation.sh(computer, "sh test.sh"))["exit_code"] == 1

        fixed = FILES["sum.sh"].replace("total - number", "total + number")
        await conversation.call("workspace_file_write", workspace_id=computer, path="sum.sh", text=fixed)
        assert (await conversation.sh(computer, command))["stdout"] == "6\n"
        assert (await conversation.sh(computer, "sh test.sh; echo left > /tmp/left"))["stdout"] == "all is well\n"

        patch = (await conversation.call("workspace_diff", workspace_id=computer))["patch"]
        await conversation.call("workspace_reset", workspace_id=computer)
        again = await conversation.sh(computer, "sh test.sh; cat /tmp/left")
        assert "all is well" not in again["stdout"] and "No such file" in again["stderr"], again
        patched = await conversation.call("workspace_patch_apply", workspace_id=computer, patch=patch)
        assert patched["modified"] == 1, patched
        assert (await conversation.sh(computer, command))["stdout"] == "6\n"
        assert (await conversation.sh(computer, "sh test.sh"))["stdout"] == "all is well\n"

        # Until here nothing has touched the project.
        assert tree(project) == before
        applied = await conversation.call("workspace_apply", workspace_id=computer)
        assert applied["applied"] and applied["written"] == 1, applied
        await conversation.call("workspace_delete", workspace_id=computer)
        conversation.followed(recipe)
    assert test_on_this_machine(project) == 0
    assert git(project, "diff", "--full-index") == patch
    changed = {path for path, file in tree(project).items() if before.get(path) != file and not path.startswith(".git/")}
    assert changed == {"sum.sh"}, changed


run(main)
