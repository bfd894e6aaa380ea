"""Folders are watched, and every burst of changes becomes one run of the indexer.

A run reads all files and does nothing where nothing changed, so what kind of change it was does not
matter: saved by renaming, a hundred files at once, a checkout. A run that fails is tried again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from watchfiles import Change, watch

from cervella_rag.domain import IndexReport, Root
from cervella_rag.errors import CervellaError

_STEP_MS = 50
"""Silence that ends a burst."""
_DEBOUNCE_MS = 400
"""Longest wait for that silence: a folder that never rests is indexed all the same."""
_RETRY_MS = 5000

_MACHINERY = frozenset({".git", ".hg", "node_modules", "__pycache__", ".venv"})

Run = Callable[[], IndexReport]


def watch_roots(
    roots: Sequence[Root],
    run: Run,
    *,
    stop: threading.Event,
    tell: Callable[[IndexReport], None],
    fail: Callable[[CervellaError], None],
) -> None:
    """Run once, then after every burst of changes under the roots, until stopped.

    Args:
        roots: What is watched; a root that is a file is watched by its folder.
        run: Brings the index to the state of the roots.
        stop: Set from another thread to end it.
        tell: Told of every run that changed something, and of the first.
        fail: Told of every run that failed; it is tried again at the next change, or in seconds.
    """
    state = _State(run, tell, fail)
    changes = watch(
        *{root.location if root.location.is_dir() else root.location.parent for root in roots},
        watch_filter=_is_memory,
        step=_STEP_MS,
        debounce=_DEBOUNCE_MS,
        rust_timeout=_RETRY_MS,
        yield_on_timeout=True,
        stop_event=stop,
        raise_interrupt=True,
    )
    state.go()
    is_first = True  # what changed between that run and the beginning of the watch is seen by the next
    for burst in changes:
        if burst or state.has_failed or is_first:
            state.go()
        is_first = False


class _State:
    """The last run: whether it failed, and so must be tried again."""

    def __init__(
        self, run: Run, tell: Callable[[IndexReport], None], fail: Callable[[CervellaError], None]
    ) -> None:
        self._run = run
        self._tell = tell
        self._fail = fail
        self._generation = -1
        self.has_failed = False

    def go(self) -> None:
        """Run, and tell how it went."""
        try:
            report = self._run()
        except CervellaError as error:
            if not self.has_failed:  # told once, not every few seconds
                self._fail(error)
            self.has_failed = True
            return
        self.has_failed = False
        if report.generation != self._generation:
            self._generation = report.generation
            self._tell(report)


def _is_memory(_: Change, path: str) -> bool:
    return _MACHINERY.isdisjoint(Path(path).parts)
