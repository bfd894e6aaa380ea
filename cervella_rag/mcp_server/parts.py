"""What the tools are made of, and what all of them do alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec, Protocol

from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

from cervella_rag.chat.assistant import Assistant
from cervella_rag.chat.brief.writer import BriefWriter
from cervella_rag.domain import Question
from cervella_rag.errors import CervellaError
from cervella_rag.memory.exact.facts import ExactFacts
from cervella_rag.memory.reading import LineReader
from cervella_rag.retrieval.retriever import Retriever

P = ParamSpec("P")

READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
"""A tool that changes nothing and asks nobody beyond the memory."""

KEEPS = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
"""A tool that keeps what was said and changes nothing that was there."""


class MakeQuestion(Protocol):
    """Checks filters and puts them beside a question."""

    def __call__(self, text: str, **filters: str | None) -> Question:
        """Return the question."""
        ...


@dataclass(frozen=True, slots=True)
class ServerParts:
    """What a server serves; `language` is that of its own words."""

    retriever: Retriever
    assistant: Assistant
    brief_writer: BriefWriter
    lines: LineReader
    exact: ExactFacts
    question: MakeQuestion
    language: str


def told(tool: Callable[P, str], language: str) -> Callable[P, str]:
    """Return a tool whose errors of ours reach the agent as sentences; others stay on the server."""

    @wraps(tool)
    def run(*args: P.args, **kwargs: P.kwargs) -> str:
        try:
            return tool(*args, **kwargs)
        except CervellaError as error:
            raise ToolError(error.text(language)) from error

    return run


def told_async(tool: Callable[P, Awaitable[str]], language: str) -> Callable[P, Awaitable[str]]:
    """Return the same for a tool that waits."""

    @wraps(tool)
    async def run(*args: P.args, **kwargs: P.kwargs) -> str:
        try:
            return await tool(*args, **kwargs)
        except CervellaError as error:
            raise ToolError(error.text(language)) from error

    return run
