"""The brief's shape at the door."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from cervella_rag.chat.brief.writer import Brief


class BriefLineModel(BaseModel):
    """One line of a brief; path and lines say where it stands in the memory."""

    model_config = ConfigDict(from_attributes=True)

    text: str
    root: str
    path: str
    start_line: int
    end_line: int


class BriefModel(BaseModel):
    """Where to start from. `found` counts what there was by section; `text` is all of it, as markdown."""

    project: str | None
    as_of: str | None
    session: str | None
    generation: int
    state: list[BriefLineModel]
    next_steps: list[BriefLineModel]
    decisions: list[BriefLineModel]
    stale: list[BriefLineModel]
    contradictions: list[BriefLineModel]
    found: dict[str, int]
    text: str
    tokens: int

    @classmethod
    def of(cls, brief: Brief) -> BriefModel:
        """Return the outer shape of `brief`."""
        sections = {
            name: [BriefLineModel.model_validate(line) for line in lines]
            for name, lines in brief.sections.items()
        }
        return cls(
            project=brief.project,
            as_of=brief.as_of,
            session=brief.session,
            generation=brief.generation,
            found=brief.found,
            text=brief.text,
            tokens=brief.tokens,
            **sections,
        )
