"""A chunk as Qdrant keeps it, under names that other tools can read, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cervella_rag.domain import Chunk, Kind, Metadata

DENSE = "dense"
LEXICAL = "lexical"
WINDOWS = "windows"
KEYWORD_FIELDS = ("root", "path", "paths", "project", "kind", "sessions", "language")
DATE_FIELD = "date"

_KINDS = {str(kind): kind for kind in Kind}


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
        "reading": chunk.reading or None,
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
    get = payload.get  # a search reads a hundred of these
    metadata = Metadata(
        title=payload["title"],
        date=get("date"),
        date_source=get("date_source"),
        project=get("project"),
        session=get("session"),
        kind=_KINDS[payload["kind"]],
        status=get("status"),
        author=get("author"),
        language=payload["language"],
        volatile=payload["volatile"] == "yes",
        template=payload["template"] == "yes",
        superseded_by=get("superseded_by"),
        time=get("time"),
    )
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
        metadata=metadata,
        retired=payload.get("retired"),
        reading=payload.get("reading", ""),
        enrichment=payload.get("enrichment", ""),
    )
