"""A client of a Cervella that is served, for Python: sync and async, typed, nothing of the server imported.

```python
from cervella_rag.client import Client

with Client("http://127.0.0.1:8000") as cervella:
    print(cervella.brief().text)
```
"""

from cervella_rag.client.asynchronous import AsyncClient
from cervella_rag.client.errors import (
    AnswerUnreadableError,
    APIError,
    ClientError,
    InvalidRequestError,
    KeyRefusedError,
    NotFoundError,
    RateLimitError,
    ServerUnreachableError,
    StreamBrokenError,
    UnavailableError,
)
from cervella_rag.client.shapes import (
    Answer,
    Brief,
    BriefLine,
    Citation,
    Conversation,
    ConversationCard,
    Done,
    Event,
    Feedback,
    Filters,
    Hit,
    IndexJob,
    Message,
    Proposal,
    SearchResult,
    Sources,
    Stats,
    Status,
    Token,
    Turn,
    Written,
)
from cervella_rag.client.synchronous import Client

__all__ = [
    "APIError",
    "Answer",
    "AnswerUnreadableError",
    "AsyncClient",
    "Brief",
    "BriefLine",
    "Citation",
    "Client",
    "ClientError",
    "Conversation",
    "ConversationCard",
    "Done",
    "Event",
    "Feedback",
    "Filters",
    "Hit",
    "IndexJob",
    "InvalidRequestError",
    "KeyRefusedError",
    "Message",
    "NotFoundError",
    "Proposal",
    "RateLimitError",
    "SearchResult",
    "ServerUnreachableError",
    "Sources",
    "Stats",
    "Status",
    "StreamBrokenError",
    "Token",
    "Turn",
    "UnavailableError",
    "Written",
]
