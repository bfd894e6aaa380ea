"""What every voice's stream has in common: thoughts left out, patience, one second try, an honest end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cervella_rag.domain import Spoken, Status, Token, VoiceEvent
from cervella_rag.errors import (
    CervellaError,
    VoiceBrokenError,
    VoiceRefusedError,
    VoiceSilentError,
    VoiceTimeoutError,
    VoiceUnavailableError,
)
from cervella_rag.llm.speech import Delta, Patience, Speaker, Thought, ThoughtFilter, one_line, speak

SPEAKER = Speaker("scripted", "some-model", "here")
PATIENT = Patience(5, 5)
END = Spoken("scripted", "some-model", "stop", 12, 2)
FIRST, BETWEEN = "CERVELLA_LLM__FIRST_TOKEN_SECONDS", "CERVELLA_LLM__BETWEEN_TOKENS_SECONDS"

UNAVAILABLE = VoiceUnavailableError(voice="v", place="p", reason="busy")
REFUSED = VoiceRefusedError(voice="v", place="p", reason="no")
BROKEN = VoiceBrokenError(voice="v", place="p", reason="torn")

SILENCE = "silence"
Step = Delta | CervellaError
"""What a scripted stream does next; the word `SILENCE` makes it wait for ever."""

noise = st.lists(
    st.sampled_from(["<", ">", "/", "<th", "ink>", "think", "ciao", " ", "\n", "è", "<think>", "</think>"])
    | st.text(max_size=4),
    max_size=6,
).map("".join)
thoughts = st.builds("<think>{}</think>{}".format, noise, st.text(" \n", max_size=2))
streams = st.lists(noise | thoughts, max_size=4).map("".join)


def filtered(*pieces: str) -> str:
    thinking = ThoughtFilter()
    return "".join([*map(thinking.feed, pieces), thinking.finish()])


@given(streams, st.lists(st.integers(0, 60)))
def test_where_a_stream_is_cut_changes_nothing(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert filtered(*(text[start:end] for start, end in pairwise(places))) == filtered(text)
    assert filtered(*text) == filtered(text)


@given(noise.filter(lambda text: "<think>" not in text))
def test_text_without_a_thought_passes_unchanged(text: str) -> None:
    assert filtered(*text) == text


@given(noise.filter(lambda text: "</think>" not in text))
def test_a_thought_that_never_closes_shows_nothing(text: str) -> None:
    assert filtered("Ciao.", "<think>", *text) == "Ciao."


@given(
    streams.filter(lambda text: "<think>" not in text), streams.filter(lambda text: "</think>" not in text)
)
def test_only_what_stands_between_the_marks_goes(said: str, thought: str) -> None:
    assert filtered(f"{said}<think>{thought}</think>{said}") == said + said.lstrip()


@pytest.mark.parametrize("mark", ["<", "<t", "<think"])
def test_a_mark_that_is_not_finished_is_text(mark: str) -> None:
    assert filtered("a ", mark) == f"a {mark}"
    assert filtered("a ", mark, "x") == f"a {mark}x"


def test_text_is_shown_as_soon_as_it_cannot_be_a_mark() -> None:
    thinking = ThoughtFilter()
    assert [thinking.feed(piece) for piece in ("uno <", "b> due", " <thi", "nk>no")] == [
        "uno ",
        "<b> due",
        " ",
        "",
    ]


def test_an_answer_begins_without_the_blank_lines_after_its_thought() -> None:
    assert filtered("<think>", "no", "</think>", "\n", "\n", "Ciao.\n", "\nA dopo.") == "Ciao.\n\nA dopo."


def test_it_is_known_whether_there_was_a_thought() -> None:
    thinking = ThoughtFilter()
    thinking.feed("<thin")
    assert not thinking.has_thought
    thinking.feed("k>")
    assert thinking.has_thought


class Script:
    """Streams, one for each start: each does its steps; what was begun and closed is counted."""

    def __init__(self, *attempts: list[Step]) -> None:
        self.attempts = list(attempts)
        self.started = 0
        self.closed = 0
        self.done: list[Step] = []

    async def start(self) -> AsyncGenerator[Delta]:
        """Do the next attempt's steps."""
        steps = self.attempts[self.started]
        self.started += 1
        try:
            for step in steps:
                if isinstance(step, CervellaError):
                    raise step
                if step is SILENCE:
                    await asyncio.Event().wait()
                self.done.append(step)
                yield step
        finally:
            self.closed += 1


def play(script: Script, patience: Patience = PATIENT) -> tuple[list[VoiceEvent], CervellaError | None]:
    """Return what was shown, and the error it ended with."""
    shown: list[VoiceEvent] = []

    async def listen() -> CervellaError | None:
        try:
            async with asyncio.timeout(5):
                async for event in speak(script.start, SPEAKER, patience):
                    shown.append(event)
        except CervellaError as error:
            return error
        return None

    return shown, asyncio.run(listen())


def test_words_come_as_they_are_said_and_the_end_last() -> None:
    assert play(Script(["Sei ", "ore.", END])) == ([Token("Sei "), Token("ore."), END], None)


def test_a_stream_that_tells_no_end_is_incomplete() -> None:
    assert play(Script(["Sei "])) == ([Token("Sei "), Spoken("scripted", "some-model", "incomplete")], None)


def test_nothing_is_read_after_the_end() -> None:
    script = Script(["Sei ore.", END, "altro", BROKEN])
    assert play(script) == ([Token("Sei ore."), END], None)
    assert script.done == ["Sei ore.", END]
    assert script.closed == 1


def test_what_is_held_for_a_mark_is_shown_before_the_end() -> None:
    assert play(Script(["a <th", END]))[0] == [Token("a "), Token("<th"), END]


def test_thoughts_are_not_shown() -> None:
    assert play(Script([Thought(), "<think>no</think> Sì.", END])) == ([Token("Sì."), END], None)


def test_progress_is_passed_on() -> None:
    statuses: list[Step] = [Status("load"), Status("load", 1, 2)]
    assert play(Script([*statuses, "Sì.", END]))[0] == [*statuses, Token("Sì."), END]


def test_a_voice_that_is_unavailable_is_tried_once_more() -> None:
    script = Script([UNAVAILABLE], ["Sì.", END])
    assert play(script) == ([Token("Sì."), END], None)
    assert (script.started, script.closed) == (2, 2)


def test_a_voice_that_stays_unavailable_is_not_tried_a_third_time() -> None:
    script = Script([UNAVAILABLE], [UNAVAILABLE], ["mai"])
    assert play(script) == ([], UNAVAILABLE)
    assert script.started == 2


@pytest.mark.parametrize("sign", ["Sì", "", Thought(), Status("load"), Status("load", 1, 2)])
def test_after_the_first_delta_there_is_no_second_try(sign: Delta) -> None:
    script = Script([sign, UNAVAILABLE], ["mai"])
    assert play(script)[1] is UNAVAILABLE
    assert script.started == 1


@pytest.mark.parametrize("error", [REFUSED, BROKEN])
def test_only_what_may_pass_is_tried_again(error: CervellaError) -> None:
    script = Script([error], ["mai"])
    assert play(script) == ([], error)
    assert script.started == 1


def test_what_was_shown_stays_shown_when_the_voice_breaks_off() -> None:
    assert play(Script(["Sei ", BROKEN])) == ([Token("Sei ")], BROKEN)


@pytest.mark.parametrize(
    ("signs", "setting"),
    [
        ([], FIRST),
        ([Status("load")], FIRST),
        ([Status("load", 0, 10)], FIRST),
        ([Status("read", 1, 10)], BETWEEN),
        ([Thought()], BETWEEN),
        ([""], BETWEEN),
        (["Sei "], BETWEEN),
        ([Status("read", 1, 10), Status("load")], BETWEEN),
    ],
)
def test_patience_is_of_one_kind_before_the_first_sign_and_of_another_after(
    signs: list[Step], setting: str
) -> None:
    patience = Patience(0.05, 30) if setting == FIRST else Patience(30, 0.05)
    script = Script([*signs, SILENCE], ["mai"])
    error = play(script, patience)[1]
    assert isinstance(error, VoiceTimeoutError)
    assert error.details["setting"] == setting
    assert error.details["seconds"] == 0.05
    assert (script.started, script.closed) == (1, 1)


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([], "it ended 'incomplete'"),
        ([END], "it ended 'stop'"),
        (["", END], "it ended 'stop'"),
        ([" ", "\n", END], "it ended 'stop'"),
        ([Thought(), END], "it only thought"),
        (["<think>Sei ore?", END], "it only thought"),
        (["<think>Sei ore?</think>\n", END], "it only thought"),
    ],
)
def test_a_voice_without_a_word_is_an_error_that_says_why(steps: list[Step], reason: str) -> None:
    error = play(Script(steps))[1]
    assert isinstance(error, VoiceSilentError)
    assert error.details["reason"] == reason


def test_a_listener_who_leaves_closes_the_stream() -> None:
    script = Script(["Sei ", SILENCE])

    async def leave() -> None:
        async with asyncio.timeout(5):
            stream = speak(script.start, SPEAKER, PATIENT)
            await anext(stream)
            assert script.closed == 0
            await stream.aclose()
            assert script.closed == 1

    asyncio.run(leave())


@pytest.mark.parametrize("steps", [[SILENCE], ["Sei ", SILENCE]])
def test_a_listener_who_is_cancelled_closes_the_stream(steps: list[Step]) -> None:
    script = Script(steps)

    async def give_up() -> None:
        async with asyncio.timeout(0.05):
            async for _ in speak(script.start, SPEAKER, PATIENT):
                pass

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    assert script.closed == 1


def test_a_failure_is_told_in_one_short_line() -> None:
    assert one_line(ValueError("  two\n lines. ")) == "two lines"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line("x" * 1000)) == 300
