"""`search` and `ask`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from mcp.server import MCPServer
from pydantic import Field

from cervella_rag.domain import Answer, Hit, Retrieval
from cervella_rag.mcp_server.frame import MOST_TOKENS, cited, cut, fitting, framed
from cervella_rag.mcp_server.parts import KEEPS, READS, ServerParts, told, told_async
from cervella_rag.messages import message

Short = Annotated[str | None, Field(max_length=200)]
TopK = Annotated[int, Field(ge=1, le=20)]
_TEXT_CHARACTERS = 4000
Text = Annotated[str, Field(min_length=1, max_length=_TEXT_CHARACTERS)]


def register(server: MCPServer[None], parts: ServerParts) -> None:
    """Give the server these tools."""
    language = parts.language

    def search(
        question: Text,
        top_k: TopK = 5,
        project: Short = None,
        kind: Short = None,
        session: Short = None,
        since: Short = None,
        until: Short = None,
    ) -> str:
        asked = parts.question(
            question, project=project, kind=kind, session=session, since=since, until=until
        )
        retrieval = parts.retriever.retrieve(asked, top_k=top_k)
        return framed(fitting(_hits(retrieval, language), language), language)

    async def ask(question: Text, conversation_id: Short = None) -> str:
        answer = await parts.assistant.reply(parts.question(question), conversation_id or None)
        return framed(_answer(answer, language), language)

    server.add_tool(
        told(search, language),
        description=message("mcp.search", language),
        annotations=READS,
        structured_output=False,
    )
    server.add_tool(
        told_async(ask, language),
        description=message("mcp.ask", language),
        annotations=KEEPS,
        structured_output=False,
    )


def _hits(retrieval: Retrieval, language: str) -> Iterator[str]:
    if not retrieval.hits:
        yield message("mcp.nothing", language)
    elif not retrieval.enough:
        yield message("mcp.not_enough", language)
    for number, hit in enumerate(retrieval.hits, 1):
        yield f"[{number}] {_place(hit, language)}\n{hit.chunk.text}"


def _place(hit: Hit, language: str) -> str:
    chunk, metadata = hit.chunk, hit.chunk.metadata
    about = [
        f"{chunk.path}:{chunk.start_line}-{chunk.end_line}",
        metadata.date,
        str(metadata.kind),
        metadata.session and message("brief.session", language, session=metadata.session),
        metadata.project,
        metadata.status,
        chunk.retired and message("mcp.retired", language, date=chunk.retired),
        " > ".join(chunk.headings),
    ]
    return " · ".join(" ".join(part.split()) for part in about if part)


def _answer(answer: Answer, language: str) -> str:
    sources = "\n".join(map(cited, answer.citations))
    end = message(
        "mcp.spoken",
        language,
        voice=f"{answer.mode} {answer.model}".strip(),
        conversation=answer.conversation_id or "-",
    )
    return "\n\n".join(filter(None, [cut(answer.answer, MOST_TOKENS - 1000), cut(sources, 800), end]))
