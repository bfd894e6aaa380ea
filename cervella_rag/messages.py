"""Every word the program says by itself, read from one file in Italian and English."""

from __future__ import annotations

import os
import tomllib
from functools import cache
from typing import Any

from cervella_rag.resources import resource

LANGUAGES = ("it", "en")


@cache
def _catalogue() -> dict[str, Any]:
    with (resource("prompts") / "messages.toml").open("rb") as file:
        return tomllib.load(file)


def message(key: str, language: str, **details: object) -> str:
    """Return the message `key` ("section.name") with its placeholders filled.

    Raises:
        KeyError: The catalogue has no such message: a defect of the program.
    """
    section, name = key.split(".", 1)
    texts: dict[str, str] = _catalogue()[section][name]
    return texts.get(language, texts["en"]).format(**details)


def locale_language() -> str:
    """Return "en" where the locale is English, otherwise "it": the memory is Italian.

    `CERVELLA_LANGUAGE` wins over the locale. It is read here and not with the settings, because help and
    errors must speak before there are any, and where they cannot be read.
    """
    for name in ("CERVELLA_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "").lower()
        if value and value != "auto":
            return "en" if value.startswith("en") else "it"
    return "it"
