"""A model in this very process, by llama.cpp: the voice where there is no server and no GPU.

Everything the engine does runs in one thread of its own, one thing after the other. It is asked to stop
between two batches of prompt tokens, or two tokens.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from cervella_rag.domain import Message, Spoken, Status, Window
from cervella_rag.errors import CervellaError
from cervella_rag.llm.continuation import GOING_ON, Asked
from cervella_rag.llm.llama_engine import Engine, LlamaCppOptions, Tell, require_model
from cervella_rag.llm.speech import Delta, ModelLLM, Patience
from cervella_rag.protocols import PromptWriter

_log = logging.getLogger(__name__)


class LlamaCppLLM(ModelLLM):
    """Speaks through a model file."""

    mode = "llama_cpp"

    def __init__(
        self, options: LlamaCppOptions, writer: PromptWriter, window: Window, patience: Patience
    ) -> None:
        file = options.model
        super().__init__(file.stem, file.name, writer=writer, window=window, patience=patience)
        self._options = options
        self._engine: Engine | None = None
        self._thread = ThreadPoolExecutor(1, "llama_cpp")
        self._preparing: Job | None = None

    async def _deltas(self, asked: Asked) -> AsyncGenerator[Delta]:
        if self._preparing:
            self._preparing.stop.set()
        loop = asyncio.get_running_loop()
        chunks: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        job = self._submit(asked, lambda chunk: _post(loop, chunks, chunk))
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

    def _submit(self, asked: Asked, tell: Tell) -> Job:
        stop = threading.Event()
        messages = asked.open_ended
        body = {
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            **(GOING_ON if asked.said else {}),
            "max_tokens": asked.answer_tokens,
            "temperature": 0,  # a small model is at its truest with its likeliest word
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,
        }
        return Job(stop, self._thread.submit(self._run, body, tell, stop))

    def _run(self, body: dict[str, Any], tell: Tell, stop: threading.Event) -> None:
        if not stop.is_set():
            self._ready(tell, stop).run(body, tell, stop)

    def _ready(self, tell: Tell, stop: threading.Event) -> Engine:
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
        require_model(self._options.model)
        return self._options.model.name

    def prepare(self, history: Sequence[Message] = ()) -> None:
        """Begin to evaluate what the next prompt begins with; a question that comes goes first."""
        if self._preparing:
            self._preparing.stop.set()
        messages = self._writer.prefix(history, self._window)
        self._preparing = self._submit(Asked(messages, 0), _ignore)
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


def _delta(chunk: dict[str, Any]) -> Delta | None:
    choice = (chunk.get("choices") or [{}])[0]
    if text := choice.get("delta", {}).get("content"):
        return str(text)
    if progress := chunk.get("prompt_progress"):
        return Status("reading", progress["processed"], progress["total"])
    return None


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
