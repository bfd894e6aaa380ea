"""What happens while an answer comes, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass

from cervella_rag.domain.answers import Answer, Citation, Composition
from cervella_rag.domain.hits import Message


@dataclass(frozen=True, slots=True)
class Status:
    """What she is doing while no word has come yet; `done` of `total` where it can be counted."""

    stage: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Sources:
    """What the answer will draw from; comes once, before the first token."""

    citations: tuple[Citation, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """The next piece of the answer; `is_quote` where it is the memory's own text in its frame."""

    text: str
    is_quote: bool = False


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A voice that could not speak this time, and why."""

    mode: str
    reason: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """A voice has ended: which one, how, what it counted (0 for nothing), and on which of its hosts."""

    mode: str
    model: str
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    passed_over: tuple[PassedOver, ...] = ()
    composition: Composition | None = None
    said_again_for: tuple[str, ...] = ()
    host: str = ""
    continued: int = 0  # how often it was cut at its limit and went on; the counts are of all parts


VoiceEvent = Status | Token | Spoken


@dataclass(frozen=True, slots=True)
class HostState:
    """One server's health; how long it is still left alone after it failed."""

    host: str
    ready: bool
    detail: str
    resting_seconds: float


@dataclass(frozen=True, slots=True)
class HostLoad:
    """What one server of a voice does now, and what it did since this process began."""

    mode: str
    host: str
    running: int
    answered: int
    failed: int
    resting_seconds: float


@dataclass(frozen=True, slots=True)
class VoiceState:
    """One voice's health, and that of each server it speaks through."""

    mode: str
    model: str
    ready: bool
    detail: str
    hosts: tuple[HostState, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """The finished answer; the last event of a turn."""

    answer: Answer


Event = Status | Sources | Token | Done


@dataclass(frozen=True, slots=True)
class Turn:
    """One question with its answer, as a conversation keeps it; `created` is ISO with offset."""

    turn_id: str
    question: str
    answer: str
    mode: str
    model: str
    grounded: bool
    finish_reason: str
    citations: tuple[dict[str, object], ...]
    created: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What was counted of the turns of one voice and model: `turns` of them, `counted` with counts."""

    mode: str
    model: str
    turns: int
    counted: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class ConversationInfo:
    """A conversation's card: the title is its first question; dates are ISO with offset."""

    conversation_id: str
    title: str
    created: str
    updated: str
    turns: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation with its turns, oldest first."""

    info: ConversationInfo
    turns: tuple[Turn, ...]

    @property
    def history(self) -> tuple[Message, ...]:
        """What was said, oldest first."""
        return tuple(
            message
            for turn in self.turns
            for message in (Message("user", turn.question), Message("assistant", turn.answer))
        )
