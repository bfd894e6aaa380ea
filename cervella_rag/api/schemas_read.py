"""What another process of this machine was told by a server, back as values: see `bootstrap.neighbour`."""

from __future__ import annotations

from cervella_rag.api.schemas import ExactModel, HitModel, SearchResponse
from cervella_rag.domain import (
    Chunk,
    Exact,
    ExactSource,
    Hit,
    IndexInfo,
    Kind,
    Metadata,
    Question,
    Retrieval,
    Scores,
    Understood,
)


def retrieval_of(response: SearchResponse, question: Question) -> Retrieval:
    """Return what was found for a question.

    Raises:
        KeyError, TypeError, ValueError: The server is of another version.
    """
    understood = dict(response.understood)
    understood["words"] = tuple(understood["words"])
    understood["also"] = tuple((word, tuple(names)) for word, names in understood["also"])
    return Retrieval(
        question=question,
        hits=tuple(map(_hit, response.hits)),
        enough=response.enough,
        closest=tuple(map(_hit, response.closest)),
        understood=Understood(**understood),
        index=IndexInfo(**response.index.model_dump()),
        took_ms=response.took_ms,
        exact=_exact(response.exact) if response.exact else None,
        degraded=tuple(response.degraded),
    )


def _hit(model: HitModel) -> Hit:
    """Return a hit as far as it came over the wire: without its file's hash and its indexed text."""
    metadata = Metadata(
        title=model.title,
        date=model.date,
        project=model.project,
        session=model.session,
        kind=Kind(model.kind),
        status=model.status,
        superseded_by=model.superseded_by,
    )
    chunk = Chunk(
        chunk_id=model.chunk_id,
        root=model.root,
        path=model.path,
        paths=tuple(model.paths),
        sha256="",
        headings=tuple(model.headings),
        start_line=model.start_line,
        end_line=model.end_line,
        text=model.text,
        index_text="",
        metadata=metadata,
        retired=model.retired,
    )
    return Hit(chunk, Scores(**model.scores.model_dump()), model.why)


def _exact(model: ExactModel) -> Exact:
    return Exact(
        operation=model.operation,
        value=model.value,
        sources=tuple(ExactSource(**source.model_dump()) for source in model.sources),
        details=model.details,
        parts=tuple(map(_exact, model.parts)),
        complete=model.complete,
    )
