"""Jinja2 behind one seam: templates from prompts/, sandboxed, with mistakes told by file and line."""

from __future__ import annotations

from functools import cached_property
from inspect import ismethod
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cervella_rag.errors import TemplateFileError
from cervella_rag.marks import escape_marks, on_one_line

_MISTAKES = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, OSError, RecursionError)
"""What a file that cannot be read, an expression or a template in itself can raise."""

_TEMPLATE_FRAMES = ("top-level template code", "template")
"""How Jinja names the frames it rewrites; the second is a macro's."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """A template shows values; it calls no method of theirs, since a pydantic model would even unpickle."""

    def is_safe_callable(self, obj: object) -> bool:
        return not ismethod(obj) and super().is_safe_callable(obj)


class Templates:
    """Renders templates of one folder.

    Args:
        folder: Where they are; a name is relative to it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def _environment(self) -> Environment:
        environment = _Sandbox(
            loader=FileSystemLoader(self._folder),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters.update(quoted=quoted, plain=on_one_line)
        return environment

    def render(self, name: str, **values: object) -> str:
        """Return the text, without blank space around it.

        Raises:
            TemplateFileError: The template is missing or has a mistake; file and line are named.
        """
        try:
            return self._environment.get_template(name).render(values).strip()
        except _MISTAKES as error:
            reason = str(error.message if isinstance(error, TemplateError) else error)
            raise TemplateFileError(
                path=str(self._folder / name), line=_line(error), reason=reason
            ) from error


def _line(error: Exception) -> int:
    """Return the template's line: Jinja puts it in a syntax error, or in the last frame it rewrote."""
    if number := getattr(error, "lineno", None):
        return int(number)
    found, frame = 0, error.__traceback__
    while frame:
        if frame.tb_frame.f_code.co_name in _TEMPLATE_FRAMES:
            found = frame.tb_lineno
        frame = frame.tb_next
    return found


def quoted(text: str) -> str:
    """Return `text` as a markdown quote; bracketed numbers in it must not pass for citations."""
    lines = escape_marks(text).split("\n")
    return "\n".join(f"> {line}".rstrip() for line in lines)
