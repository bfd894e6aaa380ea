"""What several commands share: options, and how a result becomes JSON or a view."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

import typer

from cervella_rag.terminal import say

Shown = TypeVar("Shown")

Json = Annotated[bool, typer.Option("--json", help=say("opt_json"))]
Voice = Annotated[
    Literal["auto", "ollama", "openai", "llama_cpp", "memory_only"] | None,
    typer.Option("--voice", help=say("opt_voice")),
]


def print_json(document: Any) -> None:
    """Print a document; not through rich, which would wrap and colour what another program reads."""
    print(json.dumps(document, ensure_ascii=False, indent=2))


def show(result: Shown, view: Callable[[Shown], None], *, as_json: bool) -> None:
    """Print a result as JSON or as its view."""
    if as_json:
        print_json(result)
    else:
        view(result)
