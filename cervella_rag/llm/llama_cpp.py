"""A model in this very process, by llama.cpp: the voice where there is no server and no GPU.

Everything the engine does runs in one thread of its own, one thing after the other. It is asked to stop
between two batches of prompt tokens, or two tokens. What it knows of the persona is kept on disk, so
that a new process need not read it again.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import logging
import os
import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from cervella_rag.domain import Message, Prompt, Spoken, Status, VoiceEvent, Window
from cervella_rag.errors import (
    CervellaError,
    ExtraMissingError,
    ModelFileError,
    VoiceRefusedError,
    VoiceUnavailableError,
)
from cervella_rag.llm.speech import Delta, Patience, Speaker, one_line, speak
from cervella_rag.protocols import PromptWriter

if TYPE_CHECKING:
    import xllamacpp

_log = logging.getLogger(__name__)

_GGUF = b"GGUF"
_CACHE_MEBIBYTES = 256
"""Room for what other conversations have had evaluated; Qwen2.5-1.5B needs 28 KiB a token."""

_SLOT_SECONDS = 30.0


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


class LlamaCppLLM:
    """Speaks through a model file."""

    mode = "llama_cpp"

    def __init__(
        self, options: LlamaCppOptions, writer: PromptWriter, window: Window, patience: Patience
    ) -> None:
        self.model = options.model.stem
        self._options = options
        self._writer = writer
        self._window = window
        self._patience = patience
        self._engine: Engine | None = None
        self._thread = ThreadPoolExecutor(1, "llama_cpp")
        self._preparing: Job | None = None

    @property
    def _speaker(self) -> Speaker:
        return Speaker(self.mode, self.model, self._options.model.name)

    def stream(self, prompt: Prompt) -> AsyncGenerator[VoiceEvent]:
        """See `LLM`."""
        messages = self._writer.messages(prompt, self._window)
        return speak(lambda: self._deltas(messages), self._speaker, self._patience)

    async def _deltas(self, messages: Sequence[Message]) -> AsyncGenerator[Delta]:
        if self._preparing:
            self._preparing.stop.set()
        loop = asyncio.get_running_loop()
        chunks: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        job = self._submit(messages, lambda chunk: _post(loop, chunks, chunk), self._window.answer_tokens)
        job.future.add_done_callback(lambda _: _post(loop, chunks, None))
        end = Spoken(self.mode, self.model, "incomplete")
        try:
            yield Status("loading" if self._engine is None else "reading")
            while (chunk := await chunks.get()) is not None:
                if delta := _delta(chunk):
                    yield delta
                end = _end(chunk, end)
            await asyncio.wrap_future(job.future)  # an error of the engine's thread comes out here
            if end.finish_reason != "incomplete":
                yield end
        finally:
            job.stop.set()
            job.future.cancel()  # where it has not begun

    def _submit(
        self, messages: Sequence[Message], tell: Callable[[dict[str, Any]], None], answer_tokens: int
    ) -> Job:
        stop = threading.Event()
        body = {
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "max_tokens": answer_tokens,
            "temperature": 0,  # a small model is at its truest with its likeliest word
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,
        }
        return Job(stop, self._thread.submit(self._run, body, tell, stop))

    def _run(
        self, body: dict[str, Any], tell: Callable[[dict[str, Any]], None], stop: threading.Event
    ) -> None:
        if not stop.is_set():
            self._ready(tell, stop).run(body, tell, stop)

    def _ready(self, tell: Callable[[dict[str, Any]], None], stop: threading.Event) -> Engine:
        """Load the model, and have it know the persona: from disk, or by reading it."""
        if self._engine is None:
            self._engine = Engine(self._options, self._window)
        if not self._engine.knows_prefix:
            prefix = self._writer.prefix((), self._window)
            parts = [{"role": part.role, "content": part.content} for part in prefix]
            self._engine.recall_or_read(parts, tell, stop)
        return self._engine

    async def check(self) -> str:
        """Return the file's name where it and the library are there; the model is not loaded."""
        _require(self._options.model)
        return self._options.model.name

    def prepare(self, history: Sequence[Message] = ()) -> None:
        """Begin to evaluate what the next prompt begins with; a question that comes goes first."""
        if self._preparing:
            self._preparing.stop.set()
        messages = self._writer.prefix(history, self._window)
        self._preparing = self._submit(messages, lambda _: None, 0)
        self._preparing.future.add_done_callback(_log_failure)

    def warm(self) -> None:
        """Load the model and read the persona, and wait until it is done.

        Raises:
            ModelFileError, ExtraMissingError: It cannot be loaded.
        """
        stop = threading.Event()
        self._preparing = Job(stop, self._thread.submit(self._warm, stop))
        self._preparing.future.result()

    def _warm(self, stop: threading.Event) -> None:
        self._ready(_ignore, stop)

    async def aclose(self) -> None:
        """Stop, and free the model."""
        if self._preparing:
            self._preparing.stop.set()
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        self._engine = None


@dataclass(frozen=True, slots=True)
class Job:
    """Work in the engine's thread and what stops it."""

    stop: threading.Event
    future: Future[None]


class Engine:
    """A loaded model with one conversation at a time in its cache. Not for several threads.

    Attributes:
        knows_prefix: Whether what every prompt begins with was read, or fetched from disk.

    Raises:
        ModelFileError, ExtraMissingError: It cannot be loaded.
    """

    def __init__(self, options: LlamaCppOptions, window: Window) -> None:
        _require(options.model)
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

    def run(
        self, body: dict[str, Any], tell: Callable[[dict[str, Any]], None], stop: threading.Event
    ) -> None:
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

        details = {"voice": LlamaCppLLM.mode, "place": self._options.model.name}
        try:
            self._server.handle_chat_completions(body, hear)
        except (RuntimeError, ValueError) as error:
            raise VoiceUnavailableError(**details, reason=one_line(error)) from error
        if problems:
            kind = VoiceRefusedError if problems[0].get("code") == 400 else VoiceUnavailableError
            raise kind(**details, reason=one_line(problems[0].get("message", "")))

    def recall_or_read(
        self, prefix: list[dict[str, str]], tell: Callable[[dict[str, Any]], None], stop: threading.Event
    ) -> None:
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


def _require(model: Path) -> None:
    if importlib.util.find_spec("xllamacpp") is None:
        raise ExtraMissingError(part="llama.cpp", extra="local")
    try:
        with model.open("rb") as file:
            is_gguf = file.read(len(_GGUF)) == _GGUF
    except OSError as error:
        raise ModelFileError(path=str(model), reason=error.strerror) from error
    if not is_gguf:
        raise ModelFileError(path=str(model), reason="not a GGUF file")


def _delta(chunk: dict[str, Any]) -> Delta | None:
    choice = (chunk.get("choices") or [{}])[0]
    if text := choice.get("delta", {}).get("content"):
        return str(text)
    if progress := chunk.get("prompt_progress"):
        return Status("reading", progress["processed"], progress["total"])
    return None


def _progress_only(chunk: dict[str, Any]) -> dict[str, Any]:
    return {"prompt_progress": chunk.get("prompt_progress")}


def _end(chunk: dict[str, Any], end: Spoken) -> Spoken:
    choice, usage = (chunk.get("choices") or [{}])[0], chunk.get("usage") or {}
    return Spoken(
        mode=end.mode,
        model=end.model,
        finish_reason=choice.get("finish_reason") or end.finish_reason,
        prompt_tokens=usage.get("prompt_tokens", end.prompt_tokens),
        completion_tokens=usage.get("completion_tokens", end.completion_tokens),
    )


def _post(
    loop: asyncio.AbstractEventLoop,
    chunks: asyncio.Queue[dict[str, Any] | None],
    chunk: dict[str, Any] | None,
) -> None:
    if not loop.is_closed():  # whoever asked may have left
        loop.call_soon_threadsafe(chunks.put_nowait, chunk)


def _ignore(_: dict[str, Any]) -> None:
    pass


def _log_failure(future: Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()):
        _log.warning("%s", error if isinstance(error, CervellaError) else repr(error))
