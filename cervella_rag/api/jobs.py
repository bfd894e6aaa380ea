"""Re-indexing from within the server: one run at a time, in a thread, with its progress."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from cervella_rag.domain import IndexReport
from cervella_rag.errors import CervellaError

_log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Job:
    """State of the last run; a new value at every step."""

    state: Literal["idle", "running", "done", "failed"] = "idle"
    job_id: str | None = None
    stage: str | None = None
    done: int = 0
    total: int = 0
    error: str | None = None
    report: IndexReport | None = None


class IndexJobs:
    """Starts runs and tells how the last one goes.

    Args:
        run: Brings the index to the state of the folders, telling its progress.
    """

    def __init__(self, run: Callable[[Progress], IndexReport]) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._watch: Callable[[Callable[[], IndexReport], threading.Event], None] | None = None
        self.last = Job()

    def start(self) -> str:
        """Start a run, or join the one that is under way; return its id."""
        with self._lock:
            if self.last.state == "running" and self.last.job_id:
                return self.last.job_id
            job_id = str(uuid.uuid4())
            self.last = Job(state="running", job_id=job_id)
        # A daemon, so that stopping the server never waits: an unpublished generation is dropped.
        threading.Thread(target=self._work, name="index", daemon=True).start()
        return job_id

    def watch(self, watch: Callable[[Callable[[], IndexReport], threading.Event], None]) -> None:
        """Let `watch` start runs too, in a thread of its own; they are told of like any other."""
        self._watch = watch

    def begin(self) -> None:
        """Start watching, if it was asked for."""
        if self._watch:
            thread = threading.Thread(
                target=self._watch, args=(self._watched_run, self._stop), name="watch", daemon=True
            )
            thread.start()

    def end(self) -> None:
        """Stop watching."""
        self._stop.set()

    def _watched_run(self) -> IndexReport:
        report = self._run(lambda stage, done, total: None)
        if self.last.state != "running":
            self.last = Job(state="done", job_id=self.last.job_id, report=report)
        return report

    def _work(self) -> None:
        try:
            report = self._run(self._progress)
        except CervellaError as error:
            self.last = replace(self.last, state="failed", error=str(error))
        except Exception:  # noqa: BLE001 - else it would be "running" for ever
            _log.exception("re-indexing failed")
            self.last = replace(self.last, state="failed", error=CervellaError().text("en"))
        else:
            self.last = replace(self.last, state="done", report=report)

    def _progress(self, stage: str, done: int, total: int) -> None:
        self.last = replace(self.last, stage=stage, done=done, total=total)
