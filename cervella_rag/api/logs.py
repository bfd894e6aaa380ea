"""Logs of a server: one line an event, for people or as JSON, each with the request it belongs to.

Everything logs through the standard library; here its records become lines. No key, no question and no
answer is logged at INFO: a request is its route, its status, its time and the name of its key.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import structlog

from cervella_rag.settings import LogSettings

_FIELDS = ("route", "method", "status", "key", "milliseconds")


def configure(settings: LogSettings) -> None:
    """Send the program's records to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(_formatter(_form(settings)))
    # What libraries tell at lower levels may hold what was asked of a model.
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("cervella_rag").setLevel(settings.level)


@contextmanager
def bound(request_id: str) -> Iterator[None]:
    """Put a request's number on every line that is written for it, in its threads too."""
    with structlog.contextvars.bound_contextvars(request_id=request_id):
        yield


def _form(settings: LogSettings) -> Literal["json", "console"]:
    if settings.format != "auto":
        return settings.format
    return "console" if sys.stderr.isatty() else "json"


def _formatter(form: Literal["json", "console"]) -> logging.Formatter:
    render: list[structlog.typing.Processor]
    if form == "json":
        render = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        # The default one shows the values of local variables, and so what was asked.
        plain = structlog.dev.plain_traceback
        render = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(allow=_FIELDS),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
    )
