"""Is everything in place? Each part is asked, none is changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cervella_rag import bootstrap
from cervella_rag.errors import CervellaError
from cervella_rag.messages import locale_language, message

if TYPE_CHECKING:
    from cervella_rag.settings import Settings


def examine() -> list[tuple[str, bool, str]]:
    """Check each part; return its name, whether it is well, and a detail."""
    checks: list[tuple[str, bool, str]] = []

    def check(name: str, call: Callable[[], str]) -> None:
        try:
            checks.append((name, True, call()))
        except CervellaError as error:
            checks.append((name, False, error.text(locale_language())))

    try:
        settings = bootstrap.load_settings()
    except CervellaError as error:
        return [("settings", False, error.text(locale_language()))]
    checks.append(("settings", True, f"voice={settings.llm.voice}, embedder={settings.embedder.name}"))
    check("persona", lambda: _describe_persona(settings))
    checks.append(("home", *_describe_home(settings.home)))
    check("roots", lambda: ", ".join(str(root.location) for root in bootstrap.find_roots(settings)))
    check("index", lambda: _describe_index(settings))
    check("embedder", lambda: _describe_embedder(settings))
    checks.append(("voice", *_describe_voices(settings)))
    return checks


def _describe_voices(settings: Settings) -> tuple[bool, str]:
    """Return whether a voice could speak, which one, and why those before it would not."""
    try:
        states = bootstrap.voice_states(settings, locale_language())
    except CervellaError as error:
        return False, error.text(locale_language())
    passed_over: list[str] = []
    for state in states:
        if state.ready:
            hosts = [f"{host.host}: {host.detail}" for host in state.hosts] if len(state.hosts) > 1 else []
            return True, "; ".join([f"{state.mode} {state.detail}".rstrip(), *hosts, *passed_over])
        passed_over.append(f"{state.mode}: {state.detail}")
    return False, "; ".join(passed_over)


def _describe_persona(settings: Settings) -> str:
    told = bootstrap.describe_persona(settings)
    counted = message(f"cli.counted_{told['counted_by']}", locale_language())
    full, compact = told["tokens"]["full"], told["tokens"]["compact"]
    return f"{told['id']}/{told['version']}, {full} / {compact} ({counted})"


def _describe_home(home: Path) -> tuple[bool, str]:
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    is_writable = os.access(there, os.W_OK | os.X_OK)
    text = str(home) if is_writable else message("cli.not_writable", locale_language(), path=there)
    return is_writable, text


def _describe_index(settings: Settings) -> str:
    manifest = bootstrap.make_retriever(settings).reader().manifest
    return f"{manifest.documents} / {manifest.chunks} ({manifest.created})"


def _describe_embedder(settings: Settings) -> str:
    part = bootstrap.make_embedder(settings)
    if part is None:
        return "none"
    return f"{part.name} ({part.embed_query('memoria').shape[0]})"
