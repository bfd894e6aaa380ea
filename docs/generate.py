"""Write the documents that come from the code; with `--check`, fail where they are stale."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
os.environ["CERVELLA_LANGUAGE"] = "en"  # the documents are English, whoever writes them
os.environ["TERMINAL_WIDTH"] = os.environ["COLUMNS"] = "100"

from pydantic import BaseModel  # noqa: E402 - after the language is set
from typer.main import get_command  # noqa: E402

from cervella_rag import errors  # noqa: E402
from cervella_rag.cli import app  # noqa: E402
from cervella_rag.settings import Settings  # noqa: E402

_NOTE = "<!-- Written by `make docs`; change the code, not this file. -->\n"


def settings_table() -> str:
    """Return docs/settings.md: every setting with its default, bounds and meaning."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    rows += _rows(Settings, "CERVELLA_")
    rows.append(
        "| `CERVELLA_LANGUAGE` | the locale | The program's own words: `it` or `en`; environment only. |"
    )
    origin = "From the environment, `.env` or `cervella.toml` in the working folder, the first that has it."
    return f"{_NOTE}\n# Settings\n\n{origin}\n\n" + "\n".join(rows) + "\n"


def _rows(model: type[BaseModel], prefix: str) -> list[str]:
    rows = []
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name}".upper()
        if isinstance(field.default, BaseModel):
            rows += _rows(type(field.default), f"{variable}__")
            continue
        default = field.default
        shown = json.dumps(default if isinstance(default, (dict, list, int, float)) else str(default))
        bounds = "".join(f" {text}." for text in filter(None, map(_bound, field.metadata)))
        rows.append(f"| `{variable}` | `{shown}` | {field.description}{bounds} |")
    return rows


def _bound(constraint: object) -> str:
    words = {"ge": "At least", "gt": "More than", "le": "At most"}
    return next((f"{words[n]} {getattr(constraint, n)}" for n in words if hasattr(constraint, n)), "")


def commands() -> str:
    """Return docs/cli.md: every command with its options."""
    parts = [f"{_NOTE}\n# Commands\n"]
    parts += _command("cervella", get_command(app))
    return "\n".join(parts)


def _command(name: str, command: Any) -> list[str]:
    lines = [f"## `{name}`\n", f"{command.help}\n"]
    for parameter in command.params:
        if parameter.name in ("help", "version"):
            continue
        names = ", ".join(f"`{option}`" for option in parameter.opts)
        lines.append(f"- {names}: {getattr(parameter, 'help', '') or ''}")
    lines.append("")
    for child_name, child in sorted(getattr(command, "commands", {}).items()):
        lines += _command(f"{name} {child_name}", child)
    return lines


def error_table() -> str:
    """Return docs/errors.md: every error with its code, HTTP status and exit code."""
    rows = ["| code | HTTP | exit | meaning |", "|---|---|---|---|"]
    for kind in _leaves(errors.CervellaError):
        rows.append(f"| `{kind.code}` | {kind.status} | {kind.exit_code} | {kind.__doc__} |")
    return f"{_NOTE}\n# Errors\n\n" + "\n".join(rows) + "\n"


def _leaves(kind: type[errors.CervellaError]) -> list[type[errors.CervellaError]]:
    children = kind.__subclasses__()
    return [leaf for child in children for leaf in _leaves(child)] if children else [kind]


def main() -> int:
    """Write or check the documents; return the exit code."""
    written = {"settings.md": settings_table(), "cli.md": commands(), "errors.md": error_table()}
    stale = [name for name, text in written.items() if _read(DOCS / name) != text]
    if "--check" in sys.argv:
        if stale:
            print(f"stale, run `make docs`: {', '.join(stale)}", file=sys.stderr)
        return bool(stale)
    for name in stale:
        (DOCS / name).write_text(written[name], "utf-8")
        print(f"wrote docs/{name}")
    return 0


def _read(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


if __name__ == "__main__":
    raise SystemExit(main())
