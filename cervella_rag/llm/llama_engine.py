"""The engine behind the voice in process: one model loaded by `xllamacpp`, one thing at a time.

What it knows of the persona is kept on disk, so that a new process need not read it again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from cervella_rag.domain import Window
from cervella_rag.errors import (
    ExtraMissingError,
    ModelFileError,
    VoiceRefusedError,
    VoiceUnavailableError,
)
from cervella_rag.llm.speech import one_line

if TYPE_CHECKING:
    import xllamacpp

_log = logging.getLogger(__name__)

_GGUF = b"GGUF"
_CACHE_MEBIBYTES = 256
"""Room for what other conversations have had evaluated; Qwen2.5-1.5B needs 28 KiB a token."""

_SLOT_SECONDS = 30.0

Tell = Callable[[dict[str, Any]], None]
"""What is told every chunk, in the engine's thread."""


@dataclass(frozen=True, slots=True)
class LlamaCppOptions:
    """How the engine is run.

    Attributes:
        model: GGUF file.
        states: Folder for what was evaluated.
        batch_tokens: Prompt tokens evaluated before it looks whether to stop.
        threads: Threads that generate; None takes one core less than there are.
    """

    model: Path
    states: Path
    batch_tokens: int
    threads: int | None


class Engine:
    """A loaded model with one conversation at a time in its cache. Not for several threads.

    Attributes:
        knows_prefix: Whether what every prompt begins with was read, or fetched from disk.

    Raises:
        ModelFileError, ExtraMissingError: It cannot be loaded.
    """

    def __init__(self, options: LlamaCppOptions, window: Window) -> None:
        require_model(options.model)
        # Read by the engine's thread pool when it is loaded: without it, threads that wait spin, and
        # generation falls to about a token a second beside any busy process.
        os.environ.setdefault("GOMP_SPINCOUNT", "0")
        self._options = options
        self.knows_prefix = False
        self._context_tokens = window.context_tokens
        self._key = secrets.token_hex(16)
        try:
            import xllamacpp  # noqa: PLC0415 - after the environment, and only where this voice speaks

            options.states.mkdir(parents=True, exist_ok=True)
            self._file = options.model.stat()
            self._server: xllamacpp.Server = xllamacpp.Server(self._parameters(xllamacpp.CommonParams()))
        except (ImportError, OSError, MemoryError) as error:
            raise ModelFileError(path=str(options.model), reason=one_line(error)) from error
        except RuntimeError as error:  # it says nothing of why
            raise ModelFileError(path=str(options.model), reason="the engine cannot load it") from error
        self._version = xllamacpp.BUILD_INFO

    def _parameters(self, parameters: xllamacpp.CommonParams) -> xllamacpp.CommonParams:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        parameters.model.path = str(self._options.model)
        parameters.n_ctx = self._context_tokens
        parameters.n_parallel = 1
        parameters.n_batch = parameters.n_ubatch = self._options.batch_tokens
        parameters.cpuparams.n_threads = self._options.threads or max(1, cores - 1)
        parameters.cpuparams_batch.n_threads = cores
        parameters.cache_ram_mib = _CACHE_MEBIBYTES
        parameters.slot_save_path = f"{self._options.states}{os.sep}"
        # It listens on a port of its own, on this machine; with a key that only this process knows.
        parameters.api_keys = [self._key]
        # Weights as they are in the file: repacked for this processor they generate an eighth faster, and
        # are there three seconds later and 600 MB larger. The trial of what fits costs another second.
        parameters.no_extra_bufts, parameters.fit_params = True, False
        parameters.ui = parameters.warmup = False
        parameters.verbosity = -1
        return parameters

    def run(self, body: dict[str, Any], tell: Tell, stop: threading.Event) -> None:
        """Generate, telling every chunk, until done or told to stop.

        Raises:
            VoiceRefusedError: It does not take the request.
            VoiceUnavailableError: It failed.
        """
        problems: list[dict[str, Any]] = []

        def hear(chunk: dict[str, Any]) -> bool:
            if "error" in chunk:
                problems.append(chunk["error"])
            elif not stop.is_set():
                tell(chunk)
            return stop.is_set()

        details = {"voice": "llama_cpp", "place": self._options.model.name}
        try:
            self._server.handle_chat_completions(body, hear)
        except (RuntimeError, ValueError) as error:
            raise VoiceUnavailableError(**details, reason=one_line(error)) from error
        if problems:
            kind = VoiceRefusedError if problems[0].get("code") == 400 else VoiceUnavailableError
            raise kind(**details, reason=one_line(problems[0].get("message", "")))

    def recall_or_read(self, prefix: list[dict[str, str]], tell: Tell, stop: threading.Event) -> None:
        """Have the prefix in the cache: from disk where it is kept, otherwise read and kept there."""
        state = f"{self._identity(prefix)}.state"
        is_kept = (self._options.states / state).exists() and self._slot("restore", state)
        if not is_kept:
            body = {"messages": prefix, "max_tokens": 0, "stream": True, "return_progress": True}
            self.run(body, lambda chunk: tell(_progress_only(chunk)), stop)
            if stop.is_set():
                return
            if self._slot("save", state):
                for old in self._options.states.glob("*.state"):
                    if old.name != state:
                        old.unlink(missing_ok=True)
        self.knows_prefix = True

    def _identity(self, prefix: list[dict[str, str]]) -> str:
        file = self._file
        parts = [self._options.model.name, file.st_size, file.st_mtime_ns, self._context_tokens]
        known = json.dumps([*parts, str(self._version), prefix], ensure_ascii=False)
        return hashlib.sha256(known.encode()).hexdigest()[:32]

    def _slot(self, action: str, state: str) -> bool:
        """Save or restore the cache. A state that cannot be used costs time, not an answer."""
        try:
            response = httpx.post(
                f"{self._server.listening_address}/slots/0",
                params={"action": action},
                json={"filename": state},
                headers={"authorization": f"Bearer {self._key}"},
                timeout=_SLOT_SECONDS,
                trust_env=False,
            )
            response.raise_for_status()
        except httpx.HTTPError as error:
            _log.warning("%s of the prepared state failed: %s", action, error)
            return False
        return True


def require_model(model: Path) -> None:
    """Make sure that the library and a model file are there, without loading either.

    Raises:
        ModelFileError, ExtraMissingError: One of them is not.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise ExtraMissingError(part="llama.cpp", extra="local")
    try:
        with model.open("rb") as file:
            is_gguf = file.read(len(_GGUF)) == _GGUF
    except OSError as error:
        raise ModelFileError(path=str(model), reason=error.strerror) from error
    if not is_gguf:
        raise ModelFileError(path=str(model), reason="not a GGUF file")


def _progress_only(chunk: dict[str, Any]) -> dict[str, Any]:
    return {"prompt_progress": chunk.get("prompt_progress")}
