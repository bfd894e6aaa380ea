"""How results look in a terminal: words from the catalogue, text from the memory printed as it is."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cervella_rag.chat.citations import cite
from cervella_rag.domain import Done, Sources, Status, Token
from cervella_rag.messages import locale_language, message

if TYPE_CHECKING:
    from cervella_rag.chat.notes import Proposal
    from cervella_rag.domain import (
        Answer,
        Citation,
        Event,
        Hit,
        IndexReport,
        Retrieval,
        Verification,
        VoiceState,
    )
    from cervella_rag.errors import CervellaError
    from cervella_rag.indexing.backup import BackupReport
    from cervella_rag.indexing.enrich import EnrichReport, Estimate
    from cervella_rag.retrieval.stats import Stats

_DIRECTIONS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

MODELS = frozenset({"ollama", "openai", "llama_cpp"})
STAGES = frozenset({"retrieved", "loading", "reading"})

out = Console(highlight=False, soft_wrap=True, emoji=False)  # ":ok:" in a memory stays what it is
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def say(key: str, **details: object) -> str:
    """Return a message of the command line in the user's language."""
    return message(f"cli.{key}", locale_language(), **details)


def printable(text: str) -> str:
    """Return `text` without what would control the terminal: escape codes, direction overrides.

    What memory files, their names and a model say is data; line feeds and tabs are all it may move.
    """
    return "".join(
        character if _is_harmless(character) else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def _is_harmless(character: str) -> bool:
    return character in "\n\t" or (
        unicodedata.category(character) not in ("Cc", "Cs") and (character not in _DIRECTIONS)
    )


def safe(text: str) -> str:
    """Return one line of `text` for printing where rich reads markup."""
    return escape(printable(text.replace("\n", " ")))


def show_error(error: CervellaError) -> None:
    """Print what went wrong and what to do."""
    text = printable(error.text(locale_language()))
    err.print(say("error", text=text), style="red", markup=False)


def speaking(states: Sequence[VoiceState]) -> str | None:
    """Return the name of the first voice with a model that could speak now."""
    return next((f"{state.mode} {state.model}" for state in states if state.ready and state.model), None)


class ProgressBars:
    """A bar for every stage of a long step; called with the stage, how far it is, and how far it goes."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(say(f"progress_{stage}"), total=total)
        self._progress.update(self._tasks[stage], completed=done, total=total)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal to a question."""
        self._progress.stop()
        yield
        self._progress.start()


@contextmanager
def progress_bar() -> Iterator[ProgressBars]:
    """Show how far a long step is, on stderr; yield what to tell it."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=err) as progress:
        yield ProgressBars(progress)


def show_report(report: IndexReport, *, dry_run: bool) -> None:
    """Print what a run of `index` did; files left out are named, by rule or by reason."""
    rules: dict[str, list[str]] = defaultdict(list)
    for skip in report.skipped:
        rules[skip.rule].append(skip.path)
    for rule, paths in rules.items():
        err.print(safe(say("skipped", rule=rule, count=len(paths))))
        for path in paths:
            err.print(f"  {safe(path)}")
    if report.refused:
        err.print(safe(say("refused", count=len(report.refused))), style="yellow")
    for refusal in report.refused:
        err.print(f"  {safe(refusal.path)}: {safe(refusal.reason)}")
    if report.redacted:
        found = ", ".join(f"{rule} {count}" for rule, count in sorted(report.redacted.items()))
        err.print(safe(say("redacted", found=found)), style="yellow")
    names = ["added", "changed", "moved", "retired", "removed", "unchanged", "embedded"]
    for name, place in report.dropped_roots.items():
        err.print(safe(say("dropped_root", name=name, place=place)), style="yellow")
    out.print(say("index_counts", **{name: getattr(report, name) for name in names}))
    if report.enriched:
        out.print(say("index_enriched", count=report.enriched))
    seconds = f"{report.took_ms / 1000:.1f}"
    totals = {name: getattr(report, name) for name in ("documents", "chunks", "generation")}
    out.print(say("would_index") if dry_run else say("indexed", seconds=seconds, **totals))


def show_forgotten(path: str, chunks: int) -> None:
    """Print what was removed for good."""
    out.print(safe(say("forgotten", path=path, chunks=chunks)))


def show_backup(done: Literal["backed_up", "restored"], file: Path, report: BackupReport) -> None:
    """Print what was copied or brought back."""
    told = {
        "path": file,
        "documents": report.documents,
        "chunks": report.chunks,
        "conversations": say("with_conversations")
        if report.has_conversations
        else say("without_conversations"),
    }
    out.print(safe(say("backed_up", **told) if done == "backed_up" else say("restored", **told)))


def show_verification(verification: Verification) -> None:
    """Print how folders and index differ, file by file."""
    if not verification.differences:
        out.print(say("verified", files=verification.files, retired=verification.retired))
        return
    out.print(say("differs", count=len(verification.differences)), style="yellow")
    for difference in verification.differences:
        problem = say(f"problem_{difference.problem}")
        out.print(safe(f"  {difference.root}: {difference.path}: {problem}"))


def show_hits(retrieval: Retrieval, *, explain: bool) -> None:
    """Print what a search found."""
    if explain:
        understood = retrieval.understood
        others = dict(understood.also)
        asked = ", ".join(
            f"{word} ({'/'.join(others[word])})" if word in others else word for word in understood.words
        )
        err.print(safe(say("understood", searched=understood.searched, words=asked)), style="dim")
    if not retrieval.hits:
        out.print(say("nothing_found"))
    elif not retrieval.enough:
        err.print(say("not_enough"), style="yellow")
    searched = retrieval.understood.searched
    for hit, citation in zip(retrieval.hits, cite(retrieval.hits, searched), strict=True):
        _show_hit(hit, citation, explain)


def _show_hit(hit: Hit, citation: Citation, explain: bool) -> None:
    chunk, metadata = hit.chunk, hit.chunk.metadata
    place = [
        say("lines", start=chunk.start_line, end=chunk.end_line),
        metadata.date or say("undated"),
        str(metadata.kind),
        *([say("session", session=metadata.session)] if metadata.session else []),
        *([metadata.project] if metadata.project else []),
        *([say("retired_hit", date=chunk.retired)] if chunk.retired else []),
        *([say("superseded_hit", path=metadata.superseded_by)] if metadata.superseded_by else []),
    ]
    out.print(f"[bold]{citation.number}. {safe(chunk.path)}[/bold]  {safe(' · '.join(place))}")
    if chunk.headings:
        out.print(f"   [dim]{safe(' > '.join(chunk.headings))}[/dim]")
    for line in filter(str.strip, citation.quote.split("\n")):
        out.print(f"   {safe(line)}")
    if explain:
        scores = hit.scores
        parts = {"fused": scores.fused, "lexical": scores.lexical, "dense": scores.dense}
        shown = ", ".join(f"{name} {value:.3f}" for name, value in parts.items() if value is not None)
        out.print(f"   [dim]{safe(hit.why)} ({shown})[/dim]")
    out.print()


async def show_turn(events: AsyncGenerator[Event]) -> Answer:
    """Print a turn while it comes: what she does and where she looks on stderr, the answer on stdout."""
    found: tuple[Citation, ...] = ()
    async with aclosing(events) as turn:
        with err.status(say("doing_searching")) as waiting:
            async for event in turn:
                match event:
                    case Sources(found):
                        pass
                    case Status(stage) if stage in MODELS:
                        show_sources(found)  # something to read while a model reads
                        found = ()
                    case Status(stage, done, total):
                        share = f" {done}/{total}" if total else ""
                        waiting.update(say(f"doing_{stage}") + share if stage in STAGES else "")
                    case Token(text):
                        waiting.stop()
                        out.print(printable(text), end="", markup=False)
                    case Done(answer):
                        waiting.stop()
                        out.print()
                        show_end(answer)
                        return answer
    raise RuntimeError("a turn that raises nothing ends with Done")


def show_sources(citations: Sequence[Citation]) -> None:
    """Print, while a model reads, where she looks."""
    for citation in citations:
        err.print(f"[dim]{safe(place(citation))}[/dim]")
    if citations:
        err.print()


def show_end(answer: Answer) -> None:
    """Print what comes after an answer's words: its sources, who spoke, how long it took."""
    if answer.mode in MODELS and answer.citations:
        out.print()
        for citation in answer.citations:
            out.print(place(citation), markup=False)
    if answer.finish_reason in ("length", "incomplete"):
        err.print(say(f"cut_{answer.finish_reason}"), style="yellow")
    seconds = {name: f"{value / 1000:.1f}" for name, value in answer.timings_ms.items()}
    model = f" ({answer.model})" if answer.model else ""
    err.print(
        safe(
            say(
                "spoken_by",
                voice=f"{answer.mode}{model}",
                first=seconds.get("first_token", "-"),
                total=seconds["total"],
                conversation=answer.conversation_id or "-",
            )
        ),
        style="dim",
    )


def place(citation: Citation) -> str:
    """Return where a citation stands, on one line, free of what would control the terminal."""
    lines = say("lines", start=citation.start_line, end=citation.end_line)
    return printable(f"[{citation.number}] {citation.path}, {lines}, {citation.date or say('undated')}")


def confirm_proposal(proposal: Proposal, *, yes: bool) -> bool:
    """Show a file that would be written, and ask; without somebody to ask, the answer is no."""
    out.print(printable(proposal.text), markup=False)
    err.print(safe(say("would_write", root=proposal.root, path=proposal.path)), style="bold")
    if yes:
        return True
    try:
        return typer.confirm(say("ask_write"), err=True)
    except typer.Abort:
        return False


def confirm_enrichment(estimate: Estimate, *, yes: bool) -> bool:
    """Tell what writing of the other chunks takes, and ask; without somebody to ask, the answer is no."""
    show_estimate(estimate)
    if yes:
        return True
    try:
        return typer.confirm(say("ask_enrich"), err=True)
    except typer.Abort:
        return False


def show_estimate(estimate: Estimate) -> None:
    """Print what writing of the other chunks takes."""
    told = {**asdict(estimate), "duration": _duration(estimate.seconds)}
    err.print(safe(say("enrich_estimate", **told)))


def show_enriched(report: EnrichReport) -> None:
    """Print what a voice wrote of chunks."""
    told = {**asdict(report), "duration": _duration(report.seconds)}
    out.print(safe(say("enriched", **told)))


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def show_stats(stats: Stats) -> None:
    """Print what the index holds."""
    manifest = stats.manifest
    out.print(
        escape(
            say(
                "stats_text",
                generation=manifest.generation,
                created=manifest.created,
                documents=manifest.documents,
                chunks=manifest.chunks,
                dated=stats.dated,
                newest=stats.newest or "-",
                embedder=manifest.embedder,
                dimension=manifest.dimension,
                chunking=manifest.chunking,
            )
        )
    )
    groups: dict[str, Mapping[str, object]] = {
        "roots": manifest.roots,
        "kinds": stats.kinds,
        "projects": stats.projects,
        "languages": stats.languages,
    }
    for name, values in groups.items():
        shown = ", ".join(f"{key} {value}" for key, value in values.items())
        out.print(safe(f"{say(f'stats_{name}')}: {shown}"))
    if stats.undated:
        out.print(safe(f"{say('stats_undated')}: {', '.join(stats.undated)}"))


def show_persona(described: dict[str, Any]) -> None:
    """Print what a persona is made of."""
    languages = ", ".join(described["languages"])
    out.print(safe(say("persona_text", **{**described, "languages": languages})))
    counted = say(f"counted_{described['counted_by']}")
    out.print(safe(say("persona_tokens", **described["tokens"], counted=counted)))
    if described["too_long"]:
        err.print(say("persona_too_long"), style="yellow")


def show_checks(checks: list[tuple[str, bool, str]]) -> None:
    """Print the outcome of `doctor`: name, whether it is well, detail."""
    for name, is_well, detail in checks:
        mark = f"[green]{say('yes')}[/green]" if is_well else f"[red]{say('no')}[/red]"
        out.print(f"{mark:>4}  {say(f'check_{name}')}: {safe(detail)}")


def show_costs(costs: dict[str, Any]) -> None:
    """Print what the answers cost."""
    for voice in costs["voices"]:
        out.print(safe(say("cost_voice", **voice)))
    out.print(say("cost_text", **costs) if costs["counted"] else say("cost_nothing"))
    if costs["break_even_turns"] is not None:
        out.print(say("cost_break_even", **costs))
