"""A persona that follows its file: an edit counts from the next turn, a broken one keeps the last good."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from cervella_rag.errors import PersonaFileError
from cervella_rag.persona.persona import Persona, examples_file, read_persona

_log = logging.getLogger(__name__)

Stamp = tuple[tuple[int, int, int], ...]


class PersonaFile:
    """Reads a persona, and reads it anew when it changed.

    Args:
        path: The file; its examples are beside it.
        partner: Name of the person she works with.

    Raises:
        PersonaFileError: It cannot be read at first.

    Attributes:
        mistake: What is wrong with the file as it is now, or None; she speaks as before it then.
    """

    def __init__(self, path: Path, partner: str) -> None:
        self._path = path
        self._partner = partner
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._persona = read_persona(path, partner)
        self.mistake: PersonaFileError | None = None

    def __call__(self) -> Persona:
        """Return the persona as its file says it now, or as it last said it well."""
        with self._lock:
            if (stamp := self._look()) != self._stamp:
                self._stamp = stamp
                self._reload()
            return self._persona

    def _reload(self) -> None:
        try:
            persona = read_persona(self._path, self._partner)
        except PersonaFileError as error:
            self.mistake = error
            _log.warning("%s; version %d is kept", error, self._persona.sheet.version)
            return
        self.mistake = None
        if persona.sha256 != self._persona.sha256:
            _log.info("persona %s/%d read anew", persona.sheet.id, persona.sheet.version)
        self._persona = persona

    def _look(self) -> Stamp:
        return tuple(_stamp(path) for path in (self._path, examples_file(self._path)))


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        state = path.stat()
    except OSError:
        return 0, 0, 0
    return state.st_mtime_ns, state.st_size, state.st_ino
