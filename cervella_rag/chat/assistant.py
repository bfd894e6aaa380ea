"""One turn, end to end: a question becomes sources, then tokens, then a checked answer."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import zip_longest

from anyio import to_thread

from cervella_rag.chat.citations import CitationCheck, cite
from cervella_rag.chat.conflicts import find_conflicts
from cervella_rag.chat.exact_words import Stated, state
from cervella_rag.chat.guard import Guard
from cervella_rag.chat.not_found import words_after
from cervella_rag.chat.repair import said_well
from cervella_rag.chat.turn import Clock, Turning
from cervella_rag.chat.voices import Voices
from cervella_rag.domain import (
    Answer,
    Done,
    Event,
    Exact,
    Message,
    Prompt,
    Question,
    Retrieval,
    Sources,
    Status,
    Token,
    Turn,
    VoiceEvent,
)
from cervella_rag.errors import ConversationStoreError, ConversationUnknownError
from cervella_rag.memory.redaction import Redactor, StreamRedactor
from cervella_rag.persona.hard_rules import Cleaner, hard_faults
from cervella_rag.persona.live import PersonaFile
from cervella_rag.persona.persona import Persona
from cervella_rag.persona.situations import asks_about_her, situations_of
from cervella_rag.persona.voice_score import score_voice
from cervella_rag.protocols import LLM, ConversationStore
from cervella_rag.retrieval.retriever import Retriever
from cervella_rag.templates import Templates

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assistant:
    """Answers questions from memory.

    Attributes:
        templates: Hold the frames of exact facts, which code states before any voice.
        redactor: Takes secrets out of what is asked, before it is sent or kept, and of what a voice says.
        answer_hits: How many hits an answer may draw from.
        history_turns: How many turns a voice is reminded of, at most.
        quoter: Says the memory itself where a voice only gave the question back.
        detect_language: Question to "it", "en" or "pt": she answers in the asker's language.
        repair: What happens to an answer that breaks a hard rule: "off", "code" or "model".
        mark_unsupported: Put a mark after a sentence about the memory that no passage supports.
        now: The clock; with offset.
        stays: Whether this process will be asked again, so that it pays to prepare for it.
    """

    retriever: Retriever
    voices: Voices
    conversations: ConversationStore
    persona: PersonaFile
    templates: Templates
    quoter: LLM
    redactor: Redactor
    answer_hits: int
    history_turns: int
    detect_language: Callable[[str], str]
    repair: str = "code"
    mark_unsupported: bool = False
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
        history itself keeps it itself, and what is asked without `keep` is not kept at all.

        Args:
            question: What is asked.
            conversation_id: Where it was asked.
            owner: Whose conversations are meant; None for everybody's. See `ConversationStore`.
            keep: False for clients that never want their turns kept.

        Raises:
            CervellaError: See `Retriever.retrieve` and `ConversationStore.read`; the voice's own errors
                come while streaming.
        """
        clock = Clock()
        brings_history = bool(question.history)
        question, lost = self._redacted(question), tuple[str, ...]()
        if conversation_id is not None:
            question, lost = await self._reminded(question, conversation_id, owner)
        retrieval = await to_thread.run_sync(lambda: self._retrieve(question))
        retrieval = replace(retrieval, degraded=(*retrieval.degraded, *lost))
        clock.mark("retrieval")
        yield Status("retrieved")
        persona = self.persona()
        stated = await to_thread.run_sync(lambda: self._stated(retrieval))
        prompt = await to_thread.run_sync(lambda: self._prompt(retrieval, persona, stated))
        yield Sources(stated.citations + prompt.citations)
        turn = self._begin(prompt, persona, clock)
        is_all = _is_complete(retrieval)
        if counted := turn.state(stated, is_all=is_all):
            yield counted
        if not is_all:
            async with aclosing(self._hear(turn, persona)) as shown:
                async for event in shown:
                    yield event
        clock.mark("total")
        answer = self._answer(turn, retrieval, persona)
        if keep and (conversation_id is not None or not brings_history):
            answer = await self._kept(question, answer, conversation_id, owner)
        if self.stays:
            said = (Message("user", question.text), Message("assistant", answer.answer))
            self.voices.prepare(answer.mode, self._newest((*question.history, *said)))
        yield Done(answer)

    def _begin(self, prompt: Prompt, persona: Persona, clock: Clock) -> Turning:
        cleaner = None if self.repair == "off" else Cleaner(tuple(persona.sheet.banned))
        # Of her, the passages say nothing: what she tells of herself needs no support.
        hits = () if prompt.about_her else prompt.hits
        check = CitationCheck(
            prompt.citations,
            hits,
            f"{prompt.question} {persona.sheet.name} {persona.partner}",
            language=prompt.language,
            marks=self.mark_unsupported,
        )
        known = " ".join((prompt.question, *(said.content for said in prompt.history), *_texts(prompt)))
        guard = Guard(StreamRedactor(self.redactor), cleaner, persona.canary, known)
        return Turning(prompt, check, clock, guard)

    async def _hear(self, turn: Turning, persona: Persona) -> AsyncGenerator[Event]:
        """Yield what may be shown of the voice and, after an answer that only repeats, of the memory."""
        async with aclosing(self._voice(turn, persona)) as voice:
            async for event in voice:
                if shown := turn.hear(event):
                    yield shown
        if rest := turn.rest():
            yield rest
        if turn.is_echo:
            async with aclosing(self.quoter.stream(turn.prompt)) as quotes:
                async for event in quotes:
                    if isinstance(event, Token) and (shown := turn.quote(event.text)):
                        yield shown
        elif turn.refusal:
            prompt = turn.prompt
            words = words_after(
                turn.refusal, prompt.citations, self.templates, prompt.language, persona.partner
            )
            if words and (shown := turn.quote(words)):
                yield shown

    def _voice(self, turn: Turning, persona: Persona) -> AsyncGenerator[VoiceEvent]:
        if self.repair != "model":
            return self.voices.stream(turn.prompt)
        return said_well(
            self.voices.stream,
            turn.prompt,
            lambda text: hard_faults(text, persona, turn.prompt.language, self.detect_language),
        )

    async def reply(
        self, question: Question, conversation_id: str | None = None, *, keep: bool = True
    ) -> Answer:
        """Return the finished answer: the stream, joined."""
        async with aclosing(self.stream(question, conversation_id, keep=keep)) as events:
            async for event in events:
                if isinstance(event, Done):
                    return event.answer
        raise RuntimeError("a stream that raises nothing ends with Done")

    async def aclose(self) -> None:
        """Let go of the voices' connections and models, and of the conversations'."""
        await self.voices.aclose()
        await self.conversations.aclose()

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

    def _retrieve(self, question: Question) -> Retrieval:
        """Find hits; where a question names the files it is about, theirs, each file's best first."""
        retrieval = self.retriever.retrieve(question)
        named = _named_files(retrieval.exact)[: self.answer_hits]
        within = (replace(question, filters=replace(question.filters, path_prefix=path)) for path in named)
        found = zip_longest(*(self.retriever.retrieve(asked).hits for asked in within))
        hits = tuple(hit for row in found for hit in row if hit)
        return replace(retrieval, hits=hits, enough=True, closest=()) if hits else retrieval

    def _stated(self, retrieval: Retrieval) -> Stated:
        """Put what code has counted into words; mostly there is nothing."""
        if retrieval.exact is None:
            return Stated("", ())
        return state(retrieval.exact, self.templates, self.detect_language(retrieval.question.text))

    def _prompt(self, retrieval: Retrieval, persona: Persona, stated: Stated) -> Prompt:
        question = retrieval.question
        # What code has found in the files is about the files, whatever it sounds like.
        about_her = retrieval.exact is None and asks_about_her(question.text, persona)
        found = retrieval.hits if retrieval.enough else retrieval.closest
        hits = () if about_her or _is_complete(retrieval) else found[: self.answer_hits]
        citations = tuple(
            replace(citation, number=citation.number + len(stated.citations))
            for citation in cite(hits, retrieval.understood.searched)
        )
        grounded = retrieval.enough and not about_her
        return Prompt(
            question=question.text,
            language=self.detect_language(question.text),
            hits=hits,
            citations=citations,
            grounded=grounded,
            history=question.history,
            today=self.now().date().isoformat(),
            situations=situations_of(question.text, grounded=grounded),
            about_her=about_her,
            conflicts=find_conflicts(citations) if grounded else (),
            stated=stated.text,
        )

    def _answer(self, turn: Turning, retrieval: Retrieval, persona: Persona) -> Answer:
        prompt, check, spoken = turn.prompt, turn.check, turn.spoken
        used = tuple(citation for citation in prompt.citations if citation.number in check.used)
        return Answer(
            answer=turn.text,
            grounded=retrieval.exact is not None or (prompt.grounded and bool(used) and not turn.refusal),
            mode=spoken.mode,
            citations=turn.stated + used,
            conversation_id=None,
            turn_id=str(uuid.uuid4()),
            model=spoken.model,
            finish_reason=spoken.finish_reason,
            usage={"prompt_tokens": spoken.prompt_tokens, "completion_tokens": spoken.completion_tokens},
            timings_ms=turn.clock.marks,
            provenance={
                **self._who(turn, persona),
                "index_generation": retrieval.index.generation,
                "exact": retrieval.exact.operation if retrieval.exact else None,
                "chunk_ids": [hit.chunk.chunk_id for hit in prompt.hits],
                "citations_added": check.added,
                "citations_removed": check.removed,
                "unsupported": check.unsupported,
                "conflicts": [list(pair) for pair in prompt.conflicts],
                "continued": spoken.continued,
                "quoted_after_echo": turn.is_echo,
                "refusal": turn.refusal,
                "voice_span": list(turn.voice_span),
                "canary_said": turn.guard.has_sung,
                "host": spoken.host,
                "links_cut": turn.guard.has_cut_links,
                "passed_over": [asdict(voice) for voice in spoken.passed_over],
            },
            degraded=(*retrieval.degraded, *(["voice"] if spoken.passed_over else [])),
        )

    def _who(self, turn: Turning, persona: Persona) -> dict[str, object]:
        """Return who spoke: the persona as the model was told it, and how her answer kept its rules."""
        made = turn.spoken.composition
        faults: tuple[str, ...] = ()
        heard = None
        if turn.spoken.mode != "memory_only" and not turn.is_echo:  # what is quoted is not her voice
            faults = hard_faults(turn.voiced, persona, turn.prompt.language, self.detect_language)
            score = score_voice(turn.prompt.question, turn.voiced, persona)
            heard = {"met": score.met, "applicable": score.applicable, "mean": round(score.mean, 2)}
        return {
            "persona": f"{persona.sheet.id}/{persona.sheet.version}",
            "persona_sha256": (made and made.persona_sha256) or persona.sha256,
            "persona_mistake": str(self.persona.mistake) if self.persona.mistake else None,
            "about_her": turn.prompt.about_her,
            "situations": list(turn.prompt.situations),
            "prompt": asdict(made) if made else None,
            "voice": heard,
            "faults": list(faults),
            "faults_removed": turn.guard.removed,
            "said_again_for": list(turn.spoken.said_again_for),
        }

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
            **answer.usage,
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


def _texts(prompt: Prompt) -> list[str]:
    return [prompt.stated, *(hit.chunk.text for hit in prompt.hits)]


def _is_complete(retrieval: Retrieval) -> bool:
    """Tell whether code has answered all of the question."""
    return retrieval.exact is not None and retrieval.exact.complete


def _named_files(exact: Exact | None) -> list[str]:
    """Return the files that are to be read for the rest of an answer."""
    if exact is None or exact.complete:
        return []
    return [str(part.details["path"]) for part in exact.parts or (exact,) if part.operation == "record"]
