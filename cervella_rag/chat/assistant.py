"""One turn, end to end: a question becomes sources, then tokens, then a checked answer."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from anyio import to_thread

from cervella_rag.chat.citations import CitationCheck, cite
from cervella_rag.chat.voices import Voices
from cervella_rag.domain import (
    Answer,
    Done,
    Event,
    Message,
    Prompt,
    Question,
    Retrieval,
    Sources,
    Spoken,
    Status,
    Token,
    Turn,
    VoiceEvent,
)
from cervella_rag.errors import ConversationStoreError, ConversationUnknownError
from cervella_rag.marks import MARK
from cervella_rag.memory.lexical import stems, words
from cervella_rag.memory.redaction import Redactor, StreamRedactor
from cervella_rag.persona.persona import Persona
from cervella_rag.protocols import LLM, ConversationStore
from cervella_rag.retrieval.retriever import Retriever

_log = logging.getLogger(__name__)

_FEWEST_WORDS_OF_AN_ECHO = 3
"""Below it stand answers: "Sei ore" to who asks for hours."""


@dataclass(frozen=True, slots=True)
class Assistant:
    """Answers questions from memory.

    Attributes:
        redactor: Takes secrets out of what is asked, before it is sent or kept, and of what a voice says.
        answer_hits: How many hits an answer may draw from.
        history_turns: How many turns a voice is reminded of, at most.
        quoter: Says the memory itself where a voice only gave the question back.
        detect_language: Question to "it", "en" or "pt": she answers in the asker's language.
        now: The clock; with offset.
        stays: Whether this process will be asked again, so that it pays to prepare for it.
    """

    retriever: Retriever
    voices: Voices
    conversations: ConversationStore
    persona: Persona
    quoter: LLM
    redactor: Redactor
    answer_hits: int
    history_turns: int
    detect_language: Callable[[str], str]
    now: Callable[[], datetime] = lambda: datetime.now(UTC).astimezone()
    stays: bool = False

    async def stream(
        self,
        question: Question,
        conversation_id: str | None = None,
        *,
        owner: str | None = None,
        keep: bool = True,
    ) -> AsyncGenerator[Event]:
        """Yield a status, the sources, the tokens and, last, the finished answer.

        Closing the stream stops the voice. Errors of retrieval come before the first event. A finished
        turn is kept in its conversation, a new one where no id is given; a client that brings the
        history itself keeps it itself.

        Args:
            question: What is asked.
            conversation_id: Where it was asked.
            owner: Whose conversations are meant; None for everybody's. See `ConversationStore`.
            keep: False for clients that never want their turns kept.

        Raises:
            CervellaError: See `Retriever.retrieve` and `ConversationStore.read`; the voice's own errors
                come while streaming.
        """
        clock = _Clock()
        brings_history = bool(question.history)
        question, lost = self._redacted(question), tuple[str, ...]()
        if conversation_id is not None:
            question, lost = await self._reminded(question, conversation_id, owner)
        retrieval = await to_thread.run_sync(lambda: self.retriever.retrieve(question))
        retrieval = replace(retrieval, degraded=(*retrieval.degraded, *lost))
        clock.mark("retrieval")
        yield Status("retrieved")
        prompt = await to_thread.run_sync(lambda: self._prompt(retrieval))
        yield Sources(prompt.citations)
        check = CitationCheck(prompt.citations, prompt.hits)
        turn = _Turn(prompt, check, clock, _Guard(StreamRedactor(self.redactor), self.persona.canary))
        async with aclosing(self.voices.stream(prompt)) as voice:
            async for event in voice:
                if shown := turn.hear(event):
                    yield shown
        if rest := turn.rest():
            yield rest
        if turn.is_echo:
            async with aclosing(self.quoter.stream(prompt)) as quotes:
                async for event in quotes:
                    if isinstance(event, Token) and (shown := turn.quote(event.text)):
                        yield shown
        clock.mark("total")
        answer = self._answer(turn, retrieval)
        if keep and (conversation_id is not None or not brings_history):
            answer = await self._kept(question, answer, conversation_id, owner)
        if self.stays:
            said = (Message("user", question.text), Message("assistant", answer.answer))
            self.voices.prepare(answer.mode, self._newest((*question.history, *said)))
        yield Done(answer)

    async def reply(self, question: Question, conversation_id: str | None = None) -> Answer:
        """Return the finished answer: the stream, joined."""
        async with aclosing(self.stream(question, conversation_id)) as events:
            async for event in events:
                if isinstance(event, Done):
                    return event.answer
        raise RuntimeError("a stream that raises nothing ends with Done")

    async def aclose(self) -> None:
        """Let go of the voices' connections and models."""
        await self.voices.aclose()

    async def _reminded(
        self, question: Question, conversation_id: str, owner: str | None
    ) -> tuple[Question, tuple[str, ...]]:
        """Return the question with what was said before it, and what was done without.

        A disk that is full lets SQLite not even read; what is asked can be answered all the same.
        """
        try:
            conversation = await self.conversations.read(conversation_id, owner)
        except ConversationStoreError as error:
            _log.warning("%s", error)
            return question, ("conversations",)
        return replace(question, history=self._newest(conversation.history)), ()

    def _redacted(self, question: Question) -> Question:
        history = tuple(
            Message(said.role, self.redactor.redact(said.content).text) for said in question.history
        )
        return replace(question, text=self.redactor.redact(question.text).text, history=history)

    def _newest(self, history: Sequence[Message]) -> tuple[Message, ...]:
        return tuple(history[max(0, len(history) - 2 * self.history_turns) :])

    def _prompt(self, retrieval: Retrieval) -> Prompt:
        question = retrieval.question
        hits = (retrieval.hits if retrieval.enough else retrieval.closest)[: self.answer_hits]
        return Prompt(
            question=question.text,
            language=self.detect_language(question.text),
            hits=hits,
            citations=cite(hits, retrieval.understood.searched),
            grounded=retrieval.enough,
            history=question.history,
            today=self.now().date().isoformat(),
        )

    def _answer(self, turn: _Turn, retrieval: Retrieval) -> Answer:
        prompt, check, spoken, sheet = turn.prompt, turn.check, turn.spoken, self.persona.sheet
        used = tuple(citation for citation in prompt.citations if citation.number in check.used)
        return Answer(
            answer=turn.text,
            grounded=prompt.grounded and bool(used),
            mode=spoken.mode,
            citations=used,
            conversation_id=None,
            turn_id=str(uuid.uuid4()),
            model=spoken.model,
            finish_reason=spoken.finish_reason,
            usage={"prompt_tokens": spoken.prompt_tokens, "completion_tokens": spoken.completion_tokens},
            timings_ms=turn.clock.marks,
            provenance={
                "persona": f"{sheet.id}/{sheet.version}",
                "persona_sha256": self.persona.sha256,
                "index_generation": retrieval.index.generation,
                "chunk_ids": [hit.chunk.chunk_id for hit in prompt.hits],
                "citations_added": check.added,
                "citations_removed": check.removed,
                "quoted_after_echo": turn.is_echo,
                "canary_said": turn.guard.has_sung,
                "passed_over": [asdict(voice) for voice in spoken.passed_over],
            },
            degraded=(*retrieval.degraded, *(["voice"] if spoken.passed_over else [])),
        )

    async def _kept(
        self, question: Question, answer: Answer, conversation_id: str | None, owner: str | None
    ) -> Answer:
        """Keep the turn and say where; one that cannot be kept is not taken back, and that is said."""
        turn = Turn(
            turn_id=answer.turn_id,
            question=question.text,
            answer=answer.answer,
            mode=answer.mode,
            model=answer.model,
            grounded=answer.grounded,
            finish_reason=answer.finish_reason,
            citations=tuple(asdict(citation) for citation in answer.citations),
            created=self.now().isoformat(timespec="milliseconds"),
        )
        try:
            if conversation_id is None:
                return replace(answer, conversation_id=await self.conversations.begin(turn, owner))
            await self.conversations.append(conversation_id, turn, owner)
        except ConversationStoreError as error:
            _log.warning("%s", error)
            degraded = tuple(dict.fromkeys((*answer.degraded, "conversations")))
            return replace(answer, conversation_id=conversation_id, degraded=degraded)
        except ConversationUnknownError:  # deleted while she spoke
            return answer
        return replace(answer, conversation_id=conversation_id)


class _Turn:
    """What was said so far, and how it ended."""

    def __init__(self, prompt: Prompt, check: CitationCheck, clock: _Clock, guard: _Guard) -> None:
        self.prompt = prompt
        self.guard = guard
        self.check = check
        self.clock = clock
        self.text = ""
        self.spoken = Spoken("", "")
        self.is_echo = False
        self._is_quote = False
        self._quotes = False

    def hear(self, event: VoiceEvent) -> Status | Token | None:
        """Take an event of the voice; return what may be shown of it."""
        match event:
            case Token(piece, is_quote):
                self.clock.mark("first_token")
                self._is_quote = is_quote
                # The memory's own words were redacted when they were read.
                shown = piece if is_quote else self.guard.feed(piece)
                return self._say(self.check.feed(shown, is_quote=is_quote))
            case Status():
                return event
            case Spoken():
                self.spoken = event
                return None

    def rest(self) -> Token | None:
        """Return what was held back to the end."""
        held = self.check.feed(self.guard.finish(), is_quote=self._is_quote)
        rest = self._say(held + self.check.finish())
        self.is_echo = self.prompt.grounded and self.spoken.mode != "memory_only" and self._only_repeats()
        return rest

    def quote(self, text: str) -> Token | None:
        """Say a piece of the memory's own text, apart from what was said before."""
        is_first = not self._quotes
        self._quotes = True
        return self._say(("\n\n" if is_first else "") + self.check.feed(text, is_quote=True))

    def _only_repeats(self) -> bool:
        """Tell whether the answer is the question again: small models do that, with a citation."""
        said = stems(words(MARK.sub("", self.text)))
        return len(said) >= _FEWEST_WORDS_OF_AN_ECHO and said <= stems(words(self.prompt.question))

    def _say(self, checked: str) -> Token | None:
        self.text += checked
        return Token(checked) if checked else None


class _Guard:
    """What a voice must not say, taken out of what it says: secrets, and the sign of its instructions."""

    def __init__(self, redactor: StreamRedactor, canary: str) -> None:
        self._redactor = redactor
        self._canary = re.compile(re.escape(canary), re.IGNORECASE)
        self.has_sung = False

    def feed(self, piece: str) -> str:
        """Return what may be shown now; whole words only, so that the sign is never cut in two."""
        return self._silenced(self._redactor.feed(piece))

    def finish(self) -> str:
        """Return what was held."""
        return self._silenced(self._redactor.finish())

    def _silenced(self, text: str) -> str:
        shown, count = self._canary.subn("[redacted:canary]", text)
        if count and not self.has_sung:
            self.has_sung = True
            _log.warning("a voice was reading its instructions aloud")
        return shown


class _Clock:
    """Milliseconds since the turn began, each mark taken once."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.marks: dict[str, float] = {}

    def mark(self, name: str) -> None:
        self.marks.setdefault(name, round((time.perf_counter() - self._started) * 1000, 2))
