"""The compose file without Docker: its schema, environment, commands and health checks, run here."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import yaml
from pydantic import BaseModel

from cervella_rag import bootstrap
from cervella_rag.settings import Settings

from .ollama_double import OllamaDouble, saying
from .qdrant_double import QdrantDouble, qdrant_double
from .test_embedders import minilm, served
from .test_processes import free_port, wait_until_ready

HOUSE = Path(__file__).parents[1]
COMPOSE = HOUSE / "docker-compose.yml"
NO_VARIABLES = ("CERVELLA_LANGUAGE",)
"""Read from the environment alone: see docs/settings.md."""


def write_env(file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HOUSE / "docker/write_env.py"), "--file", str(file), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def variables(file: Path) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in file.read_text().splitlines())
    return {name: value.strip("'") for name, value in pairs}


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    assert write_env(tmp_path / ".env", "--memory", str(tmp_path)).returncode == 0
    return variables(tmp_path / ".env")


@pytest.fixture
def compose(env: dict[str, str]) -> Any:
    """The compose file as Docker sees it."""
    return compose_with(env)


def compose_with(env: Mapping[str, str]) -> Any:

    def value(found: re.Match[str]) -> str:
        name, default = found["name"], found["default"]
        assert name in env or default is not None, f"{name} is neither written nor has a default"
        return env.get(name, default or "")

    pattern = r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*)|:\?[^}]*)?\}"
    return yaml.safe_load(re.sub(pattern, value, COMPOSE.read_text()))


def test_the_file_obeys_the_schema() -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        str(COMPOSE),
    ]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def names(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from names(type(field.default), f"{prefix}{name}__".upper())
        else:
            yield f"{prefix}{name}".upper()


def test_every_variable_is_a_setting(compose: Any) -> None:
    known = {*names(Settings, "CERVELLA_"), *NO_VARIABLES}
    used = [name for service in compose["services"].values() for name in service.get("environment", {})]
    used += re.findall(r"\b(CERVELLA_\w+)=", (HOUSE / "Dockerfile").read_text())
    assert {name for name in used if name.startswith("CERVELLA_")} <= known
    assert sum(name.startswith("CERVELLA_") for name in used) > 10


def test_only_the_api_is_published_and_only_here(compose: Any) -> None:
    ports = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert ports == {"cervella": ["127.0.0.1:8000:8000"], "nginx": ["127.0.0.1:8080:8080"]}


def test_images_are_pinned(compose: Any) -> None:
    for service in compose["services"].values():
        image, _, tag = service["image"].partition(":")
        # Postgres' numbers are two.
        assert image == "cervella" or re.fullmatch(r"v?\d+\.\d+(\.\d+)?", tag), service["image"]


def test_one_ollama_runs_with_or_without_a_card(compose: Any) -> None:
    profiles = {
        name: service["profiles"] for name, service in compose["services"].items() if "profiles" in service
    }
    replicated = {name: ["scale"] for name in ("cervella-2", "postgres", "nginx")}
    assert profiles == {
        "ollama": ["cpu"], "ollama-gpu": ["gpu"], "model": ["cpu", "gpu"], **replicated,
    }  # fmt: skip
    for name in ("ollama", "ollama-gpu"):
        assert compose["services"][name]["networks"]["default"]["aliases"] == ["ollama"]


def test_the_image_is_made_of_what_is_there_and_runs_as_nobody_special() -> None:
    text = (HOUSE / "Dockerfile").read_text()
    copied = [path for line in re.findall(r"^COPY (.+) \S+$", text, re.M) for path in line.split()]
    allowed = (HOUSE / ".dockerignore").read_text()
    for path in copied:
        assert (HOUSE / path).exists()
        assert f"!{path}\n" in allowed
    assert text.rindex("USER cervella") < text.rindex("CMD ")


def test_keys_are_random_and_nobody_elses(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for file in (first, second):
        assert write_env(file, "--memory", str(tmp_path)).returncode == 0
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secrets = [
        variables(file)[name]
        for file in (first, second)
        for name in ("STACK_API_KEY", "STACK_QDRANT_KEY", "STACK_POSTGRES_PASSWORD")
    ]
    assert len(set(secrets)) == 6
    assert all(len(secret) == 48 for secret in secrets)


def test_an_ollama_outside_starts_none_inside(tmp_path: Path) -> None:
    assert (
        write_env(
            tmp_path / "env", "--ollama", "http://host.docker.internal:11434", "--memory", str(tmp_path)
        ).returncode
        == 0
    )
    written = variables(tmp_path / "env")
    assert "COMPOSE_PROFILES" not in written
    assert written["STACK_OLLAMA_URL"] == "http://host.docker.internal:11434"


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    refused = write_env(tmp_path / ".env", "--memory", str(tmp_path / "nessuno"))
    assert refused.returncode == 2
    assert not (tmp_path / ".env").exists()


def test_keys_in_use_are_not_written_over(tmp_path: Path) -> None:
    file, memory = tmp_path / ".env", tmp_path / "con spazi $e #segni"
    memory.mkdir()
    assert write_env(file, "--gpu", "--memory", str(memory)).returncode == 0
    before = file.read_text()
    assert f"COMPOSE_PROFILES=gpu\nSTACK_MEMORY='{memory}'\n" in before
    refused = write_env(file, "--memory", str(memory))
    assert refused.returncode == 2
    assert "is there already" in refused.stderr
    assert file.read_text() == before


def placed(service: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, str]:
    """Return the service's environment with the places of this test instead of the containers'."""
    return {name: places.get(str(value), str(value)) for name, value in service["environment"].items()}


def test_its_own_command_runs_with_its_own_environment(
    compose: Any, tmp_path: Path, january: Path, env: dict[str, str]
) -> None:
    model = tmp_path / "all-MiniLM-L6-v2"
    model.symlink_to(minilm())
    service, port = compose["services"]["cervella"], free_port()
    with (
        qdrant_double(key=env["STACK_QDRANT_KEY"]) as qdrant,
        served(OllamaDouble(saying("Ciao."))) as ollama,
    ):
        ollama.models[service["environment"]["CERVELLA_LLM__OLLAMA_MODEL"]] = ["completion"]
        places = {
            "http://qdrant:6333": qdrant.url,
            "http://ollama:11434": ollama.url,
            "intfloat/multilingual-e5-base": str(model),
            "/memory": str(january),
        }
        environment = {
            **os.environ,
            **placed(service, places),
            "CERVELLA_HOME": str(tmp_path / "data"),
            "CERVELLA_API__HOST": "127.0.0.1",  # here no container stands around it
            "CERVELLA_API__PORT": str(port),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        headers = {"authorization": f"Bearer {env['STACK_API_KEY']}"}
        with (
            subprocess.Popen(
                service["command"], env=environment, text=True, start_new_session=True
            ) as process,
            httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, headers=headers) as client,
        ):
            try:
                wait_until_ready(client, process)
                assert qdrant.local.count("cervella").count > 5
                answer = client.post("/v1/chat", json={"message": "Perché il forno a legna?"}).json()
                assert answer["mode"] == "ollama"
                assert answer["answer"].startswith("Ciao.")
                assert httpx2.get(f"http://127.0.0.1:{port}/v1/stats").status_code == 401
                check = [part.replace(":8000", f":{port}") for part in service["healthcheck"]["test"][1:]]
                assert subprocess.run([sys.executable, *check[1:]], check=False).returncode == 0
            finally:
                process.terminate()


def test_the_embedder_in_the_image_is_the_one_it_is_told_to_use(compose: Any) -> None:
    service = compose["services"]["cervella"]
    assert service["build"]["args"]["EMBEDDER"] == service["environment"]["CERVELLA_EMBEDDER__MODEL"]
    assert f"ARG EMBEDDER={service['build']['args']['EMBEDDER']}\n" in (HOUSE / "Dockerfile").read_text()


def test_one_service_makes_an_image(compose: Any) -> None:
    assert [name for name, service in compose["services"].items() if "build" in service] == ["cervella"]


@pytest.fixture
def qdrant() -> Iterator[QdrantDouble]:
    with qdrant_double(key="segreta") as double:
        yield double


def test_qdrants_health_check_sees_it_live_and_gone(compose: Any, qdrant: QdrantDouble) -> None:
    kind, *check = compose["services"]["qdrant"]["healthcheck"]["test"]
    assert kind == "CMD"
    assert shutil.which("bash")
    port = qdrant.url.rpartition(":")[2]
    assert healthy(check, port)
    qdrant.fault = "overloaded"
    assert not healthy(check, port)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert not healthy(check, str(taken.getsockname()[1]))


def healthy(check: list[str], port: str) -> bool:
    command = [part.replace("/6333", f"/{port}") for part in check]
    ran = subprocess.run(command, capture_output=True, check=False, timeout=10, env=dict(os.environ))
    return ran.returncode == 0


def test_the_pulled_model_is_the_one_she_speaks_with(compose: Any) -> None:
    spoken = compose["services"]["cervella"]["environment"]["CERVELLA_LLM__OLLAMA_MODEL"]
    assert compose["services"]["model"]["command"] == ["pull", spoken]
    assert spoken == bootstrap.load_settings().llm.ollama_model
    assert json.dumps(compose["services"]).count(spoken) == 3  # pulled, and of both replicas


def test_without_the_profile_conversations_stay_in_a_file(compose: Any) -> None:
    environment = compose["services"]["cervella"]["environment"]
    assert environment["CERVELLA_CONVERSATIONS__URL"] == ""


@pytest.fixture
def scaled(tmp_path: Path) -> Any:
    """The compose file as Docker sees it after `make env SCALE=1`, and what that wrote."""
    file = tmp_path / "scaled.env"
    assert write_env(file, "--scale", "--memory", str(tmp_path)).returncode == 0
    return compose_with(variables(file)), variables(file)


def test_replicas_share_everything_but_their_home(scaled: Any) -> None:
    services = scaled[0]["services"]
    first, second = services["cervella"], services["cervella-2"]
    for part in ("image", "environment", "security_opt", "cap_drop", "healthcheck", "depends_on"):
        assert first[part] == second[part]
    homes = [service["volumes"][1]["source"] for service in (first, second)]
    assert homes == ["cervella", "cervella-2"]
    assert set(homes) <= set(scaled[0]["volumes"])
    assert first["volumes"][0] == second["volumes"][0]
    assert "index" not in second["command"]  # one of them writes the index


def test_replicas_and_their_postgres_have_one_password_that_nobody_else_has(scaled: Any) -> None:
    compose, written = scaled
    address = urlsplit(compose["services"]["cervella"]["environment"]["CERVELLA_CONVERSATIONS__URL"])
    postgres = compose["services"]["postgres"]
    assert (address.hostname, address.port) == ("postgres", 5432)
    assert address.username == postgres["environment"]["POSTGRES_USER"]
    assert address.path.strip("/") == postgres["environment"]["POSTGRES_DB"]
    assert address.password == postgres["environment"]["POSTGRES_PASSWORD"]
    assert address.password == written["STACK_POSTGRES_PASSWORD"]
    assert json.dumps(compose["services"]).count(address.password) == 3
    assert "ports" not in postgres
    assert Settings(conversations={"url": address.geturl()}).conversations.url


def test_the_proxy_takes_the_place_of_the_one_replica(scaled: Any) -> None:
    compose, written = scaled
    services = compose["services"]
    assert written["COMPOSE_PROFILES"] == "cpu,scale"
    assert services["nginx"]["ports"] == ["127.0.0.1:8000:8080"]
    assert services["cervella"]["ports"] == ["127.0.0.1:8001:8000"]
    configured = (HOUSE / "docker/nginx.conf").read_text()
    assert set(re.findall(r"server ([a-z0-9-]+):8000 ", configured)) == set(services["nginx"]["depends_on"])
    assert services["nginx"]["volumes"][0]["source"] == "./docker/nginx.conf"
    assert set(re.findall(r"(/tmp)/", configured)) == set(services["nginx"]["tmpfs"])


def test_the_driver_is_in_the_image() -> None:
    assert '".[postgres,sentence-transformers]"' in (HOUSE / "Dockerfile").read_text()
