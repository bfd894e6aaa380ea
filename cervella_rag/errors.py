"""What can go wrong, ordered by who must act.

CervellaError
├── ConfigurationError      the operator: a setting, a folder, an index to build
│   ├── InvalidSettingError
│   ├── RootMissingError
│   ├── MemoryEmptyError
│   ├── MemoryVanishedError
│   ├── PathUnknownError
│   ├── PathPresentError
│   ├── MemoryNotWritableError
│   ├── BackupFileError
│   ├── IndexAbsentError
│   ├── IndexMismatchError
│   ├── StoreNameTakenError
│   ├── StoreRefusedError
│   ├── StoreVersionError
│   ├── PortTakenError
│   ├── HostRefusedError
│   ├── EvaluationFileError
│   ├── ExtraMissingError
│   ├── ModelFileError
│   ├── ModelUnknownError
│   └── VoiceAbsentError
├── AuthoringError          the author of a persona or a prompt
│   ├── PersonaFileError
│   └── TemplateFileError
├── RequestError            the caller: the question, its filters, its conversation
│   ├── QuestionEmptyError
│   ├── QuestionTooLongError
│   ├── InvalidRequestError
│   ├── PromptTooLongError
│   ├── KeyRefusedError
│   ├── MemoryFileUnknownError
│   ├── MemoryFileRefusedError
│   ├── ConversationUnknownError
│   ├── ProjectUnknownError
│   ├── TurnUnknownError
│   ├── ProposalUnknownError
│   ├── ProposalSpentError
│   ├── MemoryPathTakenError
│   ├── PersonaUnknownError
│   ├── EmbedderAbsentError
│   ├── RateLimitedError
│   └── QueueFullError
└── UpstreamError           a part she depends on: the store, the embedder, another writer, a voice
    ├── IndexLockedError
    ├── IndexOvertakenError
    ├── EmbedderError
    ├── StoreError
    ├── StoreUnavailableError
    ├── ConversationStoreError
    ├── ModelFetchError
    ├── ModelMissingError
    ├── VoiceUnavailableError
    ├── VoiceRefusedError
    ├── VoiceTimeoutError
    ├── VoiceSilentError
    └── VoiceBrokenError

A memory file that cannot be read is a `Refused` entry of the report, not an exception, because it
must not stop the other files.

The words are in prompts/messages.toml under [errors]; a test holds the two together.
"""

from __future__ import annotations

from typing import ClassVar

from cervella_rag.messages import message


class CervellaError(Exception):
    """Root of every error of ours.

    Attributes:
        code: Stable identifier; also the name of the text in the message catalogue.
        status: HTTP status at the door.
        exit_code: What the command line returns.
        details: Values for the placeholders of the text.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, **details: object) -> None:
        self.details = details
        super().__init__(self.text("en"))

    def text(self, language: str) -> str:
        """Return what happened and what to do, in `language`."""
        return message(f"errors.{self.code}", language, **self.details)


class ConfigurationError(CervellaError):
    """The operator must change a setting, a folder or the index."""

    status: ClassVar[int] = 503
    exit_code: ClassVar[int] = 2


class InvalidSettingError(ConfigurationError):
    """A setting has a value that cannot be used."""

    code: ClassVar[str] = "invalid_setting"


class RootMissingError(ConfigurationError):
    """A folder of the memory is not there or cannot be read."""

    code: ClassVar[str] = "root_missing"


class MemoryEmptyError(ConfigurationError):
    """The folders hold nothing that can be indexed."""

    code: ClassVar[str] = "memory_empty"


class MemoryVanishedError(ConfigurationError):
    """Most files of a folder are gone at once, which looks like a mistake; nothing was changed."""

    code: ClassVar[str] = "memory_vanished"


class PathUnknownError(ConfigurationError):
    """The index knows no file of that path."""

    code: ClassVar[str] = "path_unknown"


class PathPresentError(ConfigurationError):
    """A file that should be forgotten is still in its folder, from where it would come back."""

    code: ClassVar[str] = "path_present"


class MemoryNotWritableError(ConfigurationError):
    """A file cannot be written into the memory."""

    code: ClassVar[str] = "memory_not_writable"


class BackupFileError(ConfigurationError):
    """A backup cannot be written, or is not as it was written."""

    code: ClassVar[str] = "backup_file"


class IndexAbsentError(ConfigurationError):
    """Nothing has been indexed yet."""

    code: ClassVar[str] = "index_absent"


class IndexMismatchError(ConfigurationError):
    """The index was made with another embedder, chunking or format."""

    code: ClassVar[str] = "index_mismatch"


class StoreNameTakenError(ConfigurationError):
    """A collection that is not ours already bears the name that the alias should have."""

    code: ClassVar[str] = "store_name_taken"


class StoreRefusedError(ConfigurationError):
    """The Qdrant server does not accept the key."""

    code: ClassVar[str] = "store_refused"


class StoreVersionError(ConfigurationError):
    """The Qdrant server and our client are more than one minor version apart."""

    code: ClassVar[str] = "store_version"


class PortTakenError(ConfigurationError):
    """The port cannot be listened on, mostly because another program does."""

    code: ClassVar[str] = "port_taken"


class HostRefusedError(ConfigurationError):
    """Listening beyond this machine is refused while there are no keys."""

    code: ClassVar[str] = "host_refused"


class EvaluationFileError(ConfigurationError):
    """An evaluation file is missing or has a line that cannot be read."""

    code: ClassVar[str] = "evaluation_file"


class ExtraMissingError(ConfigurationError):
    """A part was asked for whose library is not installed."""

    code: ClassVar[str] = "extra_missing"


class ModelFileError(ConfigurationError):
    """The model file of the in-process voice is missing or cannot be loaded."""

    code: ClassVar[str] = "model_file"


class ModelUnknownError(ConfigurationError):
    """No model of that name can be fetched."""

    code: ClassVar[str] = "model_unknown"


class VoiceAbsentError(ConfigurationError):
    """What needs a voice with a model finds none that can speak."""

    code: ClassVar[str] = "voice_absent"


class AuthoringError(CervellaError):
    """The author of a persona or of a prompt must change a file."""

    status: ClassVar[int] = 503
    exit_code: ClassVar[int] = 2


class PersonaFileError(AuthoringError):
    """A persona file is missing, is not YAML, or does not say what a persona must."""

    code: ClassVar[str] = "persona_file"


class TemplateFileError(AuthoringError):
    """A template is missing, has a mistake, or asks for something that is not there."""

    code: ClassVar[str] = "template_file"


class RequestError(CervellaError):
    """The caller must change the request."""

    status: ClassVar[int] = 422
    exit_code: ClassVar[int] = 2


class QuestionEmptyError(RequestError):
    """There is no question."""

    code: ClassVar[str] = "question_empty"


class QuestionTooLongError(RequestError):
    """The question is longer than the limit."""

    code: ClassVar[str] = "question_too_long"


class InvalidRequestError(RequestError):
    """A field of the request cannot be used."""

    code: ClassVar[str] = "invalid_request"


class PromptTooLongError(RequestError):
    """The question with its persona does not fit the model's window; nothing was sent."""

    code: ClassVar[str] = "prompt_too_long"


class KeyRefusedError(RequestError):
    """The request carries no key, an unknown one, or two different ones."""

    code: ClassVar[str] = "key_refused"
    status: ClassVar[int] = 401


class MemoryFileUnknownError(RequestError):
    """The memory has no file or folder of that path, or more than one where one is needed."""

    code: ClassVar[str] = "memory_file_unknown"
    status: ClassVar[int] = 404


class MemoryFileRefusedError(RequestError):
    """A file of the memory is there and cannot be read as text."""

    code: ClassVar[str] = "memory_file_refused"


class ConversationUnknownError(RequestError):
    """There is no conversation with that id."""

    code: ClassVar[str] = "conversation_unknown"
    status: ClassVar[int] = 404


class ProjectUnknownError(RequestError):
    """No file of the memory belongs to that project."""

    code: ClassVar[str] = "project_unknown"
    status: ClassVar[int] = 404


class TurnUnknownError(RequestError):
    """No turn with that id is kept."""

    code: ClassVar[str] = "turn_unknown"
    status: ClassVar[int] = 404


class ProposalUnknownError(RequestError):
    """There is no proposal with that id."""

    code: ClassVar[str] = "proposal_unknown"
    status: ClassVar[int] = 404


class ProposalSpentError(RequestError):
    """A proposal was confirmed before; a file is written once."""

    code: ClassVar[str] = "proposal_spent"
    status: ClassVar[int] = 409


class MemoryPathTakenError(RequestError):
    """Another file has come to where one should be written; nothing is overwritten."""

    code: ClassVar[str] = "memory_path_taken"
    status: ClassVar[int] = 409


class PersonaUnknownError(RequestError):
    """A client of the OpenAI wire asks for a model that is no persona."""

    code: ClassVar[str] = "model_not_found"
    status: ClassVar[int] = 404


class EmbedderAbsentError(RequestError):
    """Vectors are asked of an installation that searches by words alone."""

    code: ClassVar[str] = "embedder_absent"


class RateLimitedError(RequestError):
    """A key has asked as often as it may in a minute."""

    code: ClassVar[str] = "rate_limited"
    status: ClassVar[int] = 429


class QueueFullError(RequestError):
    """As many questions of a key wait for an answer as may, or one has waited too long."""

    code: ClassVar[str] = "queue_full"
    status: ClassVar[int] = 429


class UpstreamError(CervellaError):
    """A part she depends on failed; trying again later may help."""

    status: ClassVar[int] = 503
    exit_code: ClassVar[int] = 1


class IndexLockedError(UpstreamError):
    """Another process is writing the index."""

    code: ClassVar[str] = "index_locked"


class IndexOvertakenError(UpstreamError):
    """Another writer has published since this run began; nothing of this run is shown."""

    code: ClassVar[str] = "index_overtaken"


class EmbedderError(UpstreamError):
    """The embedder could not be loaded or failed on a text."""

    code: ClassVar[str] = "embedder_failed"


class StoreError(UpstreamError):
    """The vector store failed or its files are damaged."""

    code: ClassVar[str] = "store_failed"


class StoreUnavailableError(UpstreamError):
    """The Qdrant server cannot be reached or does not answer in time."""

    code: ClassVar[str] = "store_unavailable"


class ConversationStoreError(UpstreamError):
    """Conversations cannot be read or written."""

    code: ClassVar[str] = "conversation_store"


class ModelFetchError(UpstreamError):
    """A model could not be fetched whole; what was fetched is kept for the next try."""

    code: ClassVar[str] = "model_fetch"


class ModelMissingError(UpstreamError):
    """The server is there and does not have the model."""

    code: ClassVar[str] = "model_missing"


class VoiceUnavailableError(UpstreamError):
    """A voice cannot be reached, is overloaded or failed before its first word; worth another try."""

    code: ClassVar[str] = "voice_unavailable"


class VoiceRefusedError(UpstreamError):
    """A voice does not accept what it was sent; trying again will not help."""

    code: ClassVar[str] = "voice_refused"


class VoiceTimeoutError(UpstreamError):
    """A voice was silent for longer than it may be."""

    code: ClassVar[str] = "voice_timeout"


class VoiceSilentError(UpstreamError):
    """A voice ended without a word, or thought only."""

    code: ClassVar[str] = "voice_silent"


class VoiceBrokenError(UpstreamError):
    """A voice broke off in the middle of an answer."""

    code: ClassVar[str] = "voice_broken"
