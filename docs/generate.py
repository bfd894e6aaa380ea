"""Write the documents that come from the code; with `--check`, fail where they are stale.

Whole files, and in files of prose the blocks between `<!-- NAME: written by ... -->` and `<!-- /NAME -->`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

DOCS = Path(__file__).parent
for _name in [name for name in os.environ if name.startswith("CERVELLA_")]:
    del os.environ[_name]  # no setting of the machine reaches a document
os.environ["CERVELLA_LANGUAGE"] = "en"  # the documents are English, whoever writes them
os.environ["TERMINAL_WIDTH"] = os.environ["COLUMNS"] = "100"

import yaml  # noqa: E402 - after the language is set
from fastapi import FastAPI  # noqa: E402
from pydantic import BaseModel  # noqa: E402
from typer.main import get_command  # noqa: E402

from cervella_rag import bootstrap, errors  # noqa: E402
from cervella_rag.api.limits import COUNTED_AS_CHAT, COUNTED_AS_SEARCH  # noqa: E402
from cervella_rag.api.metrics import Metrics  # noqa: E402
from cervella_rag.cli import app  # noqa: E402
from cervella_rag.memory.redaction import RULES, meaning  # noqa: E402
from cervella_rag.resources import resource  # noqa: E402
from cervella_rag.settings import EmbedderSettings, LLMSettings, Settings  # noqa: E402

_NOTE = "<!-- Written by `make docs`; change the code, not this file. -->\n"
_ALERTS = DOCS.parent / "docker" / "alerts.yml"


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
    """Return docs/errors.md: every error with its code, HTTP status, exit code, meaning and words."""
    with (resource("prompts") / "messages.toml").open("rb") as file:
        said = tomllib.load(file)["errors"]
    rows = [
        f"`{one.code}` | {one.status} | {one.exit_code} | {one.__doc__} | {_cell(said[one.code]['en'])}"
        for one in _leaves(errors.CervellaError)
    ]
    table = _table("code | HTTP | exit | meaning | what she says, and what to do", rows)
    return f"{_NOTE}\n# Errors\n\n{table}\n"


def _leaves(kind: type[errors.CervellaError]) -> list[type[errors.CervellaError]]:
    children = kind.__subclasses__()
    return [leaf for child in children for leaf in _leaves(child)] if children else [kind]


def rules() -> str:
    """Return the redaction rules, in their order."""
    return _table("rule | takes out", [f"`{rule}` | {_cell(meaning(rule))}" for rule in RULES])


def operations(door: FastAPI) -> str:
    """Return every HTTP operation: what it does, takes and gives, and which limit it spends."""
    schema, rows = door.openapi(), []
    spent = _limits(door)
    for path, methods in schema["paths"].items():
        for method, told in methods.items():
            done = told["description"].split("\n\n")[0]
            cells = (done, _taken(told), _given(told), spent.get((path, method.upper()), ""))
            rows.append(" | ".join([f"`{method.upper()} {path}`", *map(_cell, cells)]))
    return _table("operation | does | takes | gives | counts as", rows)


def _limits(door: FastAPI) -> dict[tuple[str, str], str]:
    """Return which limit of a key each route spends, by path and method."""
    names = {COUNTED_AS_CHAT.dependency: "answer", COUNTED_AS_SEARCH.dependency: "search"}
    return {
        (route.path, method): names[depends.dependency]
        for part in door.router.routes
        for route in getattr(part, "effective_route_contexts", list)()
        for method in route.methods
        for depends in route.dependencies
        if depends.dependency in names
    }


def _taken(told: dict[str, Any]) -> str:
    body = told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    names = [f"`{one['name']}`" for one in told.get("parameters", []) if one["in"] == "query"]
    return ", ".join([*([f"`{_shape(body)}`"] if body else []), *names])


def _given(told: dict[str, Any]) -> str:
    status, answer = next((code, one) for code, one in told["responses"].items() if code.startswith("2"))
    content = answer.get("content", {})
    shape = _shape(content.get("application/json", {}).get("schema", {}))
    kind = f"`{shape}`" if shape else ", ".join(kind for kind in content if kind != "application/json")
    return f"{status} {kind}".strip()


def _shape(schema: dict[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def measures(metrics: Metrics) -> str:
    """Return every metric with its type, labels and meaning."""
    # The library tells labels of a metric only where something was counted; families know their own.
    rows = []
    for one in metrics._registry._collector_to_names:
        families = [one] if hasattr(one, "_labelnames") else one.collect()
        rows += [_measure(family) for family in families]
    return _table("metric | type | labels | meaning", sorted(rows))


def _measure(one: Any) -> str:
    name, kind, labels, text = (
        (one._name, one._type, one._labelnames, one._documentation)
        if hasattr(one, "_name")
        else (one.name, one.type, one._labelnames, one.documentation)
    )
    told = ", ".join(f"`{label}`" for label in labels)
    return f"`{name + ('_total' if kind == 'counter' else '')}` | {kind} | {told} | {_cell(text)}"


def alerts() -> str:
    """Return the alert rules: when each fires, and what to do."""
    groups = yaml.safe_load(_ALERTS.read_text("utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    rows = [
        f"`{rule['alert']}` | `{_cell(rule['expr'])}`{_lasting(rule)} | {_cell(_advice(rule))}"
        for rule in rules
    ]
    return _table("alert | fires where | what to do", rows)


def _lasting(rule: dict[str, Any]) -> str:
    return f" for {rule['for']}" if "for" in rule else ""


def _advice(rule: dict[str, Any]) -> str:
    return str(rule["annotations"]["summary"])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _table(head: str, rows: list[str]) -> str:
    line = "|".join("---" for _ in head.split("|"))
    return "\n".join([f"| {head} |", f"|{line}|", *(f"| {row} |" for row in rows)])


def with_blocks(file: Path, blocks: dict[str, Callable[[], str]]) -> str:
    """Return a file of prose with its blocks written anew.

    Raises:
        ValueError: The file lacks a block, or has it more than once.
    """
    text = _read(file)
    for name, write in blocks.items():
        pattern = rf"(<!-- {name}: written by `make docs` -->\n).*?(<!-- /{name} -->)"
        parts = re.split(pattern, text, flags=re.DOTALL)
        if len(parts) != 4:
            raise ValueError(f"{file} needs one block {name!r}")
        before, begin, end, after = parts
        text = f"{before}{begin}\n{write()}\n\n{end}{after}"
    return text


def documents() -> dict[str, str]:
    """Return the text of every document that comes from the code, by file name."""
    with TemporaryDirectory() as home:
        settings = Settings(
            home=Path(home), embedder=EmbedderSettings(name="none"), llm=LLMSettings(voice="memory_only")
        )
        door = bootstrap.make_app(settings)
        blocks: dict[str, dict[str, Callable[[], str]]] = {
            "privacy.md": {"rules": rules},
            "api.md": {"operations": lambda: operations(door)},
            "operations.md": {"metrics": lambda: measures(door.state.metrics), "alerts": alerts},
        }
        written = {"settings.md": settings_table(), "cli.md": commands(), "errors.md": error_table()}
        written |= {file: with_blocks(DOCS / file, named) for file, named in blocks.items()}
    return written


def main() -> int:
    """Write or check the documents; return the exit code."""
    written = documents()
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
