"""The commands `cervella eval ...`: what is measured, and where the line is drawn."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cervella_rag import bootstrap, terminal, terminal_eval
from cervella_rag.messages import locale_language
from cervella_rag.terminal import err, safe, say

Json = Annotated[bool, typer.Option("--json", help=say("opt_json"))]
Voice = Annotated[
    Literal["auto", "ollama", "openai", "llama_cpp", "memory_only"] | None,
    typer.Option("--voice", help=say("opt_voice")),
]

evaluations = typer.Typer(help=say("help_eval"), no_args_is_help=True)


@evaluations.command("retrieval", help=say("help_eval_retrieval"))
def eval_retrieval(
    file: Annotated[Path, typer.Argument(help=say("arg_file"))],
    memory: Annotated[list[Path] | None, typer.Option("--memory", help=say("opt_memory"))] = None,
    misses: Annotated[bool, typer.Option("--misses", help=say("opt_misses"))] = False,
    baseline: Annotated[Path | None, typer.Option(help=say("opt_baseline"))] = None,
    save_baseline: Annotated[Path | None, typer.Option(help=say("opt_save_baseline"))] = None,
    as_json: Json = False,
) -> None:
    """Measure retrieval on an evaluation file; exit with 1 where it found less than the baseline did."""
    settings = bootstrap.load_settings()
    with terminal.progress_bar() as progress:
        report = bootstrap.evaluate_retrieval(settings, file, progress, memory or ())
    comparison = bootstrap.compare_with_baseline(report, baseline) if baseline else None
    if save_baseline:
        bootstrap.save_baseline(report, save_baseline)
    if as_json:
        _print_json({**report, "comparison": comparison})
    else:
        terminal_eval.show_measures(report)
        if misses:
            terminal_eval.show_misses(report["misses"])
    if comparison:
        if not as_json:
            terminal_eval.show_comparison(comparison)
        if not comparison["passed"]:
            raise typer.Exit(1)


@evaluations.command("calibrate", help=say("help_calibrate"))
def calibrate(
    file: Annotated[Path, typer.Argument(help=say("arg_file"))],
    wrong: Annotated[float, typer.Option(min=0.0, max=0.5, help=say("opt_wrong"))] = 0.05,
    as_json: Json = False,
) -> None:
    """Draw the line between answering and saying it is not in memory, and keep it with the index."""
    with terminal.progress_bar() as progress:
        found = bootstrap.calibrate(bootstrap.load_settings(), file, wrong, progress)
    if as_json:
        _print_json(found)
    else:
        terminal_eval.show_line(found)


@evaluations.command("persona", help=say("help_eval_persona"))
def eval_persona(
    voice: Voice = None,
    turns: Annotated[str, typer.Option(help=say("opt_turns"))] = "1,8,20",
    as_json: Json = False,
) -> None:
    """Measure how much a voice sounds like her."""
    settings = bootstrap.with_voice(bootstrap.load_settings(), voice)
    if not all(part.isdecimal() and 1 <= int(part) <= 100 for part in turns.split(",")):
        raise typer.BadParameter(say("bad_turns"), param_hint="--turns")
    with terminal.progress_bar() as progress:
        wanted = tuple(sorted({int(part) for part in turns.split(",")}))
        report = bootstrap.evaluate_persona(settings, wanted, progress)
    if as_json:
        _print_json(report)
    else:
        terminal_eval.show_voice_measures(report)


@evaluations.command("answers", help=say("help_eval_answers"))
def eval_answers(
    file: Annotated[Path, typer.Argument(help=say("arg_file"))], voice: Voice = None, as_json: Json = False
) -> None:
    """Measure answers on an evaluation file."""
    settings = bootstrap.with_voice(bootstrap.load_settings(), voice)
    with terminal.progress_bar() as progress:
        report = bootstrap.evaluate_answers(settings, file, progress)
    if as_json:
        _print_json(report)
    else:
        terminal_eval.show_answer_measures(report)


@evaluations.command("tasks", help=say("help_eval_tasks"))
def eval_tasks(
    folder: Annotated[Path | None, typer.Argument(help=say("arg_tasks"))] = None,
    voice: Voice = None,
    judge: Annotated[
        Literal["ollama", "openai", "llama_cpp"] | None, typer.Option(help=say("opt_judge"))
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help=say("opt_sheet"))] = None,
    against: Annotated[Path | None, typer.Option(help=say("opt_against"))] = None,
    as_json: Json = False,
) -> None:
    """Ask the twenty tasks and check what comes."""
    settings = bootstrap.with_voice(bootstrap.load_settings(), voice)
    material = folder or Path(os.environ.get("CERVELLA_TEST_MATERIAL", "../shared")) / "benchmark"
    other = bootstrap.read_answers(material, against) if sheet else None
    with terminal.progress_bar() as progress:
        report = bootstrap.evaluate_tasks(settings, material, judge, progress)
    if sheet and other:
        key = bootstrap.write_sheet(report, other, sheet, locale_language())
        err.print(safe(say("sheet_written", sheet=sheet, names=key)))
    if as_json:
        _print_json(report)
    else:
        terminal_eval.show_task_measures(report)


def _print_json(document: Any) -> None:
    # Not through rich: it would wrap and colour what another program reads.
    print(json.dumps(document, ensure_ascii=False, indent=2))
