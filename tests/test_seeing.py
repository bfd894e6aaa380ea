"""Seeing it run: metrics, alert rules, logs and spans, none of which holds what was said."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient

from cervella_rag import bootstrap
from cervella_rag.api.logs import configure
from cervella_rag.errors import VoiceBrokenError
from cervella_rag.settings import LogSettings

from .test_api import speak_with
from .test_assistant import ScriptedLLM

KEY = "0123456789abcdef-rafa"
WORDS = "Quante ore tiene il forno segretissimo?"
RULES = Path(__file__).parents[1] / "docker" / "alerts.yml"


@pytest.fixture
def client(january: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")
    monkeypatch.setenv("CERVELLA_API__KEYS", f"rafa:{KEY}")
    monkeypatch.setenv("CERVELLA_API__CHAT_PER_MINUTE", "4")
    settings = bootstrap.load_settings()
    bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings, [january]))
    with TestClient(
        bootstrap.make_app(settings), base_url="http://127.0.0.1", headers={"x-api-key": KEY}
    ) as client:
        yield client


def metrics(client: TestClient) -> dict[str, float]:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = (line.rpartition(" ") for line in answer.text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def use(client: TestClient) -> None:
    """Ask, search, find nothing, be refused, break off."""
    assert client.post("/v1/chat", json={"message": WORDS}).status_code == 200
    client.post("/v1/chat", json={"message": "Chi ha vinto il campionato di cricket?"})
    speak_with(client, ScriptedLLM("Sei ore [7].", mode="ollama"))
    client.post("/v1/chat", json={"message": WORDS, "stream": True})
    speak_with(client, ScriptedLLM("Sei ", error=VoiceBrokenError(voice="v", place="p", reason="gone")))
    client.post("/v1/chat", json={"message": WORDS, "stream": True})
    assert client.post("/v1/chat", json={"message": WORDS}).status_code == 429
    client.post("/v1/search", json={"question": "forno"})
    client.get("/v1/nothing/" + WORDS)
    client.get("/v1/stats", headers={"x-api-key": "wrong"})


def test_what_happens_is_counted_for_each_key(client: TestClient) -> None:
    use(client)
    seen = metrics(client)
    label = 'key="rafa"'
    assert seen[f'cervella_answers_total{{grounded="true",{label},mode="memory_only"}}'] == 1
    assert seen[f'cervella_answers_total{{grounded="false",{label},mode="memory_only"}}'] == 1
    assert seen['cervella_degraded_total{part="voice"}'] == 2
    assert seen['cervella_citations_total{change="removed"}'] == 1
    assert seen["cervella_failed_turns_total"] == 1
    assert seen[f'cervella_refused_total{{{label},status="429"}}'] == 1
    assert seen['cervella_refused_total{key="",status="401"}'] == 1
    assert seen[f'cervella_searches_total{{enough="true",{label}}}'] == 1
    assert seen[f'cervella_tokens_total{{{label},kind="completion"}}'] == 3
    assert seen['cervella_tokens_per_second_count{mode="ollama"}'] == 1
    assert seen["cervella_retrieval_seconds_count"] == 4
    assert seen['cervella_index{count="documents"}'] == 8
    assert seen["cervella_index_up"] == 1
    assert 0 <= seen["cervella_index_age_seconds"] < 600
    assert seen["cervella_generations_running"] == seen["cervella_generations_waiting"] == 0
    assert "segretissimo" not in client.get("/metrics").text


def test_an_index_that_is_gone_is_counted_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")
    app = bootstrap.make_app(bootstrap.load_settings())
    assert metrics(TestClient(app, base_url="http://127.0.0.1"))["cervella_index_up"] == 0


def test_alert_rules_name_what_is_measured_and_say_what_to_do(client: TestClient) -> None:
    use(client)
    measured = {name.partition("{")[0] for name in metrics(client)}
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 5
    for rule in rules:
        named = set(re.findall(r"cervella_\w+", rule["expr"]))
        assert named <= measured, rule["alert"]
        assert rule["annotations"]["summary"].endswith((".", "?"))


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("cervella_rag")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:], _, _ = before
    root.setLevel(before[1])
    ours.setLevel(before[2])


@pytest.mark.usefixtures("restored_logging")
def test_a_log_has_a_line_a_request_and_no_words(
    client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(LogSettings(format="json"))
    use(client)
    client.get("/health")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert {line["route"] for line in requests} >= {"/v1/chat", "/v1/search", "unknown"}
    assert "/health" not in {line["route"] for line in requests}
    first = requests[0]
    assert (first["method"], first["status"], first["key"]) == ("POST", 200, "rafa")
    assert re.fullmatch("[0-9a-f]{32}", first["request_id"])
    broken = next(line for line in lines if line["event"] == "a stream failed")
    assert broken["request_id"] == next(line for line in requests if line["status"] == 200 and
        line["request_id"] == broken["request_id"])["request_id"]  # fmt: skip
    everything = json.dumps(lines)
    assert "segretissimo" not in everything
    assert KEY not in everything


@pytest.mark.usefixtures("restored_logging")
def test_on_a_terminal_a_trace_shows_no_variables(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(format="console"))

    def fail(said: str) -> None:
        raise ZeroDivisionError(len(said))

    try:
        fail("parola segretissima")
    except ZeroDivisionError:
        logging.getLogger("cervella_rag.api").exception("a stream failed")
    shown = capsys.readouterr().err
    assert "ZeroDivisionError: 19" in shown
    assert 'segretissima"' not in shown.replace('fail("parola segretissima")', "")


def test_a_collector_is_told_of_requests_only_where_there_is_one(
    january: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    collector = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    try:
        monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")
        url = f"http://127.0.0.1:{collector.server_address[1]}/v1/traces"
        monkeypatch.setenv("CERVELLA_LOG__OTLP_URL", url)
        settings = bootstrap.load_settings()
        bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings, [january]))
        with TestClient(bootstrap.make_app(settings), base_url="http://127.0.0.1") as client:
            client.post("/v1/search", json={"question": WORDS})
    finally:
        collector.shutdown()
        thread.join()
        collector.server_close()
    told = b"".join(received)
    assert b"POST /v1/search" in told
    assert b"segretissimo" not in told
