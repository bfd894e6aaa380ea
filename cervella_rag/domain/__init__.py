"""The values that travel through Cervella, from a file on disk to a cited answer.

Everything here is frozen and knows nothing of libraries, disks or networks. The order of the files below
is the order in which data flows: each imports only those before it.
"""

from __future__ import annotations

from cervella_rag.domain.answers import Answer, Citation, Composed, Composition, Prompt, Window
from cervella_rag.domain.chunks import Chunk, Point, SparseVector
from cervella_rag.domain.files import Block, Document, Kind, Metadata, Refused, Root, Scan, Skipped, Source
from cervella_rag.domain.hits import (
    Exact,
    ExactSource,
    Filters,
    Hit,
    IndexInfo,
    Message,
    Question,
    Retrieval,
    Scores,
    Understood,
)
from cervella_rag.domain.reports import Difference, IndexReport, Verification
from cervella_rag.domain.turns import (
    Conversation,
    ConversationInfo,
    Done,
    Event,
    HostLoad,
    HostState,
    PassedOver,
    Sources,
    Spoken,
    Status,
    Token,
    Turn,
    Usage,
    VoiceEvent,
    VoiceState,
)

__all__ = [
    "Answer",
    "Block",
    "Chunk",
    "Citation",
    "Composed",
    "Composition",
    "Conversation",
    "ConversationInfo",
    "Difference",
    "Document",
    "Done",
    "Event",
    "Exact",
    "ExactSource",
    "Filters",
    "Hit",
    "HostLoad",
    "HostState",
    "IndexInfo",
    "IndexReport",
    "Kind",
    "Message",
    "Metadata",
    "PassedOver",
    "Point",
    "Prompt",
    "Question",
    "Refused",
    "Retrieval",
    "Root",
    "Scan",
    "Scores",
    "Skipped",
    "Source",
    "Sources",
    "SparseVector",
    "Spoken",
    "Status",
    "Token",
    "Turn",
    "Understood",
    "Usage",
    "Verification",
    "VoiceEvent",
    "VoiceState",
    "Window",
]
