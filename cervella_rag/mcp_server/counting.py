"""`count`, `files`, `exists`, `lines`, `links`, `list`: exact facts over the files as they are now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

from mcp.server import MCPServer
from pydantic import Field

from cervella_rag.chat.exact_words import state
from cervella_rag.domain import Exact
from cervella_rag.mcp_server.frame import cited, fitting, framed
from cervella_rag.mcp_server.parts import READS, ServerParts, told
from cervella_rag.memory.exact.files import LONGEST_PATH
from cervella_rag.memory.exact.patterns import LONGEST_PATTERN, Pattern
from cervella_rag.messages import message

Path = Annotated[str, Field(min_length=1, max_length=LONGEST_PATH)]
Place = Annotated[str | None, Field(max_length=LONGEST_PATH)]
Term = Annotated[str, Field(min_length=1, max_length=LONGEST_PATTERN)]
Short = Annotated[str | None, Field(max_length=200)]


def register(server: MCPServer[None], parts: ServerParts) -> None:
    """Give the server these tools."""
    language, facts = parts.language, parts.exact

    def shown(exact: Exact) -> str:
        return framed(fitting(_told(exact, parts), language), language)

    def count(
        pattern: Term,
        path: Place = None,
        how: Literal["word", "inside", "regex"] = "word",
        any_spelling: bool | None = None,
    ) -> str:
        wanted = Pattern(
            pattern,
            "regex" if how == "regex" else "literal",
            any_spelling=any_spelling,
            inside=how == "inside",
        )
        return shown(facts.count(wanted, path or None))

    def files(folder: Place = None, extension: Short = None) -> str:
        return shown(facts.files(folder or None, extension or None))

    def exists(path: Path) -> str:
        return shown(facts.exists(path))

    def lines(path: Path) -> str:
        return shown(facts.lines(path))

    def links(path: Path) -> str:
        return shown(facts.links(path))

    def list_records(
        kind: Short = None,
        project: Short = None,
        session: Short = None,
        since: Short = None,
        until: Short = None,
    ) -> str:
        asked = parts.question("", kind=kind, project=project, session=session, since=since, until=until)
        return shown(facts.list(asked.filters))

    tools: dict[str, Callable[..., str]] = {
        "count": told(count, language),
        "files": told(files, language),
        "exists": told(exists, language),
        "lines": told(lines, language),
        "links": told(links, language),
        "list": told(list_records, language),
    }
    for name, tool in tools.items():
        server.add_tool(
            tool,
            name=name,
            description=message(f"mcp.{name}", language),
            annotations=READS,
            structured_output=False,
        )


def _told(exact: Exact, parts: ServerParts) -> Iterator[str]:
    """Yield the fact in words, then each place it stands at with what is there."""
    stated = state(exact, parts.assistant.templates, parts.language)
    yield stated.text.strip()
    for citation in stated.citations:
        yield "\n".join(filter(None, [cited(citation), citation.quote]))
