"""News of long calls, and calls that are given up: by a scope that is cancelled, and by a client's own patience."""

from functools import partial

import anyio
from mcp import MCPError

from conversation import HANG_SECONDS_MAX, checkout, run, talk


async def until(is_so):
    """Waits for something that must come."""
    with anyio.fail_after(HANG_SECONDS_MAX):
        while not is_so():
            await anyio.sleep(0.05)


async def until_sleepers(conversation, computer, seconds, there):
    """Waits until something in the guest sleeps for so long, or nothing does any more."""
    with anyio.fail_after(HANG_SECONDS_MAX):
        look = f"pgrep -x -f 'sleep {seconds}'"
        while ((await conversation.sh(computer, look))["exit_code"] == 0) != there:
            await anyio.sleep(0.05)


async def work(project, mode):
    async with talk(project, mode=mode) as conversation:
        news = []

        async def told(progress, total, message):
            news.append((progress, message or ""))

        async def call(tool, **arguments):
            news.clear()
            answer = await conversation.client.call_tool(tool, arguments, HANG_SECONDS_MAX, told)
            assert not answer.is_error, answer
            numbers = [number for number, _ in news]
            assert numbers == sorted(set(numbers)), "what is told goes onward"
            return answer.structured_content

        began = anyio.current_time()
        computer = (await call("workspace_create"))["workspace_id"]
        # What is done in a moment has nothing to tell.
        assert news or anyio.current_time() - began < 1, "nothing was told of a creation"

        # Each step waits for somebody who has heard of it.
        steps = "for step in 1 2 3; do echo step $step; until [ -e heard$step ]; do sleep 0.1; done; done"
        async with anyio.create_task_group() as group:
            group.start_soon(partial(call, "workspace_exec", workspace_id=computer, command=steps, timeout_seconds=200))
            for step in "123":
                await until(lambda: any(f"step {step}" in message for _, message in news))
                await conversation.sh(computer, f"touch heard{step}")

        # A scope that is cancelled takes the command along.
        exec_forever = {"workspace_id": computer, "command": "sleep 4711", "timeout_seconds": 1000}
        async with anyio.create_task_group() as group:
            group.start_soon(conversation.client.call_tool, "workspace_exec", exec_forever)
            await until_sleepers(conversation, computer, 4711, there=True)
            group.cancel_scope.cancel()
        await until_sleepers(conversation, computer, 4711, there=False)

        # So does a client that has no more patience.
        exec_forever["command"] = "sleep 4712"
        try:
            await conversation.client.call_tool("workspace_exec", exec_forever, read_timeout_seconds=2)
            raise AssertionError("it came back")
        except (MCPError, TimeoutError):
            pass
        await until_sleepers(conversation, computer, 4712, there=False)
        assert (await conversation.sh(computer, "echo alive"))["stdout"] == "alive\n"
        await conversation.call("workspace_delete", workspace_id=computer)


async def main():
    # A creation has phases and bytes to tell: with something to copy it takes a while.
    project = checkout("project", {"file": "x\n"})
    with (project / "large").open("wb") as large:
        large.write(bytes(range(256)) * 4 * 30_000)
    for mode in ["auto", "legacy"]:
        await work(project, mode)


run(main)
