"""Plays a plan of calls with the official Python client and prints what came of each, as one JSON array.

MCP_TOKEN=… python client.py http|sse legacy|modern URL < plan.json

The steps are those of ../node/client.mjs. Version 1 of the SDK has the session era only.
"""

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack

import mcp

transport, era, url = sys.argv[1:4]
headers = {"Authorization": "Bearer " + os.environ["MCP_TOKEN"]}


async def connect(stack):
    if hasattr(mcp, "Client"):
        import httpx2
        from mcp.client.sse import sse_client
        from mcp.client.streamable_http import streamable_http_client

        if transport == "sse":
            made = sse_client(url, headers=headers)
        else:
            http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=60))
            made = streamable_http_client(url, http_client=http)
        return await stack.enter_async_context(mcp.Client(made, mode="2026-07-28" if era == "modern" else "legacy"))
    from mcp.client.sse import sse_client
    from mcp.client.streamable_http import streamablehttp_client

    made = sse_client(url, headers=headers) if transport == "sse" else streamablehttp_client(url, headers=headers)
    read, write, *_ = await stack.enter_async_context(made)
    session = await stack.enter_async_context(mcp.ClientSession(read, write))
    await session.initialize()
    return session


def dump(value):
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


async def every(list_page, member):
    items, cursor = [], None
    while True:
        page = dump(await (list_page() if cursor is None else list_page(cursor=cursor)))
        items += page[member]
        cursor = page.get("nextCursor")
        if cursor is None:
            return {member: items}


async def play(client, step):
    match step.pop("op"):
        case "tools":
            return await every(client.list_tools, "tools")
        case "prompts":
            return await every(client.list_prompts, "prompts")
        case "resources":
            return await every(client.list_resources, "resources")
        case "templates":
            return await every(client.list_resource_templates, "resourceTemplates")
        case "call":
            return dump(await client.call_tool(step["name"], step.get("arguments")))
        case "read":
            return dump(await client.read_resource(step["uri"]))
        case "prompt":
            return dump(await client.get_prompt(step["name"], step.get("arguments")))
        case "complete":
            return dump(await client.complete(reference(step["ref"]), step["argument"]))
        case "ping":
            return dump(await client.send_ping())


def reference(ref):
    try:
        from mcp import types
    except ImportError:
        import mcp_types as types
    if ref["type"] == "ref/prompt":
        return types.PromptReference(type="ref/prompt", name=ref["name"])
    return types.ResourceTemplateReference(type="ref/resource", uri=ref["uri"])


async def main():
    results = []
    async with AsyncExitStack() as stack:
        client = await connect(stack)
        for step in json.load(sys.stdin):
            try:
                results.append(await asyncio.wait_for(play(client, step), 60))
            except Exception as e:
                results.append({"error": f"{type(e).__name__}: {e}"})
        print(json.dumps(results), flush=True)
    os._exit(0)


asyncio.run(main())
