"""The command line: commands only. Results go to stdout, everything else to stderr.

Exit codes: 0 done; 1 something it depends on failed; 2 wrong use or configuration; 3 done, but some
files were refused.
"""

from __future__ import annotations

import json
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer

from cervella_rag import __version__, bootstrap, terminal
from cervella_rag.doctor import examine
from cervella_rag.domain import Done, Question, Token
from cervella_rag.errors import CervellaError
from cervella_rag.messages import locale_language
from cervella_rag.terminal import err, out, say

EXIT_REFUSED = 3
EXIT_INTERRUPTED = 130

Json = Annotated[bool, typer.Option("--json", help=say("opt_json"))]

app = typer.Typer(help=say("about"), no_args_is_help=True, add_completion=False)
evaluations = typer.Typer(help=say("help_eval"), no_args_is_help=True)
app.add_typer(evaluations, name="eval")


def main() -> None:
    """Run a command; an error of ours becomes a sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that lacks a character shows a question mark
            stream.reconfigure(errors="replace")
    try:
        app()
    except CervellaError as error:
        text = terminal.printable(error.text(locale_language()))
        err.print(say("error", text=text), style="red", markup=False)
        raise SystemExit(error.exit_code) from error
    except KeyboardInterrupt as interrupt:
        raise SystemExit(EXIT_INTERRUPTED) from interrupt


def _version(wanted: bool) -> None:
    if wanted:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help=say("help_version"))
    ] = False,
) -> None:
    pass


@app.command(help=say("help_index"))
def index(
    paths: Annotated[list[Path] | None, typer.Argument(help=say("arg_paths"))] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help=say("opt_rebuild"))] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=say("opt_dry_run"))] = False,
    as_json: Json = False,
) -> None:
    """Bring the index to the state of the folders."""
    settings = bootstrap.load_settings()
    roots = bootstrap.find_roots(settings, paths or ())
    indexer = bootstrap.make_indexer(settings)
    with terminal.progress_bar() as progress:
        report = indexer.run(roots, rebuild=rebuild, dry_run=dry_run, progress=progress)
    if as_json:
        _print_json(bootstrap.outer_shape(report))
    else:
        terminal.show_report(report, dry_run=dry_run)
    if report.refused:
        raise typer.Exit(EXIT_REFUSED)


@app.command(help=say("help_search"))
def search(
    question: Annotated[str, typer.Argument(help=say("arg_question"))],
    top_k: Annotated[int, typer.Option(min=1, max=100, help=say("opt_top_k"))] = 10,
    project: Annotated[str | None, typer.Option(help=say("opt_project"))] = None,
    kind: Annotated[str | None, typer.Option(help=say("opt_kind"))] = None,
    session: Annotated[str | None, typer.Option(help=say("opt_session"))] = None,
    since: Annotated[str | None, typer.Option(help=say("opt_since"))] = None,
    until: Annotated[str | None, typer.Option(help=say("opt_until"))] = None,
    explain: Annotated[bool, typer.Option("--explain", help=say("opt_explain"))] = False,
    as_json: Json = False,
) -> None:
    """Find passages."""
    asked = bootstrap.make_question(
        question, project=project, kind=kind, session=session, since=since, until=until
    )
    retriever = bootstrap.make_retriever(bootstrap.load_settings())
    retrieval = retriever.retrieve(asked, top_k=top_k)
    if as_json:
        _print_json(bootstrap.outer_shape(retrieval))
    else:
        terminal.show_hits(retrieval, explain=explain)


@app.command(help=say("help_ask"))
def ask(question: Annotated[str, typer.Argument(help=say("arg_question"))], as_json: Json = False) -> None:
    """Answer one question."""
    bootstrap.run(_ask(bootstrap.make_question(question), as_json))


async def _ask(question: Question, as_json: bool) -> None:
    assistant = bootstrap.make_assistant(bootstrap.load_settings())
    async for event in assistant.stream(question):
        match event:
            case Token(text) if not as_json:
                out.print(terminal.printable(text), end="", markup=False)
            case Done(answer) if as_json:
                _print_json(bootstrap.outer_shape(answer))
            case Done(answer):
                took, generation = answer.timings_ms["total"], answer.provenance["index_generation"]
                out.print()
                err.print(say("spoken_by", mode=answer.mode, milliseconds=took, generation=generation))


@app.command(help=say("help_stats"))
def stats(as_json: Json = False) -> None:
    """Tell what the index holds."""
    counted = bootstrap.count_index(bootstrap.load_settings())
    if as_json:
        _print_json(bootstrap.outer_shape(counted))
    else:
        terminal.show_stats(counted)


@app.command(help=say("help_doctor"))
def doctor(as_json: Json = False) -> None:
    """Check that everything is in place."""
    checks = examine()
    if as_json:
        _print_json([{"check": name, "ok": is_well, "detail": text} for name, is_well, text in checks])
    else:
        terminal.show_checks(checks)
    failing = [name for name, is_well, _ in checks if not is_well]
    if failing:
        raise typer.Exit(2 if failing == ["settings"] else 1)


@app.command(help=say("help_serve"))
def serve(
    host: Annotated[str | None, typer.Option(help=say("opt_host"))] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help=say("opt_port"))] = None,
) -> None:
    """Serve the API and the page."""
    settings = bootstrap.load_settings()
    bootstrap.serve(
        settings,
        host=host or settings.api.host,
        port=port or settings.api.port,
        announce=lambda host, port: out.print(say("serving", host=host, port=port)),
    )


@evaluations.command("retrieval", help=say("help_eval_retrieval"))
def eval_retrieval(
    file: Annotated[Path, typer.Argument(help=say("arg_file"))], as_json: Json = False
) -> None:
    """Measure retrieval on an evaluation file."""
    with terminal.progress_bar() as progress:
        report = bootstrap.evaluate_retrieval(
            bootstrap.load_settings(), file, lambda done, total: progress("questions", done, total)
        )
    if as_json:
        _print_json(report)
    else:
        terminal.show_measures(report)


def _print_json(document: Any) -> None:
    # Not through rich: it would wrap and colour what another program reads.
    print(json.dumps(document, ensure_ascii=False, indent=2))
