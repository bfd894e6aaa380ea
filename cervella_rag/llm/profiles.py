"""Named models: one word instead of six settings. See profiles.toml."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cervella_rag.errors import InvalidSettingError
from cervella_rag.settings import LLMSettings

_FILE = Path(__file__).parent / "profiles.toml"

Thinking = Literal["none", "off", "hidden"]


class Profile(BaseModel):
    """How one model is asked.

    `thinking` is "none" for a model that cannot, "off" for one that is told not to, "hidden" for one whose
    reasoning is its point: it thinks, within the answer's tokens, and what it thought is never shown.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    model: str
    context_tokens: int = Field(ge=1024)
    answer_tokens: int = Field(700, ge=16)
    thinking: Thinking
    temperature: float = Field(ge=0, le=2)
    stop: tuple[str, ...] = ()
    license: str


@cache
def profiles() -> dict[str, Profile]:
    """Return every profile by name."""
    with _FILE.open("rb") as file:
        return {name: Profile.model_validate(entry) for name, entry in tomllib.load(file).items()}


def find_profile(name: str) -> Profile:
    """Return a profile.

    Raises:
        InvalidSettingError: There is none of that name.
    """
    try:
        return profiles()[name]
    except KeyError as error:
        known = ", ".join(profiles())
        raise InvalidSettingError(
            variable="CERVELLA_LLM__PROFILE", value=name, reason=f"there are {known}"
        ) from error


def with_profile(llm: LLMSettings) -> LLMSettings:
    """Return the settings of a voice with its profile's values where none were set by hand.

    Raises:
        InvalidSettingError: There is no such profile.
    """
    if not llm.profile:
        return llm
    profile = find_profile(llm.profile)
    values = {
        "ollama_model": profile.model,
        "context_tokens": profile.context_tokens,
        "answer_tokens": profile.answer_tokens,
        "temperature": profile.temperature,
        "stop": list(profile.stop),
        "thinks": profile.thinking == "hidden",
    }
    by_hand = llm.model_fields_set
    return llm.model_copy(update={name: value for name, value in values.items() if name not in by_hand})
