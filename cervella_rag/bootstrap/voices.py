"""Hits to answers: which voices, in which order, and the assistant that speaks through them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cervella_rag.bootstrap.index import make_redactor, make_retriever
from cervella_rag.errors import ExtraMissingError, InvalidSettingError

if TYPE_CHECKING:
    from cervella_rag.chat.assistant import Assistant
    from cervella_rag.chat.hosts import Hosts
    from cervella_rag.chat.voices import Voices
    from cervella_rag.domain import VoiceState, Window
    from cervella_rag.llm.models import ModelEntry
    from cervella_rag.llm.speech import Patience
    from cervella_rag.persona.live import PersonaFile
    from cervella_rag.persona.persona import Persona
    from cervella_rag.protocols import LLM, PromptWriter
    from cervella_rag.retrieval.retriever import Retriever
    from cervella_rag.settings import LLMSettings, Settings
    from cervella_rag.templates import Templates


def make_assistant(
    settings: Settings, shared: Retriever | None = None, *, stays: bool = False
) -> Assistant:
    """Return what answers.

    Args:
        settings: What is configured.
        shared: A retriever that is there already.
        stays: This process will be asked again, so a voice may prepare for it.

    Raises:
        AuthoringError: The persona cannot be used.
        ConfigurationError: The voice that is asked for cannot be.
    """
    from cervella_rag.chat.assistant import Assistant
    from cervella_rag.chat.conversations import SQLConversationStore
    from cervella_rag.chat.prompt import PromptWriter
    from cervella_rag.llm.memory_only import MemoryOnlyLLM
    from cervella_rag.memory.language import detect_language
    from cervella_rag.resources import resource
    from cervella_rag.templates import Templates

    templates, persona = Templates(resource("prompts")), make_persona(settings)
    writer = PromptWriter(persona, templates, settings.llm.memory_tokens, settings.persona.examples)
    return Assistant(
        retriever=shared or make_retriever(settings),
        voices=make_voices(settings, writer, templates, persona),
        conversations=SQLConversationStore(conversations_file(settings)),
        persona=persona,
        templates=templates,
        quoter=MemoryOnlyLLM(templates, _introduction(persona)),
        redactor=make_redactor(settings),
        answer_hits=settings.retrieval.answer_hits,
        history_turns=settings.conversations.history_turns,
        detect_language=detect_language,
        repair=settings.persona.repair,
        mark_unsupported=settings.persona.mark_unsupported,
        stays=stays,
    )


def make_persona(settings: Settings) -> PersonaFile:
    """Return the persona that is asked for.

    Raises:
        PersonaFileError: Its file cannot be used.
    """
    from cervella_rag.persona.live import PersonaFile

    return PersonaFile(persona_path(settings), settings.persona.partner)


def persona_path(settings: Settings) -> Path:
    """Return where the persona is: among one's own in `CERVELLA_HOME/personas`, or the program's."""
    from cervella_rag.resources import resource

    name = f"{settings.persona.name}.yaml"
    own = settings.home / "personas" / name
    return own if own.is_file() else resource("prompts") / "personas" / name


def _introduction(persona: Callable[[], Persona]) -> Callable[[str], str]:
    return lambda language: persona().introduction(language)


def make_voices(
    settings: Settings, writer: PromptWriter, templates: Templates, persona: Callable[[], Persona]
) -> Voices:
    """Return the voices: the one that is asked for, or all that are configured, in order."""
    from cervella_rag.chat.voices import Voices

    wanted = settings.llm.voice
    names = [wanted] if wanted != "auto" else ["ollama", "openai", "llama_cpp", "memory_only"]
    introduce = _introduction(persona)
    voices = [_make_voice(name, settings, writer, templates, introduce) for name in names]
    return Voices([voice for voice in voices if voice], settings.llm.rest_seconds)


def _make_voice(
    name: str,
    settings: Settings,
    writer: PromptWriter,
    templates: Templates,
    introduce: Callable[[str], str],
) -> LLM | None:
    """Return a voice, or None for one that nothing is configured for where `auto` may do without."""
    from cervella_rag.domain import Window
    from cervella_rag.llm.profiles import with_profile
    from cervella_rag.llm.speech import Patience

    llm = with_profile(settings.llm)
    match name:
        case "ollama":
            return _make_ollama(llm, writer)
        case "openai" if llm.openai_url:
            return _make_openai(llm, writer)
        case "openai" if llm.voice == name:
            raise InvalidSettingError(
                variable="CERVELLA_LLM__OPENAI_URL", value=None, reason=f"the voice {name!r} needs it"
            )
        case "llama_cpp" if (model := _model_file(settings)) or llm.voice == name:
            from cervella_rag.llm.llama_cpp import LlamaCppLLM
            from cervella_rag.llm.llama_engine import LlamaCppOptions

            engine = LlamaCppOptions(
                model=(model or settings.home / "models" / "demo").expanduser(),
                states=settings.home / "models" / "states",
                batch_tokens=llm.llama_cpp_batch_tokens,
                threads=llm.llama_cpp_threads,
            )
            narrow = Window(llm.llama_cpp_context_tokens, llm.answer_tokens, compact=True)
            patience = Patience(llm.first_token_seconds, llm.between_tokens_seconds)
            return LlamaCppLLM(engine, writer, narrow, patience)
        case "memory_only":
            from cervella_rag.llm.memory_only import MemoryOnlyLLM

            return MemoryOnlyLLM(templates, introduce)
    return None


def _make_ollama(llm: LLMSettings, writer: PromptWriter) -> Hosts:
    from cervella_rag.llm.ollama import OllamaLLM, OllamaOptions

    asked = OllamaOptions(
        "",
        llm.ollama_model,
        llm.ollama_keep_alive,
        llm.temperature,
        stop=tuple(llm.stop),
        thinks=llm.thinks,
    )
    window, patience = _bounds(llm, hosts=len(llm.ollama_urls))
    return _make_hosts(
        llm, llm.ollama_urls, lambda url: OllamaLLM(replace(asked, url=url), writer, window, patience)
    )


def _make_openai(llm: LLMSettings, writer: PromptWriter) -> Hosts:
    from cervella_rag.llm.openai_compatible import OpenAICompatibleLLM, OpenAIOptions

    extra = {**_thinking(llm), **({"stop": llm.stop} if llm.stop else {})}
    key = llm.openai_key.get_secret_value()
    asked = OpenAIOptions("", llm.openai_model, key, llm.temperature, extra)
    window, patience = _bounds(llm, hosts=len(llm.openai_urls))
    return _make_hosts(
        llm,
        llm.openai_urls,
        lambda url: OpenAICompatibleLLM(replace(asked, url=url), writer, window, patience),
    )


def _bounds(llm: LLMSettings, hosts: int) -> tuple[Window, Patience]:
    """Return window and patience; where there is another host, it is the second try."""
    from cervella_rag.domain import Window
    from cervella_rag.llm.speech import Patience

    return (
        Window(llm.context_tokens, llm.answer_tokens, llm.compact),
        Patience(llm.first_token_seconds, llm.between_tokens_seconds, attempts=1 if hosts > 1 else 2),
    )


def _make_hosts(llm: LLMSettings, urls: Sequence[str], make: Callable[[str], LLM]) -> Hosts:
    from cervella_rag.chat.hosts import Hosts, Rest

    return Hosts(
        ((_without_password(url), make(url)) for url in urls),
        Rest(llm.rest_seconds, llm.longest_rest_seconds),
    )


def _without_password(url: str) -> str:
    """Return an address as it may be shown."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _thinking(llm: LLMSettings) -> dict[str, Any]:
    """Return what is added to a request: by default hybrid models are asked not to think."""
    if llm.thinks and "openai_extra" not in llm.model_fields_set:
        return {}
    return llm.openai_extra


def _model_file(settings: Settings) -> Path | None:
    from cervella_rag.llm.models import fetched

    return settings.llm.llama_cpp_model or fetched(settings.home / "models")


def conversations_file(settings: Settings) -> Path:
    """Return where conversations are kept."""
    return settings.home / "conversations.sqlite"


def voice_states(settings: Settings, language: str) -> tuple[VoiceState, ...]:
    """Return every voice's health, in the order in which they would be asked."""

    async def ask() -> tuple[VoiceState, ...]:
        voices = make_assistant(settings).voices
        try:
            return await voices.states(language)
        finally:
            await voices.aclose()

    return asyncio.run(ask())


def find_model(name: str) -> ModelEntry:
    """Return a model that can be fetched. See `llm.models`."""
    from cervella_rag.llm.models import find_model as find

    return find(name)


def fetch_model(settings: Settings, name: str, progress: Callable[[str, int, int], None]) -> Path:
    """Fetch a model; where the in-process voice is installed and will speak, let it read its persona."""
    from cervella_rag.llm.llama_cpp import LlamaCppLLM
    from cervella_rag.llm.models import ModelFetcher

    file = ModelFetcher(settings.home / "models", progress).fetch(name, find_model(name))
    voices = make_assistant(settings).voices.voices
    voice = next((voice for voice in voices if isinstance(voice, LlamaCppLLM)), None)
    if voice:
        progress("prepare", 0, 1)
        try:
            voice.warm()
        except ExtraMissingError:
            return file  # the file is there for another program; `ask` tells what is missing
        finally:
            asyncio.run(voice.aclose())
        progress("prepare", 1, 1)
    return file
