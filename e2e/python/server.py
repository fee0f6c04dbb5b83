"""A server of the official Python SDK, version 1 (FastMCP) or 2 (MCPServer), with one of everything.

python server.py stdio|sse|http [PORT]
"""

import sys

try:
    from mcp.server.fastmcp import Context, FastMCP as Server
except ModuleNotFoundError:
    from mcp.server.mcpserver import Context, MCPServer as Server

try:
    from mcp.types import Completion
except ImportError:
    from mcp_types import Completion

server = Server("python", instructions="Be brief.")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
async def steps(ctx: Context, n: int) -> str:
    """Report progress n times."""
    for i in range(n):
        await ctx.report_progress(i + 1, n)
    return f"{n} steps"


@server.tool()
def fail() -> str:
    """Always fail."""
    raise ValueError("as asked")


@server.resource("py://note")
def note() -> str:
    """A fixed note."""
    return "a note"


@server.resource("py://note/{n}")
def numbered(n: str) -> str:
    """Any note."""
    return f"note {n}"


@server.prompt()
def greet(name: str) -> str:
    """Greet somebody."""
    return f"Say hello to {name}."


@server.completion()
async def complete(ref, argument, context):
    return Completion(values=[argument.value + "da"])


if __name__ == "__main__":
    kind = sys.argv[1]
    if kind == "stdio":
        server.run("stdio")
    else:
        port = int(sys.argv[2])
        transport = "sse" if kind == "sse" else "streamable-http"
        if hasattr(server, "settings") and hasattr(server.settings, "port"):  # version 1
            server.settings.host, server.settings.port = "127.0.0.1", port
            server.run(transport)
        else:
            server.run(transport, host="127.0.0.1", port=port)
