"""The one place that chooses implementations and puts the parts together.

Imports stand inside the functions, so that a command loads only what it uses: `cervella --help`
loads no model, a search loads no web server.
"""

from __future__ import annotations

from cervella_rag.bootstrap.index import (
    count_index,
    find_roots,
    load_settings,
    make_embedder,
    make_indexer,
    make_redactor,
    make_retriever,
    make_store,
    verify_index,
    watch,
)
from cervella_rag.bootstrap.server import (
    make_app,
    serve,
)
from cervella_rag.bootstrap.tools import (
    back_up,
    evaluate_retrieval,
    make_line_reader,
    make_question,
    outer_shape,
    restore,
)
from cervella_rag.bootstrap.voices import (
    fetch_model,
    find_model,
    make_assistant,
    make_voices,
    voice_states,
)

__all__ = [
    "back_up",
    "count_index",
    "evaluate_retrieval",
    "fetch_model",
    "find_model",
    "find_roots",
    "load_settings",
    "make_app",
    "make_assistant",
    "make_embedder",
    "make_indexer",
    "make_line_reader",
    "make_question",
    "make_redactor",
    "make_retriever",
    "make_store",
    "make_voices",
    "outer_shape",
    "restore",
    "serve",
    "verify_index",
    "voice_states",
    "watch",
]
