"""A persona travels as a Character Card: JSON that other programs read and write.

A card written here holds the whole sheet under `extensions.cervella`, so that it comes back as it went;
its plain fields say the same for programs that know nothing of it. A card from elsewhere becomes a sheet
as well as its fields allow.

Reference: github.com/malfoyslastname/character-card-spec-v2 (spec_v2.md) and
github.com/kwaroran/character-card-spec-v3 (SPEC_V3.md).
"""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from cervella_rag.errors import PersonaFileError
from cervella_rag.persona.persona import (
    Language,
    Persona,
    PersonaSheet,
    VoiceExample,
    check_examples,
    check_sheet,
)

_MOST_BYTES = 1_000_000
_FEW = 40
"""Lines of a kind that are taken from a card: a persona is told in every prompt."""
_LINE_CHARACTERS = 2000
_EXAMPLE = re.compile(
    r"\{\{user\}\}:\s*(?P<user>.+?)\s*\{\{char\}\}:\s*(?P<answer>.+?)\s*(?=\{\{user\}\}:|\Z)", re.S
)
_START = re.compile(r"<START>", re.IGNORECASE)


class _Data(BaseModel):
    """The fields both versions share; whatever else a card holds is left alone."""

    name: str = Field(min_length=1, max_length=200)
    description: str = ""
    personality: str = ""
    scenario: str = ""
    first_mes: str = ""
    mes_example: str = ""
    system_prompt: str = ""
    post_history_instructions: str = ""
    character_version: str = ""
    extensions: dict[str, Any] = {}


class _Card(BaseModel):
    spec: Literal["chara_card_v2", "chara_card_v3"]
    data: _Data


def export_card(persona: Persona, spec: Literal["v2", "v3"] = "v3") -> dict[str, Any]:
    """Return a persona, read with the partner's name `{partner}`, as a card."""
    sheet = persona.sheet
    language = sheet.written_in
    data: dict[str, Any] = {
        "name": sheet.name,
        "description": _out(_join(sheet.identity, sheet.relation, sheet.goal), sheet),
        "personality": _out("\n".join([*sheet.values, *sheet.voice]), sheet),
        "scenario": _out(sheet.relation or "", sheet),
        "first_mes": _out(sheet.introduction.get(language, ""), sheet),
        "mes_example": "\n".join(
            f"<START>\n{{{{user}}}}: {_out(one.user, sheet)}\n{{{{char}}}}: {_out(one.answer, sheet)}"
            for one in sheet.examples
        ),
        "creator_notes": "",
        "system_prompt": _out("\n".join([*sheet.partner_rules, *sheet.never, *sheet.memory_rules]), sheet),
        "post_history_instructions": _out(sheet.anchor.get(language, ""), sheet),
        "alternate_greetings": [],
        "tags": list(sheet.languages),
        "creator": "",
        "character_version": str(sheet.version),
        "extensions": {
            "cervella": {
                "sheet": sheet.model_dump(mode="json"),
                "examples": [example.model_dump(mode="json") for example in persona.examples],
            }
        },
    }
    if spec == "v2":
        return {"spec": "chara_card_v2", "spec_version": "2.0", "data": data}
    return {"spec": "chara_card_v3", "spec_version": "3.0", "data": {**data, "group_only_greetings": []}}


def import_card(path: Path, language: Language = "it") -> tuple[PersonaSheet, tuple[VoiceExample, ...]]:
    """Return what a card's file says of a persona.

    Args:
        path: The card, JSON.
        language: What a card from elsewhere is written in; a card does not say it.

    Raises:
        PersonaFileError: It cannot be read, or is no card.
    """
    try:
        content = path.read_bytes()
        if len(content) > _MOST_BYTES:
            raise PersonaFileError(
                path=str(path), line=0, reason=f"{len(content)} bytes, at most {_MOST_BYTES}"
            )
        data = _Card.model_validate(json.loads(content.decode("utf-8"))).data
        if isinstance(own := data.extensions.get("cervella"), dict):
            return check_sheet(own.get("sheet")), tuple(check_examples(own.get("examples", [])))
        return check_sheet(_sheet(data, language)), ()
    except OSError as error:
        raise PersonaFileError(path=str(path), line=0, reason=error.strerror or str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise PersonaFileError(path=str(path), line=0, reason=f"{place}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise PersonaFileError(path=str(path), line=0, reason=str(error)[:200]) from error


def _sheet(data: _Data, language: Language) -> dict[str, Any]:
    identity = _in(data.description or data.personality or data.name, data.name)
    voice = _lines(data.personality, data.name) or [identity[:_LINE_CHARACTERS]]
    rules = _lines(data.system_prompt, data.name)
    introduction = _in(data.first_mes, data.name)
    anchor = _in(data.post_history_instructions, data.name)
    return {
        "id": _identifier(data.name),
        "version": int(data.character_version) if data.character_version.isdecimal() else 1,
        "name": data.name,
        "written_in": language,
        "languages": [language],
        "identity": identity,
        "relation": _in(data.scenario, data.name) or None,
        "voice": voice,
        "partner_rules": rules,
        "introduction": {language: introduction} if introduction else {},
        "anchor": {language: anchor[:_LINE_CHARACTERS]} if anchor else {},
        "examples": _examples(data),
        "compact": {
            "identity": identity[:_LINE_CHARACTERS],
            "rules": rules[:4] or voice[:4],
            "examples": [],
        },
    }


def _examples(data: _Data) -> list[dict[str, str]]:
    found = [match for part in _START.split(data.mes_example) for match in _EXAMPLE.finditer(part)]
    return [{key: _in(text, data.name) for key, text in one.groupdict().items()} for one in found[:5]]


def _lines(text: str, name: str) -> list[str]:
    lines = (_in(line, name).lstrip("-* ")[:_LINE_CHARACTERS] for line in text.splitlines())
    return [line for line in lines if line][:_FEW]


def _in(text: str, name: str) -> str:
    """Return a card's text with our place for the partner's name."""
    text = re.sub(r"\{\{user\}\}|<USER>", "{partner}", text, flags=re.IGNORECASE)
    return re.sub(r"\{\{char\}\}|<BOT>", lambda _: name, text, flags=re.IGNORECASE).strip()


def _out(text: str, sheet: PersonaSheet) -> str:
    return text.replace("{partner}", "{{user}}").replace(sheet.name, "{{char}}")


def _join(*texts: str | None) -> str:
    return "\n\n".join(text for text in texts if text)


def _identifier(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.lower()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "persona"
