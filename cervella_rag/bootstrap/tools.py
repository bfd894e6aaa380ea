"""What the command line does beside answering: questions from words, results as JSON, copies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cervella_rag.bootstrap.conversations import make_copies
from cervella_rag.bootstrap.index import make_enrichments, make_redactor, make_retriever, make_store
from cervella_rag.errors import InvalidRequestError

if TYPE_CHECKING:
    from cervella_rag.domain import Answer, Exact, IndexReport, Question, Retrieval, Verification
    from cervella_rag.indexing.backup import BackupReport
    from cervella_rag.memory.exact.patterns import Pattern
    from cervella_rag.retrieval.stats import Stats
    from cervella_rag.settings import Settings


def make_question(text: str, **filters: str | None) -> Question:
    """Return a question with its filters checked.

    Raises:
        InvalidRequestError: A filter cannot be used.
    """
    from pydantic import ValidationError

    from cervella_rag.api.schemas import FiltersModel
    from cervella_rag.domain import Question

    try:
        checked = FiltersModel.model_validate(filters)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidRequestError(field=str(first["loc"][0]), reason=first["msg"]) from error
    return Question(text, filters=checked.to_domain())


def search(settings: Settings, question: Question, top_k: int) -> tuple[Retrieval, bool]:
    """Return what is found, and whether a server that is running found it: see `neighbour`."""
    from cervella_rag.bootstrap.neighbour import ask_server

    if (found := ask_server(settings, question, top_k)) is not None:
        return found, True
    return make_retriever(settings).retrieve(question, top_k=top_k), False


def make_pattern(term: str, *, is_regex: bool, inside: bool, any_spelling: bool | None) -> Pattern:
    """Return what to count. See `memory.exact.patterns`."""
    from cervella_rag.memory.exact.patterns import Pattern

    return Pattern(term, "regex" if is_regex else "literal", any_spelling=any_spelling, inside=inside)


def word_exact(exact: Exact, language: str) -> str:
    """Return an exact fact in words, as an answer states it. See `chat.exact_words`."""
    from cervella_rag.chat.exact_words import state
    from cervella_rag.resources import resource
    from cervella_rag.templates import Templates

    return state(exact, Templates(resource("prompts")), language).text


def make_line_reader(settings: Settings, prompt: str, commands: Iterable[str]) -> Callable[[], str | None]:
    """Return what reads the lines of a conversation. See `line_editor`."""
    from cervella_rag.line_editor import make_line_reader as make

    redactor = make_redactor(settings)
    history = settings.home / "chat_history"
    return make(prompt, history, tuple(commands), lambda line: redactor.redact(line).text)


def outer_shape(value: Exact | IndexReport | Retrieval | Answer | Stats | Verification) -> dict[str, Any]:
    """Return a result as the HTTP door shows it, so that `--json` and the API never differ."""
    from cervella_rag.api import schemas
    from cervella_rag.domain import Answer, Exact, IndexReport, Retrieval, Verification

    match value:
        case Verification():
            return schemas.VerificationModel.model_validate(value).model_dump(mode="json")
        case Exact():
            return schemas.ExactModel.of(value).model_dump(mode="json")
        case IndexReport():
            return schemas.IndexReportModel.model_validate(value).model_dump(mode="json")
        case Retrieval():
            return schemas.SearchResponse.of(value).model_dump(mode="json")
        case Answer():
            return schemas.AnswerModel.of(value).model_dump(mode="json")
        case _:
            return schemas.StatsModel.of(value).model_dump(mode="json")


def back_up(settings: Settings, file: Path) -> BackupReport:
    """Copy index and conversations to a file. See `indexing.backup`."""
    from cervella_rag.indexing.backup import back_up as write

    enrichments = make_enrichments(settings).path
    return write(make_store(settings), make_copies(settings), file, str(settings.home), enrichments)


def restore(settings: Settings, file: Path) -> BackupReport:
    """Bring back what a backup holds. See `indexing.backup`."""
    from cervella_rag.indexing.backup import restore as read

    return read(make_store(settings), make_copies(settings), file, make_enrichments(settings))
