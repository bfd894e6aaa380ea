"""A cut answer goes on: as one stream, without repetition, within the window; honest where it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cervella_rag.domain import Message, Prompt, Spoken, Status, Token, VoiceEvent
from cervella_rag.errors import CervellaError, VoiceBrokenError, VoiceTimeoutError
from cervella_rag.llm.continuation import Asked, Joint, Limits, is_looping, say_all
from cervella_rag.llm.speech import Patience

from .test_assistant import assistant as assistant  # noqa: PLC0414 - a fixture
from .test_llama_cpp import make_voice as make_voice  # noqa: PLC0414 - a fixture
from .test_prompt import PROMPTS, WRITER

FIRST = Asked((Message("user", "Quante ore tiene il forno?"),), 100)
WIDE = Limits(context_tokens=8000, prompt_tokens=500, continuations=2)
CUT, STOP = (Spoken("scripted", "m", reason, 500, 100) for reason in ("length", "stop"))
BROKEN = VoiceBrokenError(voice="v", place="p", reason="torn")
PATIENT = Patience(5, 5)

words = st.text("abc de\n", max_size=60)


class Parts:
    """Says one part for every time it is asked, and fails where a part holds an error."""

    def __init__(self, *parts: Sequence[VoiceEvent | CervellaError]) -> None:
        self.parts = parts
        self.asked: list[Asked] = []
        self.closed = 0

    async def say(self, asked: Asked) -> AsyncGenerator[VoiceEvent]:
        """Yield the next part."""
        part = self.parts[len(self.asked)]
        self.asked.append(asked)
        try:
            for event in part:
                if isinstance(event, CervellaError):
                    raise event
                yield event
        finally:
            self.closed += 1


def many_parts() -> Parts:
    """Return an answer that is cut each time."""
    return Parts(*((Token(f"Frase numero {number} del racconto. "), CUT) for number in range(5)))


def play(parts: Parts, limits: Limits = WIDE) -> tuple[str, Spoken]:
    """Return what was said and how it ended."""

    async def listen() -> list[VoiceEvent]:
        return [event async for event in say_all(parts.say, FIRST, limits, lambda said: f"on: {said}")]

    *events, end = asyncio.run(listen())
    assert isinstance(end, Spoken)
    return "".join(event.text for event in events if isinstance(event, Token)), end


def joined(said: str, *pieces: str) -> str:
    joint = Joint(said)
    return said + "".join([*map(joint.feed, pieces), joint.finish()])


def test_a_cut_answer_goes_on_from_where_it_was() -> None:
    parts = Parts([Token("Il forno tie"), CUT], [Token("ne sei"), Token(" ore."), STOP])
    text, end = play(parts)
    assert text == "Il forno tiene sei ore."
    assert end == Spoken("scripted", "m", "stop", 1000, 200, continued=1)
    assert parts.asked[1].open_ended == (*FIRST.messages, Message("assistant", "Il forno tie"))
    assert parts.closed == 2


def test_an_answer_that_is_whole_is_asked_for_once() -> None:
    for reason in ("stop", "incomplete"):
        end = Spoken("scripted", "m", reason)
        assert play(Parts([Token("Sei ore."), end])) == ("Sei ore.", end)


def test_it_goes_on_so_often_and_then_says_that_it_was_cut() -> None:
    parts = many_parts()
    text, end = play(parts)
    assert text.count("Frase") == len(parts.asked) == 3
    assert (end.finish_reason, end.continued) == ("length", 2)


@pytest.mark.parametrize(
    "failure", [BROKEN, VoiceTimeoutError(voice="v", place="p", seconds=1, setting="S")]
)
@pytest.mark.parametrize("before", [[], [Token("ne sei")]])
def test_what_was_said_stays_where_the_second_part_fails(
    failure: CervellaError, before: list[VoiceEvent | CervellaError]
) -> None:
    parts = Parts([Token("Il forno tie"), CUT], [*before, failure])
    text, end = play(parts)
    assert text in {"Il forno tie", "Il forno tiene sei"}
    assert end == CUT
    assert parts.closed == 2


def test_a_further_part_that_breaks_off_without_an_end_says_so() -> None:
    text, end = play(
        Parts([Token("Il forno tie"), CUT], [Token("ne"), Spoken("scripted", "m", "incomplete")])
    )
    assert (text, end.finish_reason) == ("Il forno tiene", "incomplete")


def test_no_further_word_means_that_the_answer_was_whole() -> None:
    text, end = play(Parts([Token("Sei ore."), CUT], [STOP]))
    assert (text, end.finish_reason) == ("Sei ore.", "stop")


def test_an_error_of_the_first_part_is_an_error() -> None:
    with pytest.raises(VoiceBrokenError):
        play(Parts([Token("Il forno"), BROKEN]))


def test_progress_is_told_of_the_first_part_alone() -> None:
    parts = Parts([Status("reading"), Token("Il "), CUT], [Status("reading"), Token("forno."), STOP])

    async def listen() -> list[VoiceEvent]:
        return [event async for event in say_all(parts.say, FIRST, WIDE, str)]

    kinds = [type(event) for event in asyncio.run(listen())]
    assert kinds == [Status, Token, Token, Spoken]


@pytest.mark.parametrize(("context", "further"), [(8000, 100), (790, 90), (760, 60), (740, 0), (600, 0)])
def test_a_further_part_fits_the_window_or_is_not_asked_for(context: int, further: int) -> None:
    parts = Parts([Token("Il forno tie"), CUT], [Token("ne."), STOP])
    _, end = play(parts, Limits(context, 500, 2))
    assert [asked.answer_tokens for asked in parts.asked[1:]] == ([further] if further else [])
    assert end.finish_reason == ("stop" if further else "length")


def test_what_a_server_counts_weighs_where_it_is_more() -> None:
    cut = Spoken("scripted", "m", "length", 7800, 100)
    parts = Parts([Token("Il forno tie"), cut], [Token("ne."), STOP])
    assert play(parts)[1] == cut


def test_the_sum_of_the_parts_never_leaves_the_window() -> None:
    parts = many_parts()
    limits = Limits(1000, 500, 4)
    play(parts, limits)
    for number, asked in enumerate(parts.asked):
        assert 500 + 100 * number + asked.answer_tokens <= limits.context_tokens


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("Il forno tiene sei ore. " * 3, True),
        ("Certo. " + "uno due tre quattro cinque sei sette " * 4, True),
        ("no " * 12, True),
        ("no " * 4, False),
        ("Il forno tiene sei ore. La farina arriva a marzo. Il forno tiene sei ore.", False),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |", False),
        ("", False),
    ],
)
def test_an_answer_that_goes_round_in_circles_is_known(text: str, loops: bool) -> None:
    assert is_looping(text) is loops


def test_an_answer_that_goes_round_in_circles_is_not_gone_on_with() -> None:
    parts = Parts([Token("Il forno tiene sei ore. " * 4), CUT], [Token("mai"), STOP])
    assert play(parts)[1] == CUT
    assert len(parts.asked) == 1


@pytest.mark.parametrize(
    ("said", "pieces", "whole"),
    [
        ("Il forno tie", ["ne"], "Il forno tiene"),
        ("Il forno ", ["tiene"], "Il forno tiene"),
        ("Il forno ", [" tiene"], "Il forno tiene"),
        ("Il forno", [" tiene"], "Il forno tiene"),
        ("Uno.\n", ["\n\nDue."], "Uno.\n\nDue."),
        ("Il forno tiene la temperatura", ["tiene la temp", "eratura sei ore"], None),
        ("Il forno tiene la temperatura", ["Il forno tiene la temperatura", " sei ore"], None),
        ("Il forno tiene la temperatura", list("Il forno tiene la temperatura sei ore"), None),
        ("La spesa è la", ["la spesa"], "La spesa è lala spesa"),
    ],
)
def test_what_is_said_twice_is_shown_once(said: str, pieces: list[str], whole: str | None) -> None:
    assert joined(said, *pieces) == (whole or "Il forno tiene la temperatura sei ore")


def test_another_answer_is_not_joined_to_the_first() -> None:
    said = "Il forno a legna tiene la temperatura per sei ore intere, anche"
    other = "Il forno a legna tiene la temperatura per quattro ore e poi va spento."
    parts = Parts([Token(said), CUT], [*map(Token, other), STOP])
    assert play(parts) == (said, CUT)
    assert parts.closed == 2


@given(words, words, st.lists(st.integers(0, 60), max_size=5))
def test_where_a_further_part_is_cut_changes_nothing(said: str, more: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(more)) for cut in cuts), len(more)]
    whole = joined(said, *(more[start:end] for start, end in pairwise(places)))
    assert whole == joined(said, more)
    assert whole.startswith(said)


@given(words.filter(str.strip), st.text("xyz ", min_size=1, max_size=40))
def test_what_shares_nothing_is_joined_as_it_is(said: str, more: str) -> None:
    assert joined(said.rstrip(), more) == said.rstrip() + more


def test_the_words_that_ask_to_go_on_name_the_last_ones_in_each_language() -> None:
    said = "x" * 100 + " e il forno <|im_end|> tiene la temperatura"
    for language, begins in (("it", "La tua"), ("en", "Your"), ("pt", "A tua")):
        prompt = Prompt("?", language, (), (), grounded=False)
        asked = WRITER.go_on(prompt, said)
        assert asked.startswith(begins)
        assert "tiene la temperatura" in asked
        assert "<|" not in asked
        assert "xx" not in asked
    assert len(list((PROMPTS / "chat").glob("go_on.*"))) == 3
