"""The command line: commands only. Results go to stdout, everything else to stderr.

Exit codes: 0 done; 1 something it depends on failed; 2 wrong use or configuration; 3 done, but some
files were refused.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from dataclasses import asdict
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cervella_rag import __version__, bootstrap, terminal
from cervella_rag.cli_eval import evaluations
from cervella_rag.cli_memory import memory_app
from cervella_rag.cli_options import Json, Voice, print_json, show
from cervella_rag.doctor import examine
from cervella_rag.errors import CervellaError
from cervella_rag.messages import locale_language
from cervella_rag.terminal import err, out, safe, say
from cervella_rag.terminal_chat import COMMANDS, TerminalChat

if TYPE_CHECKING:
    from cervella_rag.indexing.enrich import Estimate
    from cervella_rag.settings import Settings

EXIT_REFUSED = 3
EXIT_INTERRUPTED = 130


app = typer.Typer(help=say("about"), no_args_is_help=True, add_completion=False)
models = typer.Typer(help=say("help_model"), no_args_is_help=True)
app.add_typer(evaluations, name="eval")
feedback = typer.Typer(help=say("help_feedback"), no_args_is_help=True)
app.add_typer(models, name="model")
personas = typer.Typer(help=say("help_persona"), no_args_is_help=True)
app.add_typer(memory_app, name="memory")
app.add_typer(feedback, name="feedback")
app.add_typer(personas, name="persona")


def main() -> None:
    """Run a command; an error of ours becomes a sentence and an exit code."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that lacks a character shows a question mark
            stream.reconfigure(errors="replace")
    logging.getLogger("stamina").setLevel(logging.ERROR)  # a second try is no news
    try:
        app()
    except CervellaError as error:
        terminal.show_error(error)
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
    accept_deletions: Annotated[
        bool, typer.Option("--accept-deletions", help=say("opt_accept_deletions"))
    ] = False,
    forget: Annotated[str | None, typer.Option("--forget", help=say("opt_forget"))] = None,
    as_json: Json = False,
) -> None:
    """Bring the index to the state of the folders."""
    settings = bootstrap.load_settings()
    if forget is not None:
        chunks = bootstrap.make_indexer(settings).forget(forget)
        terminal.show_forgotten(forget, chunks)
        return
    roots = bootstrap.find_roots(settings, paths or ())
    indexer = bootstrap.make_indexer(settings)
    with terminal.progress_bar() as progress:
        report = indexer.run(
            roots,
            rebuild=rebuild,
            dry_run=dry_run,
            accept_deletions=accept_deletions,
            progress=progress,
        )
    if as_json:
        print_json(bootstrap.outer_shape(report))
    else:
        terminal.show_report(report, dry_run=dry_run)
    if report.refused:
        raise typer.Exit(EXIT_REFUSED)


@app.command("enrich", help=say("help_enrich"))
def enrich(
    limit: Annotated[int | None, typer.Option(min=1, help=say("opt_enrich_limit"))] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=say("opt_enrich_dry_run"))] = False,
    yes: Annotated[bool, typer.Option("--yes", help=say("opt_enrich_yes"))] = False,
    voice: Voice = None,
    as_json: Json = False,
) -> None:
    """Let a voice write of every chunk what it is about, and search that too."""
    settings = bootstrap.with_voice(bootstrap.load_settings(), voice)
    with terminal.progress_bar() as progress:

        def confirm(estimate: Estimate) -> bool:
            with progress.paused():
                return terminal.confirm_enrichment(estimate, yes=yes)

        report, indexed = bootstrap.enrich(settings, confirm, progress, limit=limit, dry_run=dry_run)
    if as_json:
        outer = bootstrap.outer_shape(indexed) if indexed else None
        print_json({**asdict(report), "index": outer})
        return
    if dry_run and report.estimate:
        terminal.show_estimate(report.estimate)
    terminal.show_enriched(report)
    if indexed:
        terminal.show_report(indexed, dry_run=False)


@app.command(help=say("help_watch"))
def watch(
    paths: Annotated[list[Path] | None, typer.Argument(help=say("arg_paths"))] = None,
) -> None:
    """Keep the index at the state of the folders."""
    settings = bootstrap.load_settings()
    roots = bootstrap.find_roots(settings, paths or ())
    err.print(safe(say("watching", places=", ".join(str(root.location) for root in roots))), style="dim")
    bootstrap.watch(
        settings,
        roots,
        threading.Event(),
        tell=lambda report: terminal.show_report(report, dry_run=False),
        fail=terminal.show_error,
    )


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
    retrieval, by_server = bootstrap.search(bootstrap.load_settings(), asked, top_k)
    if explain and by_server:
        err.print(say("by_server"), style="dim")
    if as_json:
        print_json(bootstrap.outer_shape(retrieval))
    else:
        if retrieval.exact:
            out.print(
                terminal.printable(bootstrap.word_exact(retrieval.exact, locale_language())), markup=False
            )
            out.print()
        terminal.show_hits(retrieval, explain=explain)


@app.command(help=say("help_ask"))
def ask(
    question: Annotated[str, typer.Argument(help=say("arg_question"))],
    conversation: Annotated[str | None, typer.Option(help=say("opt_conversation"))] = None,
    as_json: Json = False,
) -> None:
    """Answer one question."""
    asked = bootstrap.make_question(question)
    assistant = bootstrap.make_assistant(bootstrap.load_settings())

    async def answer() -> None:
        try:
            await assistant.voices.wake()  # a model loads while the memory is searched
            if as_json:
                print_json(bootstrap.outer_shape(await assistant.reply(asked, conversation)))
            else:
                await terminal.show_turn(assistant.stream(asked, conversation))
        finally:
            await assistant.aclose()

    asyncio.run(answer())


@app.command(help=say("help_chat"))
def chat(
    conversation: Annotated[str | None, typer.Option(help=say("opt_conversation"))] = None,
) -> None:
    """Talk until the end of input; Ctrl-C stops an answer, not the conversation."""
    settings = bootstrap.load_settings()
    assistant = bootstrap.make_assistant(settings, stays=True)
    read_line = bootstrap.make_line_reader(settings, say("prompt"), COMMANDS)
    talk = TerminalChat(assistant, conversation)
    with asyncio.Runner() as runner:
        if conversation:
            runner.run(assistant.conversations.read(conversation))
        runner.run(assistant.voices.wake())
        err.print(say("chat_begins"), style="dim")
        while not talk.is_over and (said := read_line()) is not None:
            if not said.strip() or talk.obey(said.strip()):
                continue
            try:
                runner.run(talk.ask(bootstrap.make_question(said)))
            except KeyboardInterrupt:
                err.print(f"\n{say('stopped')}", style="yellow")
            except CervellaError as error:
                terminal.show_error(error)
        runner.run(assistant.aclose())


@app.command("brief", help=say("help_brief"))
def brief(
    project: Annotated[str | None, typer.Argument(help=say("arg_project"))] = None,
    max_tokens: Annotated[int, typer.Option(min=200, max=8000, help=say("opt_max_tokens"))] = 1000,
    as_json: Json = False,
) -> None:
    """Tell what somebody who starts to work must know."""
    settings = bootstrap.load_settings()
    written = bootstrap.write_brief(settings, project, max_tokens, locale_language())
    if as_json:
        print_json(bootstrap.brief_shape(written))
    else:
        out.print(terminal.printable(written.text), markup=False)


@app.command("write", help=say("help_write"))
def write(
    kind: Annotated[Literal["decision", "lesson", "handoff"], typer.Argument(help=say("arg_record"))],
    conversation: Annotated[str, typer.Option(help=say("opt_from_conversation"))],
    title: Annotated[str | None, typer.Option(help=say("opt_title"))] = None,
    text: Annotated[str | None, typer.Option(help=say("opt_text"))] = None,
    project: Annotated[str | None, typer.Option(help=say("opt_write_project"))] = None,
    session: Annotated[str | None, typer.Option(help=say("opt_write_session"))] = None,
    with_voice: Annotated[bool, typer.Option("--with-voice", help=say("opt_with_voice"))] = False,
    yes: Annotated[bool, typer.Option("--yes", help=say("opt_yes"))] = False,
) -> None:
    """Write a file into the memory, once it is confirmed."""
    told = bootstrap.check_wish(
        kind, conversation, title=title, text=text, project=project, session=session
    )
    written = bootstrap.write_back(
        bootstrap.load_settings(),
        kind,
        conversation,
        lambda proposal: terminal.confirm_proposal(proposal, yes=yes),
        with_voice=with_voice,
        **told,
    )
    out.print(safe(say("written", path=written.path) if written else say("not_written")))


@feedback.command("export", help=say("help_feedback_export"))
def export_feedback() -> None:
    """Print feedback."""
    for entry in bootstrap.export_feedback(bootstrap.load_settings()):
        print(json.dumps(entry, ensure_ascii=False))


@app.command("mcp", help=say("help_mcp"))
def serve_mcp(
    http: Annotated[bool, typer.Option("--http", help=say("opt_http"))] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help=say("opt_mcp_port"))] = 8001,
) -> None:
    """Serve agents."""
    settings = bootstrap.load_settings()
    if not http:
        bootstrap.serve_mcp(settings)
        return
    # On stderr like everything that is no result: on stdio, stdout is the protocol's.
    bootstrap.serve_mcp_over_http(
        settings, port, announce=lambda host, port: err.print(say("serving_mcp", host=host, port=port))
    )


@models.command("fetch", help=say("help_model_fetch"))
def fetch_model(
    name: Annotated[str, typer.Argument(help=say("arg_model"))] = "demo",
    if_needed: Annotated[bool, typer.Option("--if-needed", help=say("opt_if_needed"))] = False,
) -> None:
    """Fetch a model for the voice in process."""
    settings = bootstrap.load_settings()
    entry = bootstrap.find_model(name)
    if if_needed and (voice := _voice_without(settings)):
        err.print(say("voice_there", voice=voice), style="dim")
        return
    size = f"{entry.bytes / 1e9:.2f}"
    err.print(safe(say("fetching", title=entry.title, size=size, license=entry.license)))
    if entry.demonstration:
        err.print(say("demonstration"), style="yellow")
    with terminal.progress_bar() as progress:
        file = bootstrap.fetch_model(settings, name, progress)
    out.print(str(file), markup=False)


def _voice_without(settings: Settings) -> str | None:
    """Return the voice that speaks without another model, or None where one would help."""
    if settings.llm.voice not in ("auto", "llama_cpp"):
        return settings.llm.voice
    return terminal.speaking(bootstrap.voice_states(settings, locale_language()))


@app.command(help=say("help_stats"))
def stats(
    verify: Annotated[bool, typer.Option("--verify", help=say("opt_verify"))] = False,
    cost: Annotated[bool, typer.Option("--cost", help=say("opt_cost"))] = False,
    as_json: Json = False,
) -> None:
    """Tell what the index holds, whether it is the image of the folders, or what the answers cost."""
    if cost:
        costs = bootstrap.count_costs(bootstrap.load_settings())
        if as_json:
            print_json(costs)
        else:
            terminal.show_costs(costs)
        return
    if verify:
        verification = bootstrap.verify_index(bootstrap.load_settings())
        if as_json:
            print_json(bootstrap.outer_shape(verification))
        else:
            terminal.show_verification(verification)
        if verification.differences:
            raise typer.Exit(1)
        return
    counted = bootstrap.count_index(bootstrap.load_settings())
    if as_json:
        print_json(bootstrap.outer_shape(counted))
    else:
        terminal.show_stats(counted)


@app.command(help=say("help_backup"))
def backup(file: Annotated[Path, typer.Argument(help=say("arg_backup"))]) -> None:
    """Copy everything she keeps to a file."""
    report = bootstrap.back_up(bootstrap.load_settings(), file)
    terminal.show_backup("backed_up", file, report)


@app.command(help=say("help_restore"))
def restore(file: Annotated[Path, typer.Argument(help=say("arg_backup"))]) -> None:
    """Bring back what a backup holds."""
    report = bootstrap.restore(bootstrap.load_settings(), file)
    terminal.show_backup("restored", file, report)


@app.command(help=say("help_doctor"))
def doctor(as_json: Json = False) -> None:
    """Check that everything is in place."""
    checks = examine()
    if as_json:
        print_json([{"check": name, "ok": is_well, "detail": text} for name, is_well, text in checks])
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


@personas.command("check", help=say("help_persona_check"))
def check_persona(as_json: Json = False) -> None:
    """Look a persona over."""
    described = bootstrap.describe_persona(bootstrap.load_settings())
    show(described, terminal.show_persona, as_json=as_json)


@personas.command("export", help=say("help_persona_export"))
def export_persona(
    file: Annotated[Path, typer.Argument(help=say("arg_card"))],
    spec: Annotated[Literal["v2", "v3"], typer.Option(help=say("opt_spec"))] = "v3",
) -> None:
    """Write the persona as a Character Card."""
    bootstrap.export_persona(bootstrap.load_settings(), file, spec)
    out.print(str(file), markup=False)


@personas.command("import", help=say("help_persona_import"))
def import_persona(
    file: Annotated[Path, typer.Argument(help=say("arg_card"))],
    language: Annotated[Literal["it", "en", "pt"], typer.Option(help=say("opt_card_language"))] = "it",
    replace: Annotated[bool, typer.Option("--replace", help=say("opt_replace"))] = False,
) -> None:
    """Keep a Character Card as a persona."""
    path = bootstrap.import_persona(bootstrap.load_settings(), file, language, replace=replace)
    out.print(safe(say("persona_kept", path=path, name=path.stem)))
