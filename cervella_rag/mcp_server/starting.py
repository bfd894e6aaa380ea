"""`brief`: where to start from."""

from __future__ import annotations

from typing import Annotated

from mcp.server import MCPServer
from pydantic import Field

from cervella_rag.chat.brief.writer import DEFAULT_TOKENS, FEWEST_TOKENS
from cervella_rag.mcp_server.frame import MOST_TOKENS, framed
from cervella_rag.mcp_server.parts import READS, ServerParts, told
from cervella_rag.messages import message

Project = Annotated[str | None, Field(max_length=200)]
Tokens = Annotated[int, Field(ge=FEWEST_TOKENS, le=MOST_TOKENS - 100)]


def register(server: MCPServer[None], parts: ServerParts) -> None:
    """Give the server this tool."""
    language = parts.language

    def brief(project: Project = None, max_tokens: Tokens = DEFAULT_TOKENS) -> str:
        written = parts.brief_writer.write(
            parts.retriever.reader(), project=project or None, max_tokens=max_tokens, language=language
        )
        return framed(written.text, language)

    server.add_tool(
        told(brief, language),
        description=message("mcp.brief", language),
        annotations=READS,
        structured_output=False,
    )
