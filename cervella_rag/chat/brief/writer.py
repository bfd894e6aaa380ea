"""Lines become a brief: as many of each section as fit the budget, in turn, so that none starves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cervella_rag.chat.brief.contradictions import contradiction_lines
from cervella_rag.chat.brief.decisions import decision_lines
from cervella_rag.chat.brief.line import BriefLine
from cervella_rag.chat.brief.records import Record, read_records, shorten
from cervella_rag.chat.brief.stale import stale_lines
from cervella_rag.chat.brief.state import next_lines, state_lines, state_records
from cervella_rag.chat.brief.time import newest_date, newest_session
from cervella_rag.errors import ProjectUnknownError
from cervella_rag.protocols import StoreReader
from cervella_rag.templates import Templates
from cervella_rag.tokens import estimate_tokens

DEFAULT_TOKENS = 1000
FEWEST_TOKENS = 200
MOST_TOKENS = 8000

SECTIONS = ("state", "next_steps", "decisions", "stale", "contradictions")
_ROUND = (
    "stale",
    "state",
    "decisions",
    "next_steps",
    "contradictions",
    "state",
    "decisions",
    "next_steps",
    "decisions",
)
"""Whose turn it is: a warning is worth as much as a step, and there are few of them."""
_MOST_WARNINGS = 5
_PROJECT_CHARACTERS = 60
"""The frame alone must fit the smallest budget, whatever a project is called."""


@dataclass(frozen=True, slots=True)
class Brief:
    """What somebody who starts to work must know.

    Attributes:
        as_of: Newest date of the memory, which is its today; None where nothing is dated.
        session: Newest session of that day.
        sections: Lines shown, by section.
        found: How many lines there were, by section.
        text: All of it as markdown.
        tokens: Its length, by the project's estimate; never above what was allowed.
    """

    project: str | None
    as_of: str | None
    session: str | None
    generation: int
    sections: dict[str, tuple[BriefLine, ...]]
    found: dict[str, int]
    text: str = ""
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class BriefWriter:
    """Writes briefs from a generation of the index."""

    templates: Templates

    def write(
        self,
        reader: StoreReader,
        *,
        project: str | None = None,
        max_tokens: int = DEFAULT_TOKENS,
        language: str = "it",
    ) -> Brief:
        """Return a brief of at most `max_tokens`, of everything or of one project.

        Raises:
            ProjectUnknownError: No file belongs to the project.
            TemplateFileError: The frame cannot be used.
        """
        every = read_records(reader.chunks())
        records = _of_project(every, project)
        as_of = newest_date(every, reader.manifest.created[:10])
        lines = _lines(records, as_of, language)
        brief = Brief(
            project=shorten(project.lower(), _PROJECT_CHARACTERS) if project else None,
            as_of=as_of,
            session=newest_session(records, as_of) if as_of else None,
            generation=reader.manifest.generation,
            sections=dict.fromkeys(SECTIONS, ()),
            found={name: len(lines[name]) for name in SECTIONS},
        )
        return self._fill(brief, lines, max_tokens, language)

    def _fill(self, brief: Brief, lines: dict[str, list[BriefLine]], budget: int, language: str) -> Brief:
        brief = self._shown(brief, brief.sections, language)
        waiting = {name: list(found) for name, found in lines.items()}
        while any(waiting.values()):
            for name in _ROUND:
                if not waiting[name]:
                    continue
                more = {**brief.sections, name: (*brief.sections[name], waiting[name].pop(0))}
                fuller = self._shown(brief, more, language)
                if fuller.tokens <= budget:
                    brief = fuller
                else:
                    waiting[name] = []  # a later, shorter line would stand before what comes first
        return self._enrich(brief, budget, language)

    def _enrich(self, brief: Brief, budget: int, language: str) -> Brief:
        for position, line in enumerate(brief.sections["decisions"]):
            if not line.more:
                continue
            decisions = list(brief.sections["decisions"])
            decisions[position] = replace(line, text=f"{line.text}: {line.more}", more="")
            fuller = self._shown(brief, {**brief.sections, "decisions": tuple(decisions)}, language)
            if fuller.tokens > budget:
                break
            brief = fuller
        return brief

    def _shown(self, brief: Brief, sections: dict[str, tuple[BriefLine, ...]], language: str) -> Brief:
        brief = replace(brief, sections=sections)
        text = self.templates.render(f"brief/brief.{language}.md.j2", brief=brief)
        return replace(brief, text=text, tokens=estimate_tokens(text))


def _of_project(records: Sequence[Record], project: str | None) -> tuple[Record, ...]:
    if project is None:
        return tuple(records)
    wanted = project.strip().lower()
    found = tuple(record for record in records if record.metadata.project == wanted)
    if not found:
        known = sorted({record.metadata.project for record in records if record.metadata.project})
        raise ProjectUnknownError(project=project[:80], known=", ".join(known[:10]) or "-")
    return found


def _lines(records: Sequence[Record], as_of: str | None, language: str) -> dict[str, list[BriefLine]]:
    if as_of is None:
        return {name: [] for name in SECTIONS}
    states = state_records(records, as_of)
    current = [record for record in records if record.metadata.volatile and not record.is_archived]
    return {
        "state": state_lines(states),
        "next_steps": next_lines(states, records, as_of),
        "decisions": decision_lines(records, as_of),
        "stale": stale_lines(records, as_of, language)[:_MOST_WARNINGS],
        "contradictions": contradiction_lines(records, current, language)[:_MOST_WARNINGS],
    }
