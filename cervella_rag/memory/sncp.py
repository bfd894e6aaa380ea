"""A source becomes a document: what SNCP files say about themselves, wherever they say it.

SNCP files have no front matter. They open with a title and a few `**Key:** value` lines in Italian,
English or Portuguese, close with a dated footer, and carry dates and sessions in their names. Folders
tell little: most of the memory lies under an archive and is not obsolete.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from types import MappingProxyType

from pathspec import GitIgnoreSpec

from cervella_rag.domain import Document, Kind, Metadata, Source
from cervella_rag.memory.cleaning import clean_line
from cervella_rag.memory.dates import find_date, find_time
from cervella_rag.memory.markdown import parse
from cervella_rag.memory.redaction import Redactor

HEADER_LINES = 25
FOOTER_LINES = 10
PROJECT_LINES = 15
STATUS_CHARACTERS = 80

Place = tuple[str, str]
"""Root and path of a file."""


_NAME_KINDS: tuple[tuple[Kind, str], ...] = (
    (Kind.SPECIFICATION, r"task_benchmark|metriche|specifica|specification|test_plan"),
    (Kind.DECISION, r"decision[ei]|decis[aã]o"),
    (Kind.LESSON, r"lezion[ei]|lesson"),
    (Kind.HANDOFF, r"handoff|passaggio"),
    (Kind.SESSION, r"session[ei]?|sess[aã]o"),
    (Kind.PERSONA, r"costituzione|anima|manifesto|chi_e|persona|dna"),
    (Kind.RESEARCH, r"ricerca|ricerche|research|studio|studi|deep_dive"),
    (Kind.ROADMAP, r"(sub_?)?roadmap|mappa|piano|plan|sprint|nord"),
    (Kind.STATE, r"stato|oggi|prompt_ripresa|prossimi_step"),
    (Kind.REPORT, r"report|audit|analisi|verifica|validazione|code_review|investigazione"),
    (Kind.IDEA, r"idea|idee"),
)
_NAME_RULES = tuple((kind, re.compile(rf"(?:^|_)(?:{words})(?:_|$)")) for kind, words in _NAME_KINDS)

_FOLDER_KINDS: dict[str, Kind] = {
    "decisioni": Kind.DECISION, "lezioni": Kind.LESSON, "ricerche": Kind.RESEARCH,
    "ricerca": Kind.RESEARCH, "studi": Kind.RESEARCH, "studio": Kind.RESEARCH,
    "sessioni": Kind.SESSION, "sessioni_parallele": Kind.SESSION, "stato": Kind.STATE,
    "roadmaps": Kind.ROADMAP, "roadmap": Kind.ROADMAP, "futuro": Kind.ROADMAP, "idee": Kind.IDEA,
    "reports": Kind.REPORT, "report": Kind.REPORT, "analisi": Kind.REPORT,
    "validazioni": Kind.REPORT, "handoff": Kind.HANDOFF, "coscienza": Kind.CONSCIOUSNESS,
    "idee_vecchie": Kind.IDEA, "regole": Kind.RULE, "istruzioni": Kind.RULE, "workflow": Kind.RULE,
}  # fmt: skip

_FIELD = re.compile(r"^\s*(?:>\s*)?(?:[-*]\s+)?\*{0,2}([^\W\d][\w .'-]{1,30}?)\*{0,2}\s*:\*{0,2}\s*(\S.*)$")
_DATE_KEYS = (
    ("data", "date"),
    ("ultimo aggiornamento", "aggiornato", "last updated", "updated", "atualizado"),
    ("data ricerca", "creato", "creata", "created", "criado", "data creazione"),
)
_SESSION_KEYS = ("sessione", "session", "sessao", "sessão")
_STATUS_KEYS = ("status", "stato", "esito")
_PROJECT_KEYS = ("progetto", "project", "projeto")
_SUPERSEDED_KEYS = (
    "superata da", "superato da", "sostituita da", "sostituito da", "superseded by", "replaced by",
    "substituída por", "substituído por", "substituida por", "substituido por",
)  # fmt: skip
_AUTHOR_KEYS = (
    "autore", "autrice", "author", "autora", "autor", "ricercatrice", "researcher", "analista",
    "auditor", "reviewer", "decisore",
)  # fmt: skip

# "Sessione 9 Gennaio" is a date, "Sessione 140" a number.
_SESSION = re.compile(
    r"(?i)\b(?:sessione|sessão|sessao|session|sess\.)[\s_#]*(?:n[.°]\s*)?(\d{1,4}[a-z]?)\b(?!\s+[a-z]{3,9}\s+20\d\d)"
)
_SHORT_SESSION = re.compile(r"(?<![A-Za-z0-9])S(\d{2,4}[a-z]?)(?![A-Za-z0-9])")
_NAME_SESSION = re.compile(r"_(\d{3})$")
_FILE = re.compile(r"[\w.-][\w./-]*\.[A-Za-z]{1,5}\b")
_PART = re.compile(r"(?i)_part[ei]?_?\d+.*$")


class DocumentReader:
    """Turns sources into documents; holds only configuration.

    Args:
        volatile: Patterns, as in .gitignore, of files that are rewritten in place.
        template: Patterns of empty forms.
        detect_language: Text to "it", "en" or "pt".
        redactor: Takes secrets out before anything else is read; None leaves them in.
    """

    def __init__(
        self,
        *,
        volatile: list[str],
        template: list[str],
        detect_language: Callable[[str], str],
        redactor: Redactor | None = None,
    ) -> None:
        self._redactor = redactor
        self._volatile = GitIgnoreSpec.from_lines(volatile)
        self._template = GitIgnoreSpec.from_lines(template)
        self._detect_language = detect_language

    def read(self, source: Source, paths: tuple[str, ...]) -> Document:
        """Read one source; `paths` are all places with the same bytes, its own first."""
        redacted: Mapping[str, int] = {}
        if self._redactor:
            clean = self._redactor.redact(source.text)
            source, redacted = replace(source, text=clean.text), clean.found
        blocks = parse(source.path, source.text)
        lines = source.text.split("\n")
        fields = _header_fields(lines)
        name = PurePosixPath(source.path).stem
        title = next((block.title for block in blocks if block.level), "") or name
        date, date_source, time = _date(lines, fields, name)
        metadata = Metadata(
            title=title,
            date=date,
            date_source=date_source,
            project=_project(source.path, fields),
            session=_session(lines, fields, name),
            kind=kind_of_path(source.path),
            status=_first(fields, _STATUS_KEYS, STATUS_CHARACTERS),
            author=_first(fields, _AUTHOR_KEYS, STATUS_CHARACTERS),
            language=self._detect_language(source.text),
            volatile=self._volatile.match_file(source.path),
            template=self._template.match_file(source.path),
            superseded_by=_replacement(fields, source.path),
            time=time,
        )
        return Document(source, metadata, blocks, paths, redacted)


def relate(
    documents: Iterable[Document], neighbours: Mapping[Place, Metadata] = MappingProxyType({})
) -> tuple[Document, ...]:
    """Fill what a document says only through others: a part's date, the project, a bare session number.

    A second part without a date takes its first part's. A document without a project takes the one
    project that its title and first lines name, among the projects that the memory itself declares.
    Three digits at the end of a name are a session only where another document declares that session.

    Args:
        documents: The documents to fill.
        neighbours: What is known already of other documents, by root and path.
    """
    documents = tuple(documents)
    known = {**neighbours, **{_place(document): document.metadata for document in documents}}
    dates = _part_dates(known)
    projects = _known_projects(known.values())
    sessions = frozenset(metadata.session for metadata in known.values() if metadata.session)
    related = []
    for document in documents:
        metadata = replace(
            document.metadata,
            project=_belongs_to(document, projects),
            session=document.metadata.session or _named_session(document, sessions),
        )
        if metadata.date is None and (date := dates.get(_whole(_place(document)))):
            metadata = replace(metadata, date=date, date_source="part")
        related.append(replace(document, metadata=metadata))
    return tuple(related)


def _named_session(document: Document, sessions: frozenset[str]) -> str | None:
    match = _NAME_SESSION.search(PurePosixPath(document.source.path).stem)
    return match[1] if match and match[1] in sessions else None


def _place(document: Document) -> Place:
    return document.source.root, document.source.path


def _header_fields(lines: list[str]) -> dict[str, str]:
    """`Key: value` lines of the header, keys in lower case, the first of each kept."""
    fields: dict[str, str] = {}
    for line in lines[:HEADER_LINES]:
        if match := _FIELD.match(line):
            fields.setdefault(match[1].strip().lower(), match[2].strip())
    return fields


def _first(fields: dict[str, str], keys: Iterable[str], characters: int) -> str | None:
    value = next((fields[key] for key in keys if key in fields), None)
    return clean_line(value)[:characters].strip() or None if value else None


def _replacement(fields: dict[str, str], path: str) -> str | None:
    """Return the path of the file that a header says took this one's place: a bare name is beside it."""
    named = _FILE.search(next((fields[key] for key in _SUPERSEDED_KEYS if key in fields), ""))
    if not named:
        return None
    place = named[0] if "/" in named[0] else str(PurePosixPath(path).with_name(named[0]))
    other = posixpath.normpath(place)
    return None if other == path or other.startswith(("..", "/")) else other


def _date(lines: list[str], fields: dict[str, str], name: str) -> tuple[str | None, ...]:
    """Return the date, where it came from, and the time of day that a header says beside it."""
    footer = [line for line in lines if line.strip()][-FOOTER_LINES:]
    candidates = (
        *(("header", fields.get(key, "")) for keys in _DATE_KEYS for key in keys),
        *(("early", line) for line in lines[:HEADER_LINES]),
        ("name", name),
        *(("footer", line) for line in reversed(footer)),
    )
    for origin, text in candidates:
        if date := find_date(text):
            return date, origin, find_time(text) if origin == "header" else None
    return None, None, None


def _session(lines: list[str], fields: dict[str, str], name: str) -> str | None:
    declared = next((fields[key] for key in _SESSION_KEYS if key in fields), "")
    if match := _SESSION.search(f"sessione {declared}") or _SHORT_SESSION.search(declared):
        return match[1].lower()
    head = "\n".join(lines[:HEADER_LINES])
    foot = "\n".join([line for line in lines if line.strip()][-FOOTER_LINES:])
    for pattern, text in (
        (_SESSION, name.replace("_", " ")),
        (_SHORT_SESSION, name.replace("_", " ")),
        (_SESSION, head),
        (_SHORT_SESSION, head),
        (_SESSION, foot),
    ):
        if match := pattern.search(text):
            return match[1].lower()
    return None


def kind_of_path(path: str) -> Kind:
    """Return what a path says a file is: by the name first, then by the nearest folder that tells."""
    pure = PurePosixPath(path)
    name = re.sub(r"[\s-]+", "_", pure.stem.lower())
    # The first word says what a file is, later ones what it is about: RICERCA_AUDIT is research.
    found = [(match.start(), order, kind) for order, (kind, rule) in enumerate(_NAME_RULES)
             if (match := rule.search(name))]  # fmt: skip
    if found:
        return min(found)[2]
    folders = (_FOLDER_KINDS.get(part.lower()) for part in reversed(pure.parent.parts))
    return next((kind for kind in folders if kind), Kind.OTHER)


def _project(path: str, fields: dict[str, str]) -> str | None:
    parts = [part.lower() for part in PurePosixPath(path).parts]
    if "progetti" in parts[:-2]:
        return parts[parts.index("progetti") + 1]
    names = _declared_projects(fields)
    return names[0] if len(names) == 1 else None


def _declared_projects(fields: dict[str, str]) -> list[str]:
    value = next((fields[key] for key in _PROJECT_KEYS if key in fields), "")
    if value.startswith("["):  # a form's placeholder
        return []
    names = (re.split(r"\s+[-–(]|\(", name)[0] for name in re.split(r"[|,/]", value))
    return [word for name in names if (word := clean_line(name).lower())]


def _known_projects(known: Iterable[Metadata]) -> tuple[str, ...]:
    """The projects the memory declares, shortest first, so that "miracollo" covers its modules."""
    declared = {metadata.project for metadata in known if metadata.project}
    projects: list[str] = []
    for name in sorted(declared, key=lambda name: (len(name), name)):
        if not any(re.match(rf"{re.escape(other)}\b", name) for other in projects):
            projects.append(name)
    return tuple(projects)


def _belongs_to(document: Document, projects: tuple[str, ...]) -> str | None:
    own = document.metadata.project
    if own:
        return next((name for name in projects if re.match(rf"{re.escape(name)}\b", own)), own)
    head = "\n".join([document.source.path, *document.source.text.split("\n")[:PROJECT_LINES]]).lower()
    named = [name for name in projects if re.search(rf"(?<![a-z]){re.escape(name)}(?![a-z])", head)]
    return named[0] if len(named) == 1 else None


def _whole(place: Place) -> Place:
    """The name that the parts of one document share."""
    root, path = place
    pure = PurePosixPath(path)
    return root, str(pure.parent / _PART.sub("", pure.stem).lower())


def _part_dates(known: Mapping[Place, Metadata]) -> dict[Place, str]:
    dates: dict[Place, list[str]] = defaultdict(list)
    for place, metadata in known.items():
        if metadata.date:
            dates[_whole(place)].append(metadata.date)
    return {place: min(found) for place, found in dates.items()}
