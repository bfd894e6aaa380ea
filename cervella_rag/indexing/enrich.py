"""A voice writes of every chunk what it is about and what it answers; what it says is data, and bounded.

Chunks become enrichments, kept one by one as they come, so that whatever stops it loses one at most. The
next run of the indexer puts them into what is searched.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from cervella_rag.domain import Chunk, Prompt, Spoken, Token
from cervella_rag.errors import UpstreamError, VoiceSilentError, VoiceTimeoutError
from cervella_rag.memory.cleaning import clean_line
from cervella_rag.memory.enrichment import (
    LONGEST_LINE,
    MOST_QUESTIONS,
    Enrichment,
    Enrichments,
    content_of,
)
from cervella_rag.protocols import LLM
from cervella_rag.templates import Templates
from cervella_rag.tokens import estimate_tokens

ANSWER_TOKENS = 220
"""Longest answer that a voice is asked for: four lines."""
_MOST_CHARACTERS = 1_500
"""A voice that says more is stopped; what it has said by then is read."""
_FEWEST_CHARACTERS = 8
_MEASURED = 3
_MOST_FAILURES = 5
"""Chunks in a row that a voice may be silent at before that is an error."""

_LANGUAGES = ("it", "en", "pt")
_LINE = re.compile(
    r"[\W\d]{0,8}(?:(?P<context>contesto|context|contexto)|domanda|question|pergunta)\W{0,4}\d{0,2}\W{0,4}:(?P<said>.*)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is left to do and what it will take, measured on the first chunks.

    Attributes:
        chunks: Chunks to ask about, those that were measured not counted.
        measured: Chunks that were asked about to know.
        seconds: How long it takes.
        prompt_tokens: What the model will read.
        completion_tokens: What it will write.
    """

    model: str
    chunks: int
    measured: int
    seconds: float
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class EnrichReport:
    """What came of a run; counts are chunks.

    Attributes:
        known: Written by this model with these words before.
        written: Written now.
        unusable: The voice said nothing that could be kept; asked again by the next run.
        left: Not asked about.
        seconds: Time the model took.
        estimate: None where nothing was left to do.
    """

    model: str
    known: int
    written: int = 0
    unusable: int = 0
    left: int = 0
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimate: Estimate | None = None


@dataclass(frozen=True, slots=True)
class _Said:
    """What a voice said of a chunk; `enrichment` is None where it was of no use."""

    enrichment: Enrichment | None
    seconds: float
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Enricher:
    """Asks a voice about chunks.

    Attributes:
        voice: Who is asked; it writes what it is told, without a persona.
        kept: Where what it writes is kept.
        templates: Hold the words it is asked with, enrich/chunk.LANGUAGE.md.j2.
        prompt: Identity of those words, see `prompt_name`.
        redact: Takes secrets and personal data out of what it says.
        disarm: Takes out of a chunk what would end a message for a model.
    """

    voice: LLM
    kept: Enrichments
    templates: Templates
    prompt: str
    redact: Callable[[str], str]
    disarm: Callable[[str], str]

    @property
    def model(self) -> str:
        """Who writes, as it is kept with what was written."""
        return f"{self.voice.mode}:{self.voice.model}"[:LONGEST_LINE]

    async def run(
        self,
        chunks: Sequence[Chunk],
        *,
        limit: int | None = None,
        dry_run: bool = False,
        confirm: Callable[[Estimate], bool] = lambda estimate: True,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> EnrichReport:
        """Ask about the chunks of which nothing was written yet.

        Args:
            chunks: Every chunk of the index.
            limit: Most to ask about.
            dry_run: Ask about the first few alone, to tell how long the rest would take, and keep nothing.
            confirm: Told what it will take, tells whether to go on; what was measured by then is kept.
            progress: Told how many are done.

        Raises:
            UpstreamError: The voice cannot speak; what was written by then is kept.
            StoreError: It cannot be kept.
        """
        before = self.kept.read()
        by_content = {content_of(chunk): chunk for chunk in chunks}
        pending = {one: chunk for one, chunk in by_content.items() if not self._is_written(before.get(one))}
        todo = list(pending.items())[:limit]
        report = EnrichReport(self.model, len(by_content) - len(pending), left=len(pending))
        if not todo:
            return report
        first, rest = todo[:_MEASURED], todo[_MEASURED:]
        counter = _Counter(report, progress, len(todo))
        for content, chunk in first:
            counter.count(await self._write(content, chunk, keep=not dry_run, counter=counter))
        estimate = _estimate(self.model, counter.report, len(first), len(rest))
        counter.report = replace(counter.report, estimate=estimate)
        if dry_run:
            return replace(counter.report, written=0, left=len(pending))
        if rest and confirm(estimate):
            for content, chunk in rest:
                counter.count(await self._write(content, chunk, keep=True, counter=counter))
        return counter.report

    def _is_written(self, found: Enrichment | None) -> bool:
        return found is not None and (found.model, found.prompt) == (self.model, self.prompt)

    async def _write(self, content: str, chunk: Chunk, *, keep: bool, counter: _Counter) -> _Said:
        started = time.perf_counter()
        try:
            said = await self._ask(chunk)
        except (VoiceSilentError, VoiceTimeoutError) as error:
            counter.fail(error)
            return _Said(None, time.perf_counter() - started, 0, 0)
        counter.failures = 0
        if said.enrichment and keep:
            self.kept.keep(content, said.enrichment)
        return replace(said, seconds=time.perf_counter() - started)

    async def _ask(self, chunk: Chunk) -> _Said:
        metadata = chunk.metadata
        language = metadata.language if metadata.language in _LANGUAGES else _LANGUAGES[0]
        asked = self.templates.render(
            f"enrich/chunk.{language}.md.j2",
            title=self.disarm(metadata.title),
            headings=self.disarm(" > ".join(chunk.headings)),
            text=self.disarm(chunk.text),
        )
        said, spoken = "", Spoken("", "")
        async with aclosing(self.voice.stream(Prompt(asked, language, (), (), grounded=False))) as events:
            async for event in events:
                match event:
                    case Token(text):
                        said += text
                    case Spoken():
                        spoken = event
                if len(said) > _MOST_CHARACTERS:
                    break  # closing the stream stops the voice
        context, questions = read_answer(self.redact(said))
        return _Said(
            Enrichment(context, questions, self.model, self.prompt) if context or questions else None,
            0.0,
            spoken.prompt_tokens or estimate_tokens(asked),
            spoken.completion_tokens or estimate_tokens(said),
        )


class _Counter:
    """Adds up what came, and knows when a voice has failed too often in a row."""

    def __init__(self, report: EnrichReport, progress: Callable[[int, int], None], total: int) -> None:
        self.report = report
        self.failures = 0
        self._progress = progress
        self._total = total

    def count(self, said: _Said) -> None:
        """Add one chunk."""
        so_far = self.report
        self.report = replace(
            so_far,
            written=so_far.written + (said.enrichment is not None),
            unusable=so_far.unusable + (said.enrichment is None),
            left=so_far.left - 1,
            seconds=round(so_far.seconds + said.seconds, 3),
            prompt_tokens=so_far.prompt_tokens + said.prompt_tokens,
            completion_tokens=so_far.completion_tokens + said.completion_tokens,
        )
        self._progress(self.report.written + self.report.unusable, self._total)

    def fail(self, error: UpstreamError) -> None:
        """Count a chunk that the voice was silent at; raise where that has become the rule."""
        self.failures += 1
        if self.failures >= _MOST_FAILURES:
            raise error


def _estimate(model: str, measured: EnrichReport, count: int, rest: int) -> Estimate:
    share = rest / count
    return Estimate(
        model=model,
        chunks=rest,
        measured=count,
        seconds=round(measured.seconds * share, 1),
        prompt_tokens=round(measured.prompt_tokens * share),
        completion_tokens=round(measured.completion_tokens * share),
    )


def read_answer(said: str) -> tuple[str, tuple[str, ...]]:
    """Return the context line and the questions of an answer; "" and none where it has none.

    Only lines that are labelled as they were asked for count, once each; one that is too long was not
    written for that.
    """
    context, questions = "", dict[str, None]()
    for is_context, line in _lines(said):
        if is_context:
            context = context or line
        elif line != context:
            questions.setdefault(line)
    return context, tuple(questions)[:MOST_QUESTIONS]


def _lines(said: str) -> Iterator[tuple[bool, str]]:
    for line in said.split("\n"):
        if found := _LINE.fullmatch(line.strip()):
            text = clean_line(found["said"])
            if _FEWEST_CHARACTERS <= len(text) <= LONGEST_LINE:
                yield found["context"] is not None, text


def prompt_name(folder: Path) -> str:
    """Return the identity of the words a voice is asked with: other words, other answers.

    Args:
        folder: Where the templates are, of all languages.
    """
    texts = [path.read_bytes() for path in sorted(folder.glob("chunk.*.md.j2"))]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:12]
