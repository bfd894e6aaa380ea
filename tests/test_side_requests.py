"""What chat front ends ask for themselves is told from what a person asks."""

from __future__ import annotations

import json

import pytest

from cervella_rag.api.side_requests import side_answer
from cervella_rag.domain import Message

HISTORY = """<chat_history>
USER: Quante ore tiene il forno a legna dopo lo spegnimento?
ASSISTANT: Il forno a legna tiene sei ore [1].
</chat_history>"""

OPEN_WEBUI = (
    "### Task:\n{task}\n### Guidelines:\n- Be clear.\n### Output:\nJSON format: {form}\n### Chat History:\n"
)


def open_webui(task: str, form: str) -> str:
    return OPEN_WEBUI.format(task=task, form=form) + HISTORY


def asked(text: str) -> str | None:
    return side_answer([Message("user", text)])


@pytest.mark.parametrize(
    ("task", "form", "expected"),
    [
        (
            "Generate a concise, 3-5 word title with an emoji summarizing the chat history.",
            '{ "title": "your concise title here" }',
            {"title": "Quante ore tiene il forno a"},
        ),
        (
            "Generate 1-3 broad tags categorizing the main themes of the chat history.",
            '{ "tags": ["tag1", "tag2", "tag3"] }',
            {"tags": ["Spegnimento", "Forno", "Legna"]},
        ),
        (
            "Suggest 3-5 relevant follow-up questions or prompts.",
            '{ "follow_ups": ["Question 1?", "Question 2?"] }',
            {"follow_ups": []},
        ),
        (
            "Analyze the chat history to determine the necessity of generating search queries.",
            '{ "queries": ["query1", "query2"] }',
            {"queries": []},
        ),
        (
            "Gere um título conciso de 3 a 5 palavras.",
            '{ "title": "..." }',
            {"title": "Quante ore tiene il forno a"},
        ),
    ],
)  # fmt: skip
def test_open_webui_is_answered_in_its_json(task: str, form: str, expected: object) -> None:
    assert json.loads(asked(open_webui(task, form)) or "") == expected


@pytest.mark.parametrize(
    "request_",
    [
        (
            "Here is the query:\n\n--------------\n\nQuante ore tiene il forno?\n\n--------------\n\nCreate"
            " a concise, 3-5 word phrase as a title for the previous query. RESPOND ONLY THE TITLE."
        ),
        (
            "Generate a very concise title (max 5 words) for a chat conversation that starts with this user"
            ' message:\n"Quante ore tiene il forno?"\nRespond ONLY with the title itself, nothing else.'
        ),
    ],
)
def test_a_bare_title_is_a_line(request_: str) -> None:
    assert asked(request_) == "Quante ore tiene il forno"


def test_a_title_for_what_was_said_before() -> None:
    conversation = [
        Message("user", "Quante ore tiene il forno?"),
        Message("assistant", "Sei [1]."),
        Message("user", "Please generate a four to five words title summarizing our conversation."),
    ]
    assert side_answer(conversation) == "Quante ore tiene il forno"


def test_instructions_may_hold_the_request() -> None:
    told = "Create a precise, descriptive title (2-5 words) for a conversation."
    assert side_answer([Message("user", "Quante ore tiene il forno?")], told) == "Quante ore tiene il forno"


@pytest.mark.parametrize(
    "question",
    [
        "Quante ore tiene il forno?",
        "Che titolo abbiamo dato alla pagina della chat?",
        "Crea un titolo per la nuova roadmap di Miracollo.",
        "### Compito\nRiassumi la sessione 140 e dimmi che cosa resta.",
        "What tags did we agree on for the conversation log?",
        "Perché <text> e </text> compaiono nel prompt?",
        "Generate a title for the landing page from the January decisions.",
    ],
)
def test_a_person_is_not_a_front_end(question: str) -> None:
    assert asked(question) is None


def test_strange_blocks_take_no_time_and_do_no_harm() -> None:
    for text in (
        "### Task:\n<text>" + "<text>" * 5000,
        "Generate " + "title 3 " * 4000,
        "### Task:\n<text></text>",
    ):
        assert asked(text) is None or asked(text)
