"""LlamaIndex's VectorStoreIndex on its QdrantVectorStore, hybrid, with its own reading, cutting and fusion.

Its hybrid mode wants an encoder of words from a model hub; it is given ours, with Qdrant's document
frequencies, and the same embedder, so that what is compared is the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llama_index.core import SimpleDirectoryReader, StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import MetadataMode, TransformComponent
from llama_index.core.vector_stores.types import VectorStoreQueryMode
from llama_index.vector_stores.qdrant import QdrantVectorStore
from pydantic import PrivateAttr
from qdrant_client import QdrantClient, models

from cervella_rag.domain import SparseVector
from cervella_rag.memory.lexical import encode_document, encode_query
from cervella_rag.vectors.use_embedder import USEEmbedder

from .system import HIT_TOKENS, Passage

_ENDINGS = [".md", ".txt", ".json", ".py", ".sh", ".yaml", ".yml"]


class _Embedding(BaseEmbedding):
    _embedder: USEEmbedder = PrivateAttr(default_factory=USEEmbedder)

    def _get_query_embedding(self, query: str) -> list[float]:
        vector: list[float] = self._embedder.embed_query(query).tolist()
        return vector

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._embedder.embed_documents(texts).tolist()
        return vectors


class LlamaIndex:
    """See `System`; cut as it cuts by default: 1,024 tokens."""

    cutting: tuple[TransformComponent, ...] | None = None

    def __init__(self, place: Path) -> None:
        self._client = QdrantClient(path=str(place))

    def index(self, folder: Path) -> int:
        """See `System`."""
        self._folder = folder
        reader = SimpleDirectoryReader(str(folder), recursive=True, required_exts=_ENDINGS)
        store = QdrantVectorStore(
            "memory",
            client=self._client,
            enable_hybrid=True,
            sparse_doc_fn=lambda texts: _parts([encode_document(text) for text in texts]),
            sparse_query_fn=lambda texts: _parts([encode_query(text) for text in texts]),
            sparse_config=models.SparseVectorParams(modifier=models.Modifier.IDF),
        )
        index = VectorStoreIndex.from_documents(
            reader.load_data(),
            storage_context=StorageContext.from_defaults(vector_store=store),
            embed_model=_Embedding(),
            transformations=list(self.cutting) if self.cutting else None,
        )
        self._retriever = index.as_retriever(
            vector_store_query_mode=VectorStoreQueryMode.HYBRID, similarity_top_k=10, sparse_top_k=10
        )
        return self._client.count("memory").count

    def search(self, question: str) -> list[Passage]:
        """See `System`."""
        return [
            Passage(
                str(Path(found.node.metadata["file_path"]).relative_to(self._folder)),
                found.node.get_content(MetadataMode.NONE),
            )
            for found in self._retriever.retrieve(question)
        ]


class LlamaIndexOf500(LlamaIndex):
    """The same with pieces as long as a hit of ours may be."""

    cutting = (SentenceSplitter(chunk_size=HIT_TOKENS, chunk_overlap=50),)


def _parts(vectors: Sequence[SparseVector]) -> tuple[list[list[int]], list[list[float]]]:
    return [list(one.indices) for one in vectors], [list(one.values) for one in vectors]
