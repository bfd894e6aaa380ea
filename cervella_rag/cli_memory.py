"""The commands `cervella memory ...`: exact facts over the files as they are now, no model, no index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cervella_rag import bootstrap
from cervella_rag.cli_options import Json, print_json
from cervella_rag.messages import locale_language
from cervella_rag.terminal import out, printable, say

if TYPE_CHECKING:
    from cervella_rag.domain import Exact

Place = Annotated[str, typer.Argument(help=say("arg_memory_path"))]
OptionalPlace = Annotated[str | None, typer.Argument(help=say("arg_memory_path"))]

memory_app = typer.Typer(help=say("help_memory"), no_args_is_help=True)


@memory_app.command("count", help=say("help_memory_count"))
def count(
    pattern: Annotated[str, typer.Argument(help=say("arg_pattern"))],
    path: OptionalPlace = None,
    is_regex: Annotated[bool, typer.Option("--regex", help=say("opt_regex"))] = False,
    inside: Annotated[bool, typer.Option("--inside", help=say("opt_inside"))] = False,
    any_spelling: Annotated[
        bool | None, typer.Option("--any-spelling/--as-written", help=say("opt_any_spelling"))
    ] = None,
    as_json: Json = False,
) -> None:
    """Count how often something is written."""
    wanted = bootstrap.make_pattern(pattern, is_regex=is_regex, inside=inside, any_spelling=any_spelling)
    _show(bootstrap.make_exact(bootstrap.load_settings()).count(wanted, path), as_json=as_json)


@memory_app.command("files", help=say("help_memory_files"))
def files(
    folder: OptionalPlace = None,
    extension: Annotated[str | None, typer.Option("--ext", help=say("opt_extension"))] = None,
    as_json: Json = False,
) -> None:
    """Count the files of a folder."""
    _show(bootstrap.make_exact(bootstrap.load_settings()).files(folder, extension), as_json=as_json)


@memory_app.command("exists", help=say("help_memory_exists"))
def exists(path: Place, as_json: Json = False) -> None:
    """Tell whether a file is there, and where it is when it is not."""
    _show(bootstrap.make_exact(bootstrap.load_settings()).exists(path), as_json=as_json)


@memory_app.command("lines", help=say("help_memory_lines"))
def lines(path: Place, as_json: Json = False) -> None:
    """Count the lines of a file."""
    _show(bootstrap.make_exact(bootstrap.load_settings()).lines(path), as_json=as_json)


@memory_app.command("links", help=say("help_memory_links"))
def links(path: Place, as_json: Json = False) -> None:
    """List the web addresses of a file."""
    _show(bootstrap.make_exact(bootstrap.load_settings()).links(path), as_json=as_json)


@memory_app.command("list", help=say("help_memory_list"))
def list_records(
    kind: Annotated[str | None, typer.Option(help=say("opt_kind"))] = None,
    session: Annotated[str | None, typer.Option(help=say("opt_session"))] = None,
    project: Annotated[str | None, typer.Option(help=say("opt_project"))] = None,
    since: Annotated[str | None, typer.Option(help=say("opt_since"))] = None,
    until: Annotated[str | None, typer.Option(help=say("opt_until"))] = None,
    as_json: Json = False,
) -> None:
    """List records, the newest first."""
    asked = bootstrap.make_question(
        "", kind=kind, session=session, project=project, since=since, until=until
    )
    _show(bootstrap.make_exact(bootstrap.load_settings()).list(asked.filters), as_json=as_json)


def _show(exact: Exact, *, as_json: bool) -> None:
    if as_json:
        print_json(bootstrap.outer_shape(exact))
        return
    out.print(printable(bootstrap.word_exact(exact, locale_language())), markup=False)
