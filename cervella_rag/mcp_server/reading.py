"""`read_lines`: what stands around a citation."""

from __future__ import annotations

from typing import Annotated

from mcp.server import MCPServer
from pydantic import Field

from cervella_rag.mcp_server.frame import MOST_TOKENS, cut, framed
from cervella_rag.mcp_server.parts import READS, ServerParts, told
from cervella_rag.memory.reading import MOST_LINES
from cervella_rag.messages import message

Path = Annotated[str, Field(min_length=1, max_length=1000)]
Name = Annotated[str | None, Field(max_length=200)]
Line = Annotated[int, Field(ge=1, le=10_000_000)]


def register(server: MCPServer[None], parts: ServerParts) -> None:
    """Give the server this tool."""
    language = parts.language

    def read_lines(
        path: Path, start_line: Line = 1, end_line: Line | None = None, root: Name = None
    ) -> str:
        lines = parts.lines.read(path, start_line, end_line, root)
        head = message(
            "mcp.range",
            language,
            path=lines.path,
            root=lines.root,
            start=lines.start_line,
            end=lines.end_line,
            total=lines.total,
        )
        numbered = "\n".join(
            f"{number}: {line}" for number, line in enumerate(lines.text, lines.start_line)
        )
        return framed(f"{head}\n\n{cut(numbered, MOST_TOKENS - 200)}", language)

    server.add_tool(
        told(read_lines, language),
        description=message("mcp.read_lines", language, most=MOST_LINES),
        annotations=READS,
        structured_output=False,
    )
