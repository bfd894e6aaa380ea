"""A chunk as Qdrant keeps it, under names that other tools can read, and back."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from cervella_rag.domain import Chunk, Kind, Metadata

DENSE = "dense"
LEXICAL = "lexical"
WINDOWS = "windows"
KEYWORD_FIELDS = ("root", "path", "paths", "project", "kind", "sessions", "language")
DATE_FIELD = "date"

_METADATA = tuple(field.name for field in fields(Metadata))


def to_payload(chunk: Chunk) -> dict[str, Any]:
    """Return the payload of a chunk's point; absent values are left out.

    `text`, `title`, `source`, `path` and `lines` are there for other tools, which look for such names.

    `sessions` holds the session with and without its suffix, so that "159" finds "159e" as well.
    Flags are the words "yes" and "no": a boolean silently matches nothing in the embedded engine.
    """
    payload: dict[str, Any] = {
        **asdict(chunk.metadata),
        "root": chunk.root,
        "path": chunk.path,
        "source": f"{chunk.root}/{chunk.path}",
        "lines": f"{chunk.start_line}-{chunk.end_line}",
        "paths": list(chunk.paths),
        "sha256": chunk.sha256,
        "headings": list(chunk.headings),
        "start_line": chunk.start_line,
        "end_line": chunk.end_line,
        "text": chunk.text,
        "index_text": chunk.index_text,
        "retired": chunk.retired,
        "enrichment": chunk.enrichment or None,
        "volatile": "yes" if chunk.metadata.volatile else "no",
        "template": "yes" if chunk.metadata.template else "no",
        "kind": str(chunk.metadata.kind),
    }
    if session := chunk.metadata.session:
        payload["sessions"] = sorted({session, session.rstrip("abcdefghijklmnopqrstuvwxyz")})
    return {name: value for name, value in payload.items() if value is not None}


def from_payload(chunk_id: str, payload: dict[str, Any]) -> Chunk:
    """Return the chunk that `to_payload` wrote."""
    values: dict[str, Any] = {name: payload.get(name) for name in _METADATA}
    values["kind"] = Kind(payload["kind"])
    values["volatile"] = payload["volatile"] == "yes"
    values["template"] = payload["template"] == "yes"
    return Chunk(
        chunk_id=chunk_id,
        root=payload["root"],
        path=payload["path"],
        paths=tuple(payload["paths"]),
        sha256=payload["sha256"],
        headings=tuple(payload["headings"]),
        start_line=payload["start_line"],
        end_line=payload["end_line"],
        text=payload["text"],
        index_text=payload["index_text"],
        metadata=Metadata(**values),
        retired=payload.get("retired"),
        enrichment=payload.get("enrichment", ""),
    )
