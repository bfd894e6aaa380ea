"""The one place that chooses implementations and puts the parts together.

Imports stand inside the functions, so that a command loads only what it uses: `cervella --help`
loads no model, a search loads no web server.
"""

from __future__ import annotations

from cervella_rag.bootstrap.brief import brief_shape, write_brief
from cervella_rag.bootstrap.conversations import describe_conversations
from cervella_rag.bootstrap.enrich import enrich
from cervella_rag.bootstrap.index import (
    count_index,
    find_roots,
    load_settings,
    make_embedder,
    make_exact,
    make_indexer,
    make_redactor,
    make_retriever,
    make_store,
    verify_index,
    watch,
)
from cervella_rag.bootstrap.mcp import serve_mcp, serve_mcp_over_http
from cervella_rag.bootstrap.measures import (
    count_costs,
    evaluate_answers,
    evaluate_persona,
    evaluate_tasks,
    read_answers,
    with_voice,
    write_sheet,
)
from cervella_rag.bootstrap.persona import (
    describe_persona,
    export_persona,
    import_persona,
)
from cervella_rag.bootstrap.retrieval import (
    calibrate,
    compare_with_baseline,
    evaluate_retrieval,
    make_llama_index_retriever,
    save_baseline,
)
from cervella_rag.bootstrap.server import (
    make_app,
    serve,
)
from cervella_rag.bootstrap.tools import (
    back_up,
    make_line_reader,
    make_pattern,
    make_question,
    outer_shape,
    restore,
    search,
    word_exact,
)
from cervella_rag.bootstrap.voices import (
    fetch_model,
    find_model,
    make_assistant,
    make_persona,
    make_voices,
    voice_states,
)
from cervella_rag.bootstrap.writeback import check_wish, export_feedback, write_back

__all__ = [
    "back_up",
    "brief_shape",
    "calibrate",
    "check_wish",
    "compare_with_baseline",
    "count_costs",
    "count_index",
    "describe_conversations",
    "describe_persona",
    "enrich",
    "evaluate_answers",
    "evaluate_persona",
    "evaluate_retrieval",
    "evaluate_tasks",
    "export_feedback",
    "export_persona",
    "fetch_model",
    "find_model",
    "find_roots",
    "import_persona",
    "load_settings",
    "make_app",
    "make_assistant",
    "make_embedder",
    "make_exact",
    "make_indexer",
    "make_line_reader",
    "make_llama_index_retriever",
    "make_pattern",
    "make_persona",
    "make_question",
    "make_redactor",
    "make_retriever",
    "make_store",
    "make_voices",
    "outer_shape",
    "read_answers",
    "restore",
    "save_baseline",
    "search",
    "serve",
    "serve_mcp",
    "serve_mcp_over_http",
    "verify_index",
    "voice_states",
    "watch",
    "with_voice",
    "word_exact",
    "write_back",
    "write_brief",
    "write_sheet",
]
