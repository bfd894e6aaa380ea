"""Exact facts over files as they are now: what is counted, what is never shown, what hostile files do."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cervella_rag import bootstrap
from cervella_rag.domain import Exact, Filters, Question
from cervella_rag.errors import InvalidRequestError, MemoryFileRefusedError, MemoryFileUnknownError
from cervella_rag.memory.exact.facts import ExactFacts
from cervella_rag.memory.exact.files import MemoryFiles
from cervella_rag.memory.exact.patterns import LONGEST_PATTERN, Clock, Matcher, Pattern
from cervella_rag.memory.exact.records import list_records
from cervella_rag.memory.redaction import Redactor
from cervella_rag.memory.sncp import DocumentReader, relate
from cervella_rag.memory.sources import SourceReader, name_roots
from cervella_rag.settings import SKIP_RULES, load_settings

Facts = Callable[..., ExactFacts]


@pytest.fixture
def facts(monkeypatch: pytest.MonkeyPatch) -> Facts:
    """The facts of some folders, which need no index."""

    def make(*folders: Path) -> ExactFacts:
        monkeypatch.setenv("CERVELLA_MEMORY__ROOTS", os.pathsep.join(map(str, folders)))
        return bootstrap.make_exact(load_settings())

    return make


def ask(facts: ExactFacts, question: str) -> Exact:
    exact = facts.answer(Question(question))
    assert exact is not None
    return exact


def test_files_count_with_forms_and_without_what_is_private(facts: Facts, january: Path) -> None:
    (january / "memoria" / "decisioni" / "private").mkdir()
    (january / "memoria" / "decisioni" / "private" / "stipendi.md").write_text("# Stipendi\n")
    (january / "memoria" / "decisioni" / "foto.png").write_bytes(b"\x89PNG")
    known = facts(january)
    everything = ask(known, "Quanti file ci sono in memoria/decisioni?")
    assert everything.value == 3
    assert everything.details["templates"] == 1
    assert "stipendi" not in repr(everything)
    assert ask(known, "Quanti file ci sono in memoria/decisioni, modelli esclusi?").value == 2
    assert ask(known, "Quanti file .md ci sono in memoria/decisioni?").value == 2
    assert ask(known, "Quanti file ci sono in memoria, sottocartelle escluse?").value == 0
    source = everything.sources[0]
    assert (source.path, source.end_line, len(source.text.split("\n"))) == ("memoria/decisioni/", 3, 3)


def test_private_and_denied_files_do_not_exist(
    facts: Facts, march: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERVELLA_MEMORY__DENY", '{"march": ["handoff/"]}')
    known = facts(march)
    for name in ("chiavi.md", ".sncp/progetti/pomelo/secrets/chiavi.md", "HANDOFF_20260312_pomelo_S431.md"):
        told = known.exists(name)
        assert (told.value, told.details["elsewhere"], told.sources) == (False, [], ())
        with pytest.raises(MemoryFileUnknownError):
            known.lines(name)
    assert known.count(Pattern("not-for-the-index", inside=True)).value == 0
    assert known.exists("secrets").value is False


def test_a_template_that_is_secret_too_stays_out(facts: Facts, january: Path) -> None:
    (january / "_TEMPLATE_x.secret.md").write_text("parola\n")
    assert facts(january).exists("_TEMPLATE_x.secret.md").value is False


def test_secrets_are_neither_shown_nor_counted(facts: Facts, january: Path) -> None:
    (january / "note.md").write_text("# Note\nScrivi a tina@example.com\nhttps://example.com/a\n")
    known = facts(january)
    found = known.count(Pattern("Scrivi"), "note.md")
    assert found.sources[0].text == "Scrivi a [redacted:email]"
    assert known.count(Pattern("tina@example.com", inside=True)).value == 0


def test_a_word_is_counted_whole_as_written_and_in_any_spelling(facts: Facts, january: Path) -> None:
    (january / "p.md").write_text("Perché? perche' PERCHE perché\nPerchéggio x_perché\nforno  a\nlegna\n")
    known = facts(january)
    written = known.count(Pattern("Perché"), "p.md")
    assert (written.value, written.details["counts"]) == (1, {"as_written": 1, "any_spelling": 4})
    assert known.count(Pattern("perche"), "p.md").value == 4
    assert known.count(Pattern("perché", any_spelling=False), "p.md").value == 1
    assert known.count(Pattern("perch", inside=True), "p.md").value == 6
    assert known.count(Pattern("forno a legna"), "p.md").value == 1
    assert known.count(Pattern(r"p\w+h", "regex"), "p.md").details["per_file"] == [
        {"path": "p.md", "count": 3, "lines": [1, 2]}
    ]


def test_a_number_may_follow_in_several_ways(facts: Facts, january: Path) -> None:
    (january / "t.md").write_text("Turno 1, **Turno:** 2, Turno #3\nTURNO 4, Turno nuovo, Turno\n5\n")
    told = facts(january).count(Pattern("Turno", numbered=True), "t.md")
    assert (told.value, told.details["counts"]) == (3, {"as_written": 3, "any_spelling": 4})


def test_files_are_counted_as_they_are_now(facts: Facts, january: Path) -> None:
    known = facts(january)
    assert known.lines("oggi.md").value == 16
    (january / "stato" / "oggi.md").write_text("uno\ndue")
    assert known.lines("oggi.md").value == 2
    (january / "stato" / "oggi.md").write_text("")
    assert known.lines("oggi.md").value == 0
    (january / "stato" / "oggi.md").unlink()
    assert known.exists("stato/oggi.md").value is False


def test_a_file_that_moved_is_found(facts: Facts, january: Path) -> None:
    told = facts(january).exists("vecchia/strada/SESSIONE_141_IMPASTI.md")
    assert told.value is False
    assert [place["path"] for place in told.details["elsewhere"]] == [  # type: ignore[attr-defined]
        "archivio/2026-01/sessioni/SESSIONE_141_IMPASTI.md"
    ]
    assert facts(january).lines("vecchia/oggi.md").details["moved"]


@pytest.mark.parametrize(
    "path",
    [
        "stato/oggi.md",
        "STATO/Oggi.MD",
        "./stato//oggi.md",
        "january/stato/oggi.md",
        ".january/stato/oggi.md",
        "oggi.md",
        "oggi",
        "stato\\oggi.md",
    ],
)
def test_one_file_by_many_names(facts: Facts, january: Path, path: str) -> None:
    assert facts(january).exists(path).value is True
    assert facts(january).exists(str(january / "stato" / "oggi.md")).value is True


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "/etc/passwd", "~/.ssh/id_rsa", "stato/../../outside.md", "/", "//etc//passwd"],
)
def test_nothing_outside_the_folders_is_looked_at(facts: Facts, january: Path, path: str) -> None:
    (january.parent / "outside.md").write_text("fuori\n")
    known = facts(january)
    told = known.exists(path)
    assert (told.value, told.details["outside"], told.sources) == (False, True, ())
    for operation in (known.lines, known.links, lambda path: known.count(Pattern("x"), path), known.files):
        with pytest.raises(MemoryFileUnknownError):
            operation(path)


def test_links_out_of_the_folders_are_not_followed(facts: Facts, january: Path) -> None:
    outside = january.parent / "outside"
    outside.mkdir()
    (outside / "diario.md").write_text("segretissimo\n")
    (january / "porta.md").symlink_to(outside / "diario.md")
    (january / "stanza").symlink_to(outside, target_is_directory=True)
    known = facts(january)
    assert known.exists("porta.md").value is False
    assert known.exists("stanza/diario.md").value is False
    assert known.count(Pattern("segretissimo")).value == 0


@pytest.mark.timeout(30)
def test_what_is_no_text_is_refused_with_its_reason(
    facts: Facts, january: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERVELLA_MEMORY__MAX_FILE_BYTES", "100000")
    (january / "nul.md").write_bytes(b"forno\0forno\n")
    (january / "latin.md").write_bytes(b"citt\xe0\n")
    (january / "huge.md").write_text("forno\n" * 100_000)
    (january / "foto.png").write_bytes(b"\x89PNG\n")
    os.mkfifo(january / "tubo.md")
    known = facts(january)
    for name, reason in (
        ("nul.md", "NUL"),
        ("latin.md", "UTF-8"),
        ("huge.md", "larger"),
        ("foto.png", "not_text"),
    ):
        assert known.exists(name).value is True
        with pytest.raises(MemoryFileRefusedError, match=reason):
            known.lines(name)
    assert known.exists("tubo.md").value is False
    counted = known.count(Pattern("forno"))
    assert {r["path"] for r in counted.details["refused"]} == {"nul.md", "latin.md", "huge.md"}  # type: ignore[attr-defined]
    told = ask(known, "Quante righe ha nul.md?")
    assert told.details["unreadable"]


def test_a_folder_is_no_file(facts: Facts, january: Path) -> None:
    known = facts(january)
    with pytest.raises(MemoryFileUnknownError):
        known.lines("stato")
    told = known.exists("memoria/decisioni")
    assert (told.value, told.details["folder"]) == (True, "memoria/decisioni")
    with pytest.raises(MemoryFileUnknownError):
        known.files("stato/oggi.md")


@pytest.mark.parametrize("path", ["x" * 1001, "a\0b", ""])
def test_a_path_that_is_none_is_an_error_or_no_file(facts: Facts, january: Path, path: str) -> None:
    with pytest.raises((InvalidRequestError, MemoryFileUnknownError)):
        facts(january).lines(path)


@pytest.mark.parametrize("expression", [r"(?:a|aa)+$", r"(?:a|a?)+b", r"(.*?,){30}P", r"(a*)*\1b"])
def test_a_catastrophic_pattern_is_stopped(facts: Facts, january: Path, expression: str) -> None:
    (january / "aaa.md").write_text("a" * 5000 + "!\n" + "1," * 5000)
    known, started = facts(january), time.perf_counter()
    with contextlib.suppress(InvalidRequestError):  # another version of the library may be quick with it
        known.count(Pattern(expression, "regex"))
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    "term", ["", "  ", "x" * (LONGEST_PATTERN + 1), "(?R)*a", "(", "[", "(?P<n>", "*a", "\\"]
)
def test_a_pattern_that_is_none_is_an_error(term: str) -> None:
    with pytest.raises(InvalidRequestError):
        Matcher(Pattern(term, "regex"), Clock())


def test_time_is_up_says_so(january: Path) -> None:
    with pytest.raises(InvalidRequestError, match="longer than 2 s"):
        Matcher(Pattern(r"(?:a|aa)+$", "regex"), Clock(0.2)).as_written("a" * 5000 + "!")


def test_a_pattern_that_matches_everywhere_and_nothing(facts: Facts, january: Path) -> None:
    (january / "zero.md").write_text("abc\n" * 3)
    known = facts(january)
    assert known.count(Pattern("x*", "regex"), "zero.md").value == 0
    assert known.count(Pattern(r"\w", "regex"), "zero.md").value == 9


def test_links_are_distinct_and_trimmed(facts: Facts, january: Path) -> None:
    (january / "fonti.md").write_text(
        "[Uno](https://a.example/x), <https://b.example/y>. Vedi https://a.example/x.\n"
        "`https://c.example/z_(q)` e **https://d.example/**; https://b.example/y!\n"
    )
    told = facts(january).links("fonti.md")
    found = [(link["url"], link["count"]) for link in told.details["links"]]  # type: ignore[attr-defined]
    assert told.value == 4
    assert found == [
        ("https://a.example/x", 2),
        ("https://b.example/y", 2),
        ("https://c.example/z_(q)", 1),
        ("https://d.example/", 1),
    ]


def test_records_by_kind_and_day_and_the_newest(facts: Facts, january: Path) -> None:
    known = facts(january)
    assert ask(known, "Quante decisioni abbiamo?").value == 1  # the form is none
    lessons = ask(known, "elenca le lezioni di gennaio")
    assert [record["path"] for record in lessons.details["records"]] == [  # type: ignore[attr-defined]
        "archivio/2026-01/lezioni/LEZIONE_20260109_lievito.md"
    ]
    newest = ask(known, "Qual è la decisione più recente?")
    assert newest.value == "memoria/decisioni/20260110_SCELTA_DEL_FORNO.md"
    titled = ask(known, "Qual è il documento più recente su impasti?")
    assert (titled.details["about_in"], titled.complete) == ("title", False)
    named = ask(known, "Qual è il documento più recente su bolletta?")
    assert (named.value, named.details["about_in"]) == (newest.value, "text")
    none = ask(known, "elenca le lezioni di gennaio 2020")
    assert (none.value, none.complete) == (0, False)
    assert known.answer(Question("qual è il documento più recente su astronavi?")) is None


def test_a_file_tells_of_itself_by_a_part_of_its_name(facts: Facts, january: Path) -> None:
    told = ask(facts(january), "Qual è lo stato della decisione SCELTA_DEL_FORNO?")
    assert (told.value, told.sources[0].start_line) == ("DECISO", 5)
    card = ask(facts(january), "Riassumi stato/oggi.md in due righe")
    assert (card.details["lines"], card.details["session"], card.complete) == (16, "150", False)


def test_sums_and_days(facts: Facts, january: Path) -> None:
    known = facts(january)
    both = ask(known, "Quante righe hanno stato/oggi.md e idee/IDEA_MENU_ESTIVO.md?")
    assert (both.value, both.details["total"]) == ([16, 3], 19)
    assert ask(known, "che giorno della settimana era il 12 gennaio 2026?").value == 1
    assert ask(known, "Quanti giorni passano tra il 9 gennaio 2026 e l'11 marzo 2026?").value == 61


def test_a_bare_word_that_is_no_folder_is_left_to_the_search(facts: Facts, january: Path) -> None:
    assert facts(january).answer(Question("Quanti file ci sono in cantina?")) is None
    told = ask(facts(january), "Quante righe ha cantina/vini.md?")
    assert (told.operation, told.value) == ("exists", False)


def test_folders_that_are_away_leave_the_question_to_the_search(facts: Facts, january: Path) -> None:
    known = facts(january)
    january.rename(january.parent / "altrove")
    assert known.answer(Question("Quante righe ha stato/oggi.md?")) is None


@pytest.mark.parametrize("name", ["knowledge", "material"])
def test_a_file_says_the_same_of_itself_read_in_part_as_whole(
    name: str, request: pytest.FixtureRequest
) -> None:
    folder = Path(__file__).parents[1] / "knowledge"
    if name == "material":
        folder = request.getfixturevalue("material") / "memory" / "sncp"
    settings, roots = load_settings(), name_roots([folder])
    reader = DocumentReader(
        volatile=settings.memory.volatile, template=SKIP_RULES["template"], detect_language=lambda _: "it"
    )
    sources = SourceReader(settings.memory)
    whole = relate(reader.read(source, (source.path,)) for source in sources.read(roots).sources)
    files = MemoryFiles(lambda: roots, sources, reader, Redactor()).now()
    assert {e.path: metadata for e, metadata in files.records} == {d.source.path: d.metadata for d in whole}
    assert list_records(files, Filters()).value == len(whole)
