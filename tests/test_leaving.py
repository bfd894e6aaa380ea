"""Who leaves in the middle of a silence is noticed at once, by the model too."""

from __future__ import annotations

import time
from pathlib import Path

import httpx2
import pytest

from cervella_rag import bootstrap

from .ollama_double import OllamaDouble, Step, Stream, piece
from .page.browser import served, speaking

NOTICED_SECONDS = 5  # far below the 15 after which a ping would tell


def test_leaving_while_the_model_is_silent_frees_it(january: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with speaking(OllamaDouble(Stream((piece("Il forno tiene sei ore e "), Step.SILENCE)))) as double:
        for name, value in {"OLLAMA_URL": double.url, "OLLAMA_MODEL": "m", "VOICE": "ollama"}.items():
            monkeypatch.setenv(f"CERVELLA_LLM__{name}", value)
        monkeypatch.setenv("CERVELLA_MEMORY__ROOTS", str(january))
        monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")
        settings = bootstrap.load_settings()
        bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings))
        with served() as url, httpx2.Client(base_url=url, timeout=20) as client:
            request = {"message": "Quante ore tiene il forno?", "stream": True}
            with client.stream("POST", "/v1/chat", json=request) as response:
                assert any("event: token" in line for line in response.iter_lines())
            deadline = time.monotonic() + NOTICED_SECONDS
            while not double.has_stopped.is_set() and time.monotonic() < deadline:
                time.sleep(0.02)
            assert double.has_stopped.is_set()
