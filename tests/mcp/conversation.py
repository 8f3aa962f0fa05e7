"""A conversation with `pyro mcp serve`, held by the official client instead of a model.

The environment names the program under test (`PYRO`) and where it keeps things. A script that ends without an
exception has seen what it expects.
"""

import asyncio
import os
import re
import subprocess
import sys
import traceback
from contextlib import asynccontextmanager
from pathlib import Path

from mcp import Client, StdioServerParameters

PYRO = os.environ["PYRO"]

# Guards hangs on a machine that is swamped, measures nothing.
HANG_SECONDS_MAX = 240


def run(main):
    """Runs a script. What went wrong is told without the groups that it went through."""
    try:
        asyncio.run(main())
    except BaseException as error:
        for cause in causes(error):
            traceback.print_exception(cause, chain=False)
        sys.exit(1)


def causes(error):
    """The exceptions that a group is about."""
    if isinstance(error, BaseExceptionGroup):
        return [cause for inner in error.exceptions for cause in causes(inner)]
    return [error]


class Conversation:
    """Calls of tools, and which there have been."""

    def __init__(self, client):
        self.client = client
        self.called = set()

    async def recipe(self, name, **arguments):
        """The text of a prompt, as the server gives it."""
        listed = {prompt.name: prompt for prompt in (await self.client.list_prompts()).prompts}
        needed = {argument.name for argument in listed[name].arguments or [] if argument.required}
        assert needed <= arguments.keys(), (needed, arguments)
        prompt = await self.client.get_prompt(name, arguments)
        (message,) = prompt.messages
        assert message.role == "user"
        for value in arguments.values():
            assert value in message.content.text, (value, message.content.text)
        return message.content.text

    async def answer(self, tool, **arguments):
        """A call, whichever way it ends. The client itself holds the value to the tool's output schema."""
        self.called.add(tool)
        return await self.client.call_tool(tool, arguments, read_timeout_seconds=HANG_SECONDS_MAX)

    async def call(self, tool, **arguments):
        """A call that must succeed; its value."""
        answer = await self.answer(tool, **arguments)
        assert not answer.is_error, text(answer)
        assert text(answer), f"{tool} says nothing to a model"
        return answer.structured_content

    async def refusal(self, tool, **arguments):
        """A call that must fail; its code and what a model reads."""
        answer = await self.answer(tool, **arguments)
        assert answer.is_error, text(answer)
        return answer.structured_content["error"]["code"], text(answer)

    async def sh(self, workspace, command, **options):
        """A command in a workspace, whatever its exit code."""
        return await self.call("workspace_exec", workspace_id=workspace, command=command, **options)

    def followed(self, recipe):
        """Asserts that every tool that a recipe names has been called."""
        named = set(re.findall(r"\b(?:workspace|vm)_[a-z_]+\b", recipe)) - {"workspace_id"}
        assert named and named <= self.called, named - self.called


def text(answer):
    """What a model reads of an answer."""
    return "".join(part.text for part in answer.content)


def steps(recipe):
    """The numbered steps of a recipe."""
    return re.findall(r"^\d+\. ", recipe, flags=re.MULTILINE)


@asynccontextmanager
async def talk(project, *options, mode="auto"):
    """Starts a server for a project, as a host does."""
    server = StdioServerParameters(
        command=PYRO,
        args=["mcp", "serve", "--project-path", str(project), *options],
        env=dict(os.environ),
        cwd=str(project),
    )
    async with Client(server, mode=mode) as client:
        yield Conversation(client)


def write(path, content, mode=0o644):
    """A file, with the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)


def git(directory, *words):
    """What git prints."""
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    command = ["git", "-C", str(directory), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def checkout(name, files):
    """A new git checkout with these files, beneath the directory that the script was started in."""
    project = Path.cwd() / name
    for path, content in files.items():
        write(project / path, content)
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-qm", "first")
    return project


def pyro(*words):
    """What the command line prints: another face of the same workspaces."""
    return subprocess.run([PYRO, *words], check=True, capture_output=True, text=True).stdout


def tree(directory):
    """Every file and link beneath a directory, to compare two moments."""
    found = {}
    for path in sorted(Path(directory).rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_file():
            found[name] = (oct(path.stat().st_mode), path.read_bytes())
    return found
