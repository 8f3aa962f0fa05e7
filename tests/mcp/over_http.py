"""Over HTTP: the client with the token sees the same tools as over a pipe, and works with them; others see nothing."""

import asyncio
import os

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from conversation import Conversation, causes, checkout, run, talk


def connect(token, mode):
    headers = {"Authorization": f"Bearer {token}"}
    http = httpx2.AsyncClient(headers=headers, timeout=240)
    return http, Client(streamable_http_client(os.environ["URL"], http_client=http), mode=mode)


async def work(mode):
    http, client = connect(os.environ["TOKEN"], mode)
    async with http, client:
        tools = (await client.list_tools()).tools
        conversation = Conversation(client)
        recipe = await conversation.recipe("repro-and-fix", problem="nothing")
        assert "workspace_create" in recipe
        made = await conversation.call("workspace_create", name=mode, empty=True)
        ran = await conversation.sh(mode, "uname -s; exit 3")
        assert (ran["exit_code"], ran["stdout"]) == (3, "Linux\n"), ran
        deleted = await conversation.call("workspace_delete", workspace_id=mode)
        assert deleted["deleted"] == [made["workspace_id"]], deleted
        return client.protocol_version, tools


async def main():
    project = checkout("project", {"file": "x\n"})
    # Both revisions, at once.
    worked = await asyncio.gather(work("legacy"), work("auto"))
    assert [version for version, _ in worked] == ["2025-11-25", "2026-07-28"]
    async with talk(project) as conversation:
        tools = (await conversation.client.list_tools()).tools
    assert [tools, tools] == [seen for _, seen in worked]

    http, client = connect("0123456789abcdef", "auto")
    try:
        async with http, client:
            raise LookupError("somebody without the token was let in")
    except BaseException as error:
        (cause,) = causes(error)
        assert isinstance(cause, MCPError), cause


run(main)
