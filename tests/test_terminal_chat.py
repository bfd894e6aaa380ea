"""`cervella chat` as a person has it: at a terminal of its own, and through pipes."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from .ollama_double import OllamaDouble, Step, Stream, piece, saying
from .page.browser import speaking
from .test_cli import QUICK, cervella

PROMPT = "you>"
CHAT = [sys.executable, "-m", "cervella_rag", "chat"]
SECONDS = 30
CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"
CONTROL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[()][A-Z0-9]|[=>78M])")
"""What a terminal is told by prompt_toolkit and rich: cursor, colours, modes; no links, no titles."""


@pytest.fixture(autouse=True)
def indexed(january: Path) -> None:
    cervella("index", january)


class Terminal:
    """A program at a terminal, typed at and read."""

    def __init__(self, child: pexpect.spawn) -> None:
        self._child = child
        self.seen = ""

    def press(self, keys: str) -> None:
        """Type."""
        self._child.send(keys)

    def enter(self, line: str) -> None:
        """Type a line."""
        self.press(line + "\r")

    def wait(self, text: str) -> str:
        """Return what comes until `text`, controls taken out."""
        while text not in (plain := CONTROL.sub("", self.seen)):
            self.seen += self._child.read_nonblocking(4096, SECONDS)
        cut = plain.index(text) + len(text)
        self.seen = plain[cut:]
        return plain[:cut]

    def end(self) -> int:
        """Wait until the program is over; return its exit code."""
        self._child.expect(pexpect.EOF, timeout=SECONDS)
        self._child.close()
        return int(self._child.exitstatus)


@contextmanager
def at_a_terminal(**environment: str) -> Iterator[Terminal]:
    env = {**os.environ, **QUICK, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **environment}
    child = pexpect.spawn(
        CHAT[0], CHAT[1:], env=env, encoding="utf-8", dimensions=(24, 100), timeout=SECONDS
    )
    try:
        terminal = Terminal(child)
        terminal.wait(PROMPT)
        yield terminal
    finally:
        child.close(force=True)


def voice(double: OllamaDouble) -> dict[str, str]:
    return {
        "CERVELLA_LLM__OLLAMA_URL": double.url,
        "CERVELLA_LLM__OLLAMA_MODEL": "m",
        "CERVELLA_LLM__VOICE": "ollama",
    }


def test_an_answer_is_laid_out_and_its_sources_and_reasons_can_be_asked_for() -> None:
    answer = saying("Il forno tiene **sei ore** [1].\n\n", "- poi <b>riposa</b>\n")
    with speaking(OllamaDouble(answer)) as double, at_a_terminal(**voice(double)) as terminal:
        terminal.enter("/sources")
        terminal.wait("No sources")
        terminal.enter("Quante ore tiene il forno?")
        shown = terminal.wait("voice: ollama")
        assert "Il forno tiene sei ore [1]." in shown
        assert " • poi <b>riposa</b>" in shown
        terminal.enter("/fonti")
        quoted = terminal.wait("90 secondi.")
        assert "[1] memoria/decisioni/20260110_SCELTA_DEL_FORNO.md, lines 10-10, 2026-01-10" in quoted
        assert "DECISIONE: il forno a legna" in quoted
        terminal.enter("/perche")
        terminal.wait("words of the question: ore, tiene, forno")


def test_ctrl_c_stops_the_answer_and_the_model_and_not_the_program() -> None:
    silent = Stream((piece("Il forno "), piece("tiene "), Step.SILENCE))
    with (
        speaking(OllamaDouble(silent, saying("Sei ore [1]."))) as double,
        at_a_terminal(**voice(double)) as terminal,
    ):
        terminal.enter("Quante ore tiene il forno?")
        terminal.wait("Il forno")
        terminal.press(CTRL_C)
        terminal.wait("Stopped. Nothing of this turn is kept.")
        terminal.wait(PROMPT)
        assert double.has_stopped.is_set()
        terminal.press("half a line" + CTRL_C)  # takes the line back
        terminal.wait(PROMPT)
        terminal.enter("Quante ore?")
        terminal.wait("Sei ore [1].")
        terminal.wait(PROMPT)
        terminal.press(CTRL_D)
        assert terminal.end() == 0
        assert len(double.bodies()) == 2


def test_lines_are_remembered_without_secrets_and_for_nobody_else(tmp_path: Path) -> None:
    with at_a_terminal() as terminal:
        terminal.enter("Quante ore tiene il forno? Scrivi a mario.rossi@posta.example")
        terminal.wait("voice: memory_only")
        terminal.wait(PROMPT)
        terminal.enter("/quit")
        assert terminal.end() == 0
    history = tmp_path / "home" / "chat_history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "mario.rossi" not in history.read_text()
    with at_a_terminal() as terminal:
        terminal.press(UP + UP)
        terminal.wait("Quante ore tiene il forno? Scrivi a [redacted:email]")


def test_a_new_conversation_forgets_the_one_before() -> None:
    answer = saying("Sei ore [1].")
    with speaking(OllamaDouble(answer)) as double, at_a_terminal(**voice(double)) as terminal:
        for line in ("Quante ore tiene il forno?", "E la farina?", "/nuova", "Quale lievito?"):
            terminal.enter(line)
            terminal.wait("Another conversation." if line == "/nuova" else "voice: ollama")
            terminal.wait(PROMPT)
        lengths = [len(body["messages"]) for body in double.bodies()]
        assert lengths[1] > lengths[0] == lengths[2]


def test_what_the_memory_holds_does_not_control_the_terminal(january: Path) -> None:
    hostile = "# T \x1b[31m\n\nzebra \x1b[2J\x1b]8;;http://x\x1b\\ \x9b \u202e [zebra](http://x.example)\n"
    (january / "\x1b[2Jzebra.md").write_text(hostile)
    cervella("index", january)
    with at_a_terminal() as terminal:
        terminal.enter("zebra")
        shown = terminal.wait("voice: memory_only")
        for command in ("/sources", "/why"):
            terminal.enter(command)
            terminal.wait("zebra.md")
            shown += terminal.wait(PROMPT)
        assert not set(shown) & set("\x1b\x9b\u202e")
        assert "http://x.example" in shown


def through_pipes(*lines: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        CHAT, input="".join(f"{line}\n" for line in lines), env={**os.environ, **QUICK},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_through_pipes_lines_come_plain() -> None:
    result = through_pipes(
        "Quante ore tiene il forno?", "", "/fonti", "/boh", "/help", "/esci", "never read"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Ecco che cosa dice la memoria.\n")
    assert "    Il forno a legna tiene la temperatura per **sei ore**" in result.stdout
    assert "/sources  the passages" in result.stdout
    assert "There is no /boh. /help tells what there is." in result.stderr
    assert "\x1b" not in result.stdout + result.stderr
    assert result.stderr.count("voice: memory_only") == 1


def test_an_error_does_not_end_the_conversation(january: Path) -> None:
    result = through_pipes("x" * 4001, "Quante ore tiene il forno?")
    assert result.returncode == 0
    assert "4001 characters" in result.stderr
    assert "sei ore" in result.stdout


def test_bytes_that_are_no_text_do_not_end_the_conversation() -> None:
    result = subprocess.run(
        CHAT, input=b"citt\xe0\nQuante ore tiene il forno?\n", env={**os.environ, **QUICK},
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert b"sei ore" in result.stdout
