"""A conversation in the terminal: what is typed is a turn or a command, what is said shows as markdown."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markdown import Markdown
from rich.segment import Segment
from rich.theme import Theme

from cervella_rag.domain import Done, Event, Sources, Status, Token
from cervella_rag.messages import LANGUAGES, message
from cervella_rag.terminal import (
    MODELS,
    STAGES,
    err,
    out,
    place,
    printable,
    safe,
    say,
    show_end,
    show_sources,
)

if TYPE_CHECKING:
    from markdown_it.token import Token as MarkdownToken

    from cervella_rag.chat.assistant import Assistant
    from cervella_rag.domain import Citation, Question

_ACTIONS = ("sources", "why", "new", "help", "quit")
COMMANDS = {
    message(f"cli.command_{action}", language): action for action in _ACTIONS for language in LANGUAGES
}
"""Command to what it does; those of both languages are always understood."""

_LOOKS_LIKE_A_COMMAND = re.compile(r"/\w+")
_REFRESHES_A_SECOND = 8

# Not `out`, which leaves wrapping to the terminal: markdown is laid out for its width.
_sheet = Console(highlight=False, emoji=False, theme=Theme({"markdown.block_quote": "none"}))


class TerminalChat:
    """Shows the turns of one conversation, and what its last answer rests on.

    Args:
        assistant: Answers.
        conversation: Id of the conversation to go on with, None for a new one.

    Attributes:
        is_over: Whether the person asked to leave.
    """

    def __init__(self, assistant: Assistant, conversation: str | None = None) -> None:
        self._assistant = assistant
        self._conversation = conversation
        self._found: tuple[Citation, ...] = ()
        self._cited: tuple[Citation, ...] = ()
        self.is_over = False

    async def ask(self, question: Question) -> None:
        """Show a turn while it comes; cancelled, what was said so far stays on the screen.

        Raises:
            CervellaError: See `Assistant.stream`.
        """
        await self._show(self._assistant.stream(question, self._conversation))

    def obey(self, said: str) -> bool:
        """Do what a command says; return whether it was one."""
        action = COMMANDS.get(said.lower())
        if action is None and not _LOOKS_LIKE_A_COMMAND.fullmatch(said):
            return False
        match action:
            case "sources":
                self._show_sources()
            case "why":
                self._show_why()
            case "new":
                self._conversation, self._found, self._cited = None, (), ()
                err.print(say("chat_new"), style="dim")
            case "help":
                for each in _ACTIONS:
                    out.print(f"{say(f'command_{each}'):10}{say(f'told_{each}')}")
            case "quit":
                self.is_over = True
            case _:
                err.print(safe(say("no_command", command=said, help=say("command_help"))), style="yellow")
        return True

    async def _show(self, events: AsyncGenerator[Event]) -> None:
        found: tuple[Citation, ...] = ()
        is_shown = False
        async with aclosing(events) as turn:
            with err.status(say("doing_searching")) as waiting, _Speech() as speech:
                async for event in turn:
                    match event:
                        case Sources(found):
                            pass
                        case Status(stage) if stage in MODELS:
                            show_sources(found if not is_shown else ())  # to read while a model reads
                            is_shown = True
                        case Status(stage, done, total):
                            share = f" {done}/{total}" if total else ""
                            waiting.update(say(f"doing_{stage}") + share if stage in STAGES else "")
                        case Token(text):
                            waiting.stop()
                            speech.say(text)
                        case Done(answer):
                            waiting.stop()
                            speech.end()
                            show_end(answer)
                            self._conversation = answer.conversation_id
                            self._found, self._cited = found, answer.citations

    def _show_sources(self) -> None:
        if not self._cited:
            out.print(say("no_sources"))
        for citation in self._cited:
            out.print(f"[bold]{safe(place(citation))}[/bold]")
            if citation.headings:
                out.print(f"    [dim]{safe(' > '.join(citation.headings))}[/dim]")
            if citation.retired:
                out.print(f"    [yellow]{safe(say('retired_hit', date=citation.retired))}[/yellow]")
            for line in citation.quote.split("\n"):
                out.print(f"    {safe(line)}")
            out.print()

    def _show_why(self) -> None:
        if not self._found:
            out.print(say("no_sources"))
        cited = {citation.number for citation in self._cited}
        for citation in self._found:
            style = "bold" if citation.number in cited else "dim"
            out.print(f"[{style}]{safe(place(citation))}[/{style}]")
            out.print(f"    {safe(citation.why)}")


class _Speech:
    """What she says, laid out as it grows in a terminal; elsewhere the plain words as they come."""

    def __init__(self) -> None:
        self._text = ""
        self._live: Live | None = None

    def __enter__(self) -> _Speech:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def say(self, piece: str) -> None:
        self._text += printable(piece)
        if not _sheet.is_terminal:
            out.print(printable(piece), end="", markup=False)
        elif self._live is None:
            self._live = Live(
                _Growing(self), console=_sheet, transient=True, refresh_per_second=_REFRESHES_A_SECOND
            )
            self._live.start()

    def end(self) -> None:
        """Leave the whole of it on the screen."""
        if self._live:
            self._live.stop()
            _sheet.print(self.laid_out())
        elif self._text:
            out.print()
        self._text, self._live = "", None

    def laid_out(self) -> Markdown:
        """Return what was said so far as markdown."""
        laid_out = Markdown("", hyperlinks=False)  # a link shows where it leads
        laid_out.parsed = _parse(self._text)
        return laid_out


class _Growing:
    """The end of a speech, as much as the screen holds."""

    def __init__(self, speech: _Speech) -> None:
        self._speech = speech

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._speech.laid_out(), options, pad=False)
        for line in lines[-max(1, console.height - 2) :]:
            yield from line
            yield Segment.line()


def _parse(text: str) -> list[MarkdownToken]:
    """Read markdown; HTML is text, and a line stays a line: a quote may begin in the middle of a table."""
    tokens = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"]).parse(text)
    for token in tokens:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"
    return tokens
