"""A persona file becomes a checked value: who speaks, how, by which rules. Words are data."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cervella_rag.errors import PersonaFileError

Text = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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
    examples: list[Example]


class PersonaSheet(_Part):
    """What a persona file says."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]
    version: int = Field(ge=1)
    name: Text
    identity: Text
    goal: Text
    values: list[Text]
    partner_rules: list[Text]
    golden_rule: list[Text]
    golden_rule_then: Text
    voice: list[Text] = Field(min_length=1)
    never: list[Text]
    banned: list[Text]
    memory_rules: list[Text] = Field(min_length=1)
    mantras: list[Mantra]
    mantras_use: Text
    examples: list[Example]
    compact: Compact


@dataclass(frozen=True, slots=True)
class Persona:
    """A persona as it was read.

    Attributes:
        sheet: What the file says, with the partner's name in place.
        partner: Name of the person she works with.
        sha256: Hex digest of the file's bytes.
    """

    sheet: PersonaSheet
    partner: str
    sha256: str

    @property
    def canary(self) -> str:
        """A word of the full prompt that means nothing: whoever says it is reading the prompt aloud."""
        return f"canarino-{self.sha256[:8]}"


def read_persona(path: Path, partner: str) -> Persona:
    """Read a persona file.

    Raises:
        PersonaFileError: It is missing, is not YAML, or does not say what it must; the line is named.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8")
        sheet = PersonaSheet.model_validate(_fill(yaml.safe_load(text), partner))
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
    return Persona(sheet, partner, hashlib.sha256(content).hexdigest())


def _refuse(path: Path, line: int, reason: str, cause: Exception) -> NoReturn:
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
