"""What the command line does with personas: look one over, send one out, bring one in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cervella_rag.bootstrap.voices import persona_path
from cervella_rag.errors import PersonaFileError

if TYPE_CHECKING:
    from cervella_rag.persona.persona import Language
    from cervella_rag.settings import Settings

_LONGEST_TOKENS = 1500
"""Above it a four-billion model begins to parrot its persona, and an 8k window has little room left."""


def describe_persona(settings: Settings) -> dict[str, Any]:
    """Return what a persona is made of, and its length in tokens in both of its forms.

    Raises:
        PersonaFileError: It cannot be used; the line is named.
    """
    from cervella_rag.chat.prompt import MESSAGE_TOKENS, PromptWriter
    from cervella_rag.domain import Window
    from cervella_rag.persona.live import PersonaFile
    from cervella_rag.persona.vocabulary import count_tokens
    from cervella_rag.resources import resource
    from cervella_rag.templates import Templates
    from cervella_rag.tokens import estimate_tokens

    path = persona_path(settings)
    file = PersonaFile(path, settings.persona.partner)
    persona = file()
    writer = PromptWriter(file, Templates(resource("prompts")), settings.llm.memory_tokens)
    counted = {}
    for name, compact in (("full", False), ("compact", True)):
        told = writer.prefix((), Window(1_000_000, 16, compact))
        lengths = [count_tokens(message.content) for message in told]
        estimates = [estimate_tokens(message.content) for message in told]
        known = [length for length in lengths if length is not None]
        counted[name] = sum(known or estimates) + MESSAGE_TOKENS * len(told)
        is_true = bool(known)
    return {
        "path": str(path),
        "id": persona.sheet.id,
        "version": persona.sheet.version,
        "name": persona.sheet.name,
        "languages": list(persona.sheet.languages),
        "examples": len(persona.examples),
        "sha256": persona.sha256,
        "tokens": counted,
        "counted_by": "qwen" if is_true else "estimate",
        "too_long": counted["full"] > _LONGEST_TOKENS,
    }


def export_persona(settings: Settings, file: Path, spec: Literal["v2", "v3"]) -> None:
    """Write the persona that is asked for as a Character Card.

    Raises:
        PersonaFileError: It cannot be used, or the card cannot be written.
    """
    from cervella_rag.persona.card import export_card
    from cervella_rag.persona.persona import read_persona

    # Read with its own placeholder, so that the partner's name stays at home.
    card = export_card(read_persona(persona_path(settings), "{partner}"), spec)
    try:
        file.write_text(json.dumps(card, ensure_ascii=False, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise PersonaFileError(path=str(file), line=0, reason=error.strerror or str(error)) from error


def import_persona(settings: Settings, file: Path, language: Language, *, replace: bool) -> Path:
    """Keep a Character Card as a persona in `CERVELLA_HOME/personas`; return its file.

    Raises:
        PersonaFileError: It is no card, or a persona of that name is there and not to be replaced.
    """
    from cervella_rag.persona.card import import_card
    from cervella_rag.persona.persona import examples_file, read_persona, write_examples, write_sheet

    sheet, examples = import_card(file, language)
    path = settings.home / "personas" / f"{sheet.id}.yaml"
    if path.exists() and not replace:
        raise PersonaFileError(path=str(path), line=0, reason="it is there already (--replace)")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        examples_file(path).unlink(missing_ok=True)
        if examples:
            examples_file(path).write_text(write_examples(examples), "utf-8")
        path.write_text(write_sheet(sheet), "utf-8")
    except OSError as error:
        raise PersonaFileError(path=str(path), line=0, reason=error.strerror or str(error)) from error
    read_persona(path, settings.persona.partner)  # what was written is what can be read
    return path
