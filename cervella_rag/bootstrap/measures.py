"""What `cervella eval` measures besides retrieval: her voice, her answers, the twenty tasks."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cervella_rag.bootstrap.voices import make_assistant, make_persona, make_voices
from cervella_rag.errors import EvaluationFileError

if TYPE_CHECKING:
    from cervella_rag.chat.voices import Voices
    from cervella_rag.domain import Prompt
    from cervella_rag.evaluation.tasks import Judge, Task
    from cervella_rag.protocols import PromptWriter
    from cervella_rag.settings import Settings

Progress = Callable[[str, int, int], None]


def with_voice(settings: Settings, voice: str | None, answer_tokens: int | None = None) -> Settings:
    """Return the settings with one voice fixed, where one is named."""
    changes: dict[str, Any] = {}
    if voice:
        changes["voice"] = voice
    if answer_tokens:
        changes["answer_tokens"] = min(answer_tokens, settings.llm.answer_tokens)
    return settings.model_copy(update={"llm": settings.llm.model_copy(update=changes)})


def evaluate_persona(settings: Settings, turns: tuple[int, ...], progress: Progress) -> dict[str, Any]:
    """Measure how much a voice sounds like her, with the persona and without: `evaluation.persona`."""
    from cervella_rag.chat.bare import BareWriter
    from cervella_rag.chat.prompt import PromptWriter as Writer
    from cervella_rag.evaluation.persona import ANSWER_TOKENS, CONDITIONS, hear, read_scenes, summarise
    from cervella_rag.memory.language import detect_language
    from cervella_rag.resources import resource
    from cervella_rag.templates import Templates

    short = with_voice(settings, None, ANSWER_TOKENS)
    templates, persona = Templates(resource("prompts")), make_persona(settings)
    hers = Writer(persona, templates, settings.llm.memory_tokens, settings.persona.examples)
    writers: dict[str, PromptWriter] = {"persona": hers, "bare": BareWriter(hers)}
    scenes = read_scenes(persona(), turns)
    total = len(scenes) * len(CONDITIONS)
    done = 0

    def counted(speak: Callable[[Prompt], Awaitable[str]]) -> Callable[[Prompt], Awaitable[str]]:
        async def said(prompt: Prompt) -> str:
            nonlocal done
            answer = await speak(prompt)
            done += 1
            progress("answers", done, total)
            return answer

        return said

    async def run() -> dict[str, Any]:
        heard = []
        for condition in CONDITIONS:
            voices = make_voices(short, writers[condition], templates, persona)
            try:
                speak = counted(_speaker(voices))
                heard += await hear(scenes, condition, speak, persona(), detect_language)
            finally:
                await voices.aclose()
        return summarise(heard)

    who = f"{persona().sheet.id}/{persona().sheet.version}"
    return {"voice": settings.llm.voice, "persona": who, "sha256": persona().sha256, **asyncio.run(run())}


def _speaker(voices: Voices) -> Callable[[Prompt], Awaitable[str]]:
    from cervella_rag.domain import Token, VoiceEvent

    async def speak(prompt: Prompt) -> str:
        events: AsyncGenerator[VoiceEvent] = voices.stream(prompt)
        async with aclosing(events):
            return "".join([event.text async for event in events if isinstance(event, Token)])

    return speak


def evaluate_answers(settings: Settings, file: Path, progress: Progress) -> dict[str, Any]:
    """Measure answers on an evaluation file. See `evaluation.answers`."""
    from cervella_rag.evaluation.answers import evaluate_answers as evaluate
    from cervella_rag.evaluation.answers import read_asked
    from cervella_rag.memory.language import detect_language

    asked = read_asked(file)

    async def run() -> dict[str, Any]:
        assistant = make_assistant(settings)
        try:
            return await evaluate(
                asked,
                lambda question: assistant.reply(question, keep=False),
                detect_language,
                lambda done, total: progress("answers", done, total),
            )
        finally:
            await assistant.aclose()

    return {"file": file.name, "voice": settings.llm.voice, **asyncio.run(run())}


def evaluate_tasks(
    settings: Settings, folder: Path, judge_voice: str | None, progress: Progress
) -> dict[str, Any]:
    """Ask the twenty tasks; a model marks them where one is named. See `evaluation.tasks`."""
    from cervella_rag.evaluation.tasks import evaluate_tasks as evaluate
    from cervella_rag.evaluation.tasks import read_tasks

    tasks = read_tasks(folder)

    async def run() -> dict[str, Any]:
        assistant = make_assistant(settings)
        judging = make_judge(settings, judge_voice) if judge_voice else None
        try:
            return await evaluate(
                tasks,
                lambda question: assistant.reply(question, keep=False),
                judging and judging[0],
                lambda done, total: progress("answers", done, total),
            )
        finally:
            await assistant.aclose()
            if judging:
                await judging[1].aclose()

    return {"voice": settings.llm.voice, "judge": judge_voice, **asyncio.run(run())}


def make_judge(settings: Settings, voice: str) -> tuple[Judge, Voices]:
    """Return what marks an answer by the rubric, and the voice to close after it."""
    from cervella_rag.chat.bare import Verbatim
    from cervella_rag.domain import Prompt
    from cervella_rag.evaluation.tasks import read_marks
    from cervella_rag.resources import resource
    from cervella_rag.templates import Templates

    templates = Templates(resource("prompts"))

    voices = make_voices(with_voice(settings, voice), Verbatim(), templates, make_persona(settings))
    speak = _speaker(voices)

    async def judge(task: Task, answer: str) -> Mapping[str, int] | None:
        text = templates.render(
            "evaluation/judge.en.md.j2",
            question=task.question,
            true=json.dumps(task.true, ensure_ascii=False) if task.true else "",
            answer=answer,
        )
        return read_marks(await speak(Prompt(text, "en", (), (), grounded=False)))

    return judge, voices


def read_answers(folder: Path, against: Path | None) -> tuple[str, dict[str, str]]:
    """Return the answers to set beside a run's: another run's, or those the tasks expect; and whose.

    Raises:
        EvaluationFileError: They cannot be read.
    """
    from cervella_rag.evaluation.tasks import read_tasks

    if against is None:
        return "expected", {task.id: task.expected for task in read_tasks(folder)}
    try:
        results = json.loads(against.read_text("utf-8"))["results"]
        return str(against), {result["id"]: result["answer"] for result in results}
    except OSError as error:
        raise EvaluationFileError(path=str(against), reason=error.strerror) from error
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationFileError(path=str(against), reason=repr(error)) from error


def write_sheet(
    report: Mapping[str, Any], other: tuple[str, Mapping[str, str]], file: Path, language: str
) -> Path:
    """Write a blind sheet as one HTML file, and who is who beside it; return the latter.

    Args:
        report: What `evaluate_tasks` returned.
        other: What its answers are set beside. See `read_answers`.
        file: The sheet.
        language: "it" or "en".

    Raises:
        EvaluationFileError: The sheet cannot be written.
    """
    from cervella_rag.evaluation.sheet import key_of, pair_answers
    from cervella_rag.messages import message
    from cervella_rag.resources import resource
    from cervella_rag.templates import Templates

    name, answers = other
    questions = {result["id"]: result["question"] for result in report["results"]}
    mine = {result["id"]: result["answer"] for result in report["results"]}
    words = {name: message(f"cli.sheet_{name}", language) for name in _SHEET_WORDS}
    key = file.with_suffix(".key.json")
    try:
        pairs = pair_answers(questions, mine, answers, seed=secrets.randbits(64))
        page = Templates(resource("prompts")).render(
            "evaluation/sheet.html.j2", pairs=pairs, words=words, language=language
        )
        file.write_text(page, "utf-8")
        key.write_text(json.dumps(key_of(pairs, str(report["voice"]), name), indent=1), "utf-8")
    except OSError as error:
        raise EvaluationFileError(path=str(file), reason=error.strerror) from error
    return key


_SHEET_WORDS = ("title", "how", "tie", "gap", "finish", "result")


def count_costs(settings: Settings) -> dict[str, Any]:
    """Return what the answers cost. See `chat.costs`."""
    from cervella_rag.bootstrap.voices import conversations_file
    from cervella_rag.chat.conversations import SQLConversationStore
    from cervella_rag.chat.costs import count_costs as count

    usage = asyncio.run(SQLConversationStore(conversations_file(settings)).usage())
    return count(usage, **settings.costs.model_dump())
