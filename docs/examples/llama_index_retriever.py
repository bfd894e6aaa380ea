"""A LlamaIndex query engine that speaks from a Cervella memory.

Indexes the sample memory into a folder of its own. The model is a double that needs no network; put any LLM
of LlamaIndex in its place.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode

from cervella_rag import bootstrap
from cervella_rag.domain import Filters


def main() -> None:
    """Index, retrieve, and answer a question through LlamaIndex."""
    with TemporaryDirectory() as home:
        settings = bootstrap.load_settings(home=Path(home))
        bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings))

        lessons = bootstrap.make_llama_index_retriever(settings, top_k=3, filters=Filters(kind="lesson"))
        for found in lessons.retrieve("Che cosa abbiamo imparato sui file non salvati?"):
            metadata = found.node.metadata
            print(f"{metadata['path']}, lines {metadata['lines']}, {metadata['date']}")

        engine = RetrieverQueryEngine.from_args(
            bootstrap.make_llama_index_retriever(settings, top_k=2),
            llm=MockLLM(),  # says what it was asked
            response_mode=ResponseMode.COMPACT,
        )
        answer = engine.query("Perché abbiamo scelto Qdrant al posto di Chroma?")
        print(answer)
        print("sources:", *(source.node.metadata["path"] for source in answer.source_nodes))


if __name__ == "__main__":
    main()
