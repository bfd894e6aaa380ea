"""A persona file becomes a checked value: who speaks, how, by which rules. Words are data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cervella_rag.errors import PersonaFileError

Text = Annotated[str, Field(min_length=1)]
Language = Literal["it", "en", "pt"]


CANARY = "canarino-"
"""How every persona's canary begins."""

_MOST_BYTES = 200_000
"""Far above any persona a model could be told; a larger file is none."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Shape = TypeVar("Shape", bound=_Part)


class Mantra(_Part):
    """A saying and its moment."""

    say: Text
    when: Text


class Example(_Part):
    """How the voice sounds: what is said to her, and what she answers."""

    user: Text
    answer: Text


class Compact(_Part):
    """The same person in few words, for a small model."""

    identity: Text
    rules: list[Text] = Field(min_length=1)
    examples: list[Example] = []


class Situation(StrEnum):
    """What a question can ask of a voice besides a fact."""

    IDENTITY = "identity"
    DISSENT = "dissent"
    URGENCY = "urgency"
    SUCCESS = "success"
    TROUBLE = "trouble"
    UNKNOWN = "unknown"
    PLANNING = "planning"
    SMALL_TALK = "small_talk"


class VoiceExample(Example):
    """An example of the voice for one situation, in one language."""

    situation: Situation
    language: Language


class _VoiceExamples(_Part):
    examples: list[VoiceExample]


class PersonaSheet(_Part):
    """What a persona file says.

    `introduction` holds the words with which she says who she is, by language; `anchor` a short reminder of
    the voice that ends a prompt, by language; `written_in` is the language of everything else.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]
    version: int = Field(ge=1)
    name: Text
    written_in: Language = "it"
    languages: list[Language] = Field(["it"], min_length=1)
    gender: Literal["female", "male", "unstated"] = "unstated"
    identity: Text
    relation: Text | None = None
    goal: Text | None = None
    limits: list[Text] = []
    introduction: dict[Language, Text] = {}
    anchor: dict[Language, Text] = {}
    values: list[Text] = []
    partner_rules: list[Text] = []
    golden_rule: list[Text] = []
    golden_rule_then: Text | None = None
    voice: list[Text] = Field(min_length=1)
    never: list[Text] = []
    banned: list[Text] = []
    memory_rules: list[Text] = []
    mantras: list[Mantra] = []
    mantras_use: Text | None = None
    examples: list[Example] = []
    compact: Compact


@dataclass(frozen=True, slots=True)
class Persona:
    """A persona as it was read.

    Attributes:
        sheet: What the file says, with the partner's name in place.
        partner: Name of the person she works with.
        sha256: Hex digest of the file's bytes, and of those of its examples.
        examples: How the voice sounds in each situation: `NAME.examples.yaml` beside the file, if any.
        sheet_sha256: Hex digest of the file's bytes alone.
    """

    sheet: PersonaSheet
    partner: str
    sha256: str
    examples: tuple[VoiceExample, ...] = ()
    sheet_sha256: str = ""

    @property
    def canary(self) -> str:
        """A word of the full prompt that means nothing: whoever says it is reading the prompt aloud.

        Of the sheet alone: a new example must not change the beginning of every prompt.
        """
        return f"{CANARY}{(self.sheet_sha256 or self.sha256)[:8]}"

    def introduction(self, language: str) -> str:
        """Return the words with which she says who she is; in her own language where there are none."""
        known: dict[str, str] = {str(name): words for name, words in self.sheet.introduction.items()}
        return known.get(language) or known.get(self.sheet.written_in) or f"{self.sheet.name}."


def examples_file(path: Path) -> Path:
    """Return where the examples of a persona file are."""
    return path.with_suffix(".examples.yaml")


def read_persona(path: Path, partner: str) -> Persona:
    """Read a persona file and, where there is one, the file of its examples.

    Raises:
        PersonaFileError: One of them cannot be read or does not say what it must; the line is named.
    """
    sheet, content = _read(path, PersonaSheet, partner)
    digest = hashlib.sha256(content).hexdigest()
    examples: tuple[VoiceExample, ...] = ()
    if (beside := examples_file(path)).is_file():
        found, more = _read(beside, _VoiceExamples, partner)
        examples, content = tuple(found.examples), content + more
    return Persona(sheet, partner, hashlib.sha256(content).hexdigest(), examples, digest)


def check_sheet(data: object) -> PersonaSheet:
    """Return a persona that came in another form than a file of ours; the partner's place stays open.

    Raises:
        ValidationError: It does not say what it must.
    """
    return PersonaSheet.model_validate(data)


def check_examples(data: object) -> list[VoiceExample]:
    """Return examples that came in another form than a file of ours.

    Raises:
        ValidationError: They do not say what they must.
    """
    return _VoiceExamples.model_validate({"examples": data}).examples


def write_sheet(sheet: PersonaSheet) -> str:
    """Return a persona as the text of a file."""
    return yaml.safe_dump(sheet.model_dump(mode="json"), allow_unicode=True, sort_keys=False, width=108)


def write_examples(examples: Sequence[VoiceExample]) -> str:
    """Return examples as the text of the file beside a persona's."""
    data = {"examples": [example.model_dump(mode="json") for example in examples]}
    return yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=108)


def _read(path: Path, shape: type[Shape], partner: str) -> tuple[Shape, bytes]:
    try:
        content = path.read_bytes()
        if len(content) > _MOST_BYTES:
            _refuse(path, 0, f"{len(content)} bytes, at most {_MOST_BYTES}", None)
        text = content.decode("utf-8")
        return shape.model_validate(_fill(yaml.safe_load(text), partner)), content
    except OSError as error:
        _refuse(path, 0, error.strerror or str(error), error)
    except UnicodeDecodeError as error:
        _refuse(path, 0, "not UTF-8", error)
    except yaml.MarkedYAMLError as error:
        _refuse(path, error.problem_mark.line + 1 if error.problem_mark else 0, str(error.problem), error)
    except yaml.YAMLError as error:
        _refuse(path, 0, str(error), error)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        _refuse(path, _line_of(text, first["loc"]), f"{place}: {first['msg']}", error)
    except (ValueError, LookupError, RecursionError) as error:  # a date like 2026-13-45, a list in itself
        _refuse(path, 0, str(error), error)


def _refuse(path: Path, line: int, reason: str, cause: Exception | None) -> NoReturn:
    raise PersonaFileError(path=str(path), line=line, reason=reason) from cause


def _fill(value: Any, partner: str) -> Any:
    """Put the partner's name into every text; after parsing, so that no name can change the structure."""
    match value:
        case str():
            return value.replace("{partner}", partner)
        case list():
            return [_fill(item, partner) for item in value]
        case dict():
            return {key: _fill(item, partner) for key, item in value.items()}
        case _:
            return value


def _line_of(text: str, location: tuple[int | str, ...]) -> int:
    """Return the 1-based line of the deepest part of `location` that the file has."""
    node, line = yaml.compose(text, Loader=yaml.SafeLoader), 1
    for step in location:
        if isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == str(step)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
        else:
            node = None
        if node is None:
            break
        line = node.start_mark.line + 1
    return line
