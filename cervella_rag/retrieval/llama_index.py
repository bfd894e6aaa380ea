"""Our retriever as one of LlamaIndex's: hits become nodes, and its query engines speak from this memory.

Importing it imports LlamaIndex, which takes seconds; nothing else of `retrieval` does. It is made by
`cervella_rag.bootstrap.make_llama_index_retriever`.

Reference: https://developers.llamaindex.ai/python/framework/module_guides/querying/retriever/
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from llama_index.core.callbacks import CallbackManager
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from cervella_rag.domain import Filters, Hit, Question
from cervella_rag.retrieval.retriever import Retriever

_UNSEEN = ("chunk_id", "root", "start_line", "end_line", "why", "scores")
"""Metadata that a model need not read."""


class CervellaRetriever(BaseRetriever):
    """Hits of a Cervella index as nodes, best first.

    A node's text is the lines of the file after redaction and nothing else; its id is the chunk's. Its
    metadata says where and when: `path`, `root`, `start_line`, `end_line`, `lines`, `title`, `headings`,
    `date`, `session`, `project`, `kind`, `status`, `retired` (the day it was last seen, of a file that is
    gone), `why` and `scores`; what a document does not say is None. The score only orders.

    Args:
        retriever: Finds the hits.
        top_k: Most nodes that are returned.
        filters: Conditions every hit must meet.
        only_enough: Return nothing where the best hits do not suffice to answer from; without it the
            closest ones come too.
    """

    def __init__(
        self,
        retriever: Retriever,
        *,
        top_k: int = 10,
        filters: Filters | None = None,
        only_enough: bool = False,
    ) -> None:
        super().__init__(callback_manager=CallbackManager())
        self._retriever = retriever
        self._top_k = top_k
        self._filters = filters or Filters()
        self._only_enough = only_enough

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        question = Question(query_bundle.query_str, filters=self._filters)
        found = self._retriever.retrieve(question, top_k=self._top_k)
        if self._only_enough and not found.enough:
            return []
        return [to_node(hit) for hit in found.hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        # The model and the engine block; LlamaIndex's own default would block the loop with them.
        return await asyncio.to_thread(self._retrieve, query_bundle)


def to_node(hit: Hit) -> NodeWithScore:
    """Return a hit as a node; see `CervellaRetriever`."""
    chunk, metadata = hit.chunk, hit.chunk.metadata
    node = TextNode(
        id_=chunk.chunk_id,
        text=chunk.text,
        metadata={
            "path": chunk.path,
            "lines": f"{chunk.start_line}-{chunk.end_line}",
            "title": metadata.title,
            "headings": " > ".join(chunk.headings),
            "date": metadata.date,
            "session": metadata.session,
            "project": metadata.project,
            "kind": str(metadata.kind),
            "retired": chunk.retired,
            "status": metadata.status,
            "chunk_id": chunk.chunk_id,
            "root": chunk.root,
            "start_line": chunk.start_line,
            "end_line": chunk.end_line,
            "why": hit.why,
            "scores": asdict(hit.scores),
        },
        excluded_llm_metadata_keys=list(_UNSEEN),
        excluded_embed_metadata_keys=list(_UNSEEN),
    )
    return NodeWithScore(node=node, score=hit.score)
