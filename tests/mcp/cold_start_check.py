"""cold-start-check: a README that leaves two things out is followed to the letter, and mended."""

import re

from conversation import checkout, git, run, steps, talk

README = """# greet

Build it and run its tests:

    sh build.sh
    curl -sS --max-time 5 http://greetings.example.com/words
    sh test.sh
"""

FILES = {
    "README.md": README,
    "build.sh": "sed s/NAME/$WHO/ greeting.in > out/greeting && grep -q $WHO out/greeting\n",
    "test.sh": 'grep -q "^Hello, world" out/greeting && echo ok\n',
    "greeting.in": "Hello, NAME\n",
    ".gitignore": "out/\n",
}


async def main():
    project = checkout("greet", FILES)
    # What is only on this machine hides what the instructions leave out.
    (project / "out").mkdir()
    (project / "out/greeting").write_text("Hello, world\n")
    async with talk(project) as conversation:
        recipe = await conversation.recipe("cold-start-check", goal="its tests pass")
        assert len(steps(recipe)) == 5, recipe
        computer = (await conversation.call("workspace_create"))["workspace_id"]

        listed = await conversation.call("workspace_file_list", workspace_id=computer, recursive=True)
        names = {entry["path"].removeprefix("/workspace/") for entry in listed["entries"]}
        assert {"README.md", "build.sh", "test.sh"} <= names and "out/greeting" not in names, names
        read = await conversation.call("workspace_file_read", workspace_id=computer, path="README.md")
        assert read["content"] == README
        lines = re.findall(r"^ {4}(.+)$", read["content"], flags=re.MULTILINE)

        # To the letter: nothing of it works on a clean machine.
        findings = {}
        for line in lines:
            ran = await conversation.sh(computer, line)
            if ran["exit_code"] != 0:
                findings[line] = ran["stderr"]
        assert list(findings) == lines, findings
        assert "out/greeting" in findings["sh build.sh"]
        assert "resolve" in findings[lines[1]], "there is no network"

        # A way around, and then the goal is reached.
        assert (await conversation.sh(computer, "mkdir -p out && WHO=world sh build.sh"))["exit_code"] == 0
        assert (await conversation.sh(computer, "sh test.sh"))["stdout"] == "ok\n"

        mended = README.replace("sh build.sh", "mkdir -p out && WHO=world sh build.sh")
        await conversation.call("workspace_file_write", workspace_id=computer, path="README.md", text=mended)
        diff = await conversation.call("workspace_diff", workspace_id=computer, paths=["README.md"])
        assert diff["modified"] == 1 and "+    mkdir -p out && WHO=world sh build.sh\n" in diff["patch"], diff
        await conversation.call("workspace_delete", workspace_id=computer)
        conversation.followed(recipe)
    assert (project / "README.md").read_text() == README
    assert git(project, "status", "--porcelain") == ""


run(main)
