"""One turn, end to end: a question becomes sources, then tokens, then a checked answer."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from anyio import to_thread

from cervella_rag.chat.citations import CitationCheck, cite
from cervella_rag.domain import (
    Answer,
    Done,
    Event,
    Prompt,
    Question,
    Retrieval,
    Sources,
    Status,
    Token,
)
from cervella_rag.protocols import LLM
from cervella_rag.retrieval.retriever import Retriever


@dataclass(frozen=True, slots=True)
class Assistant:
    """Answers questions from memory.

    Attributes:
        answer_hits: How many hits an answer may draw from.
        detect_language: Question to "it", "en" or "pt": she answers in the asker's language.
    """

    retriever: Retriever
    llm: LLM
    answer_hits: int
    detect_language: Callable[[str], str]

    async def stream(self, question: Question, conversation_id: str | None = None) -> AsyncGenerator[Event]:
        """Yield a status, the sources, the tokens and, last, the finished answer.

        Closing the stream stops the voice. Errors of retrieval come before the first event.

        Raises:
            CervellaError: See `Retriever.retrieve`; the voice's own errors come while streaming.
        """
        clock = _Clock()
        retrieval = await to_thread.run_sync(lambda: self.retriever.retrieve(question))
        clock.mark("retrieval")
        yield Status("retrieved")
        prompt = await to_thread.run_sync(lambda: self._prompt(retrieval))
        yield Sources(prompt.citations)
        check = CitationCheck([citation.number for citation in prompt.citations])
        text = ""
        async with aclosing(self.llm.stream(prompt)) as voice:
            async for piece in check.filter(voice):
                clock.mark("first_token")
                text += piece
                yield Token(piece)
        clock.mark("total")
        used = tuple(citation for citation in prompt.citations if citation.number in check.used)
        yield Done(
            Answer(
                answer=text,
                grounded=prompt.grounded and bool(used),
                mode=self.llm.mode,
                citations=used,
                conversation_id=conversation_id or str(uuid.uuid4()),
                turn_id=str(uuid.uuid4()),
                model=self.llm.model,
                usage={"prompt_tokens": 0, "completion_tokens": 0},
                timings_ms=clock.marks,
                provenance=_provenance(prompt, retrieval),
            )
        )

    async def reply(self, question: Question, conversation_id: str | None = None) -> Answer:
        """Return the finished answer: the stream, joined."""
        async for event in self.stream(question, conversation_id):
            if isinstance(event, Done):
                return event.answer
        raise RuntimeError("a stream that raises nothing ends with Done")

    def _prompt(self, retrieval: Retrieval) -> Prompt:
        question = retrieval.question.text
        hits = (retrieval.hits if retrieval.enough else retrieval.closest)[: self.answer_hits]
        return Prompt(
            question=question,
            language=self.detect_language(question),
            hits=hits,
            citations=cite(hits, retrieval.understood.searched),
            grounded=retrieval.enough,
        )


def _provenance(prompt: Prompt, retrieval: Retrieval) -> dict[str, object]:
    return {
        "persona": None,
        "persona_sha256": None,
        "index_generation": retrieval.index.generation,
        "chunk_ids": [hit.chunk.chunk_id for hit in prompt.hits],
    }


class _Clock:
    """Milliseconds since the turn began, each mark taken once."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.marks: dict[str, float] = {}

    def mark(self, name: str) -> None:
        self.marks.setdefault(name, round((time.perf_counter() - self._started) * 1000, 2))
