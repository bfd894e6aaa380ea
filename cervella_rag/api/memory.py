"""Exact facts over HTTP: counted or looked up in the files as they are now."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from fastapi import APIRouter, Depends, Query, Request

from cervella_rag.api.limits import COUNTED_AS_SEARCH
from cervella_rag.api.parts import COMMON, UNKNOWN
from cervella_rag.api.schemas import ExactModel, FiltersModel
from cervella_rag.memory.exact.facts import ExactFacts
from cervella_rag.memory.exact.files import LONGEST_PATH
from cervella_rag.memory.exact.patterns import LONGEST_PATTERN, Pattern

router = APIRouter(prefix="/v1/memory", responses={**COMMON, **UNKNOWN}, dependencies=[COUNTED_AS_SEARCH])


def _exact(request: Request) -> ExactFacts:
    return cast(ExactFacts, request.app.state.exact)


TheFacts = Annotated[ExactFacts, Depends(_exact)]
Path = Annotated[
    str, Query(min_length=1, max_length=LONGEST_PATH, description="Path, its end, or a bare file name.")
]


@router.get("/count")
def count(
    facts: TheFacts,
    pattern: Annotated[str, Query(min_length=1, max_length=LONGEST_PATTERN)],
    path: Annotated[str | None, Query(max_length=LONGEST_PATH, description="File or folder.")] = None,
    how: Annotated[
        Literal["word", "inside", "regex"],
        Query(description="Whole words; also within longer words; or a regular expression."),
    ] = "word",
    any_spelling: Annotated[bool | None, Query(description="Either case, with or without accents.")] = None,
) -> ExactModel:
    """Count how often something is written, in one file, a folder or the whole memory."""
    wanted = Pattern(
        pattern,
        "regex" if how == "regex" else "literal",
        any_spelling=any_spelling,
        inside=how == "inside",
    )
    return ExactModel.of(facts.count(wanted, path))


@router.get("/files")
def files(
    facts: TheFacts,
    path: Annotated[str | None, Query(max_length=LONGEST_PATH, description="Folder.")] = None,
    extension: Annotated[str | None, Query(max_length=20)] = None,
) -> ExactModel:
    """Count the files of a folder or of the whole memory, subfolders included."""
    return ExactModel.of(facts.files(path, extension))


@router.get("/exists")
def exists(facts: TheFacts, path: Path) -> ExactModel:
    """Tell whether a file or folder is there, and where files of its name are when it is not."""
    return ExactModel.of(facts.exists(path))


@router.get("/lines")
def lines(facts: TheFacts, path: Path) -> ExactModel:
    """Count the lines of a file."""
    return ExactModel.of(facts.lines(path))


@router.get("/links")
def links(facts: TheFacts, path: Path) -> ExactModel:
    """List the distinct web addresses of a file, the most cited first."""
    return ExactModel.of(facts.links(path))


@router.get("/list")
def list_records(facts: TheFacts, conditions: Annotated[FiltersModel, Query()]) -> ExactModel:
    """List the records that meet conditions, the newest first."""
    return ExactModel.of(facts.list(conditions.to_domain()))
