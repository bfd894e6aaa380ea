"""Who may generate now: few at once, in turns between keys and between the clients of a key.

One key with a hundred questions waits behind itself: whenever a place is free, the next key in the
round gets it, and within a key the next client.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field

from cervella_rag.errors import QueueFullError

_FIRST_GUESS_SECONDS = 5.0
_WEIGHT = 0.2
"""Of the newest duration in the running mean."""
_LONGEST_RETRY_SECONDS = 600


@dataclass(frozen=True, slots=True)
class QueueBounds:
    """How many at once.

    Attributes:
        total: Generations at once.
        per_key: Of them, of one key.
        waiting_per_key: Questions of one key that may wait.
        patience_seconds: Longest wait.
    """

    total: int
    per_key: int
    waiting_per_key: int
    patience_seconds: float


@dataclass(eq=False, slots=True)
class Ticket:
    """A question's place, waiting or speaking."""

    key: str
    client: str
    joined: float
    turn: asyncio.Event = field(default_factory=asyncio.Event)
    started: float | None = None

    @property
    def waited_seconds(self) -> float:
        """How long it waited before its turn."""
        return (self.started or time.monotonic()) - self.joined


class GenerationQueue:
    """Gives places to generations; belongs to one event loop."""

    def __init__(self, bounds: QueueBounds) -> None:
        self._bounds = bounds
        self._running: Counter[str] = Counter()
        self._lines: OrderedDict[str, OrderedDict[str, deque[Ticket]]] = OrderedDict()
        self._mean_seconds = _FIRST_GUESS_SECONDS

    @property
    def running(self) -> int:
        """Generations under way."""
        return self._running.total()

    @property
    def waiting(self) -> int:
        """Questions that wait."""
        return sum(map(self._waiting_of, self._lines))

    def join(self, key: str, client: str) -> Ticket:
        """Take a place, or stand in line for one; `Ticket.turn` is set when it is there.

        Raises:
            QueueFullError: As many of this key wait as may.
        """
        ticket = Ticket(key, client, time.monotonic())
        if self._waiting_of(key) >= self._bounds.waiting_per_key and not self._is_free(key):
            raise QueueFullError(limit=self._bounds.waiting_per_key, retry_after=self._retry_seconds())
        self._lines.setdefault(key, OrderedDict()).setdefault(client, deque()).append(ticket)
        self._advance()
        return ticket

    async def wait(self, ticket: Ticket) -> None:
        """Return when it is this ticket's turn.

        Raises:
            QueueFullError: It took longer than anybody should wait.
        """
        try:
            async with asyncio.timeout(self._bounds.patience_seconds):
                await ticket.turn.wait()
        except TimeoutError as error:
            raise QueueFullError(
                limit=self._bounds.waiting_per_key, retry_after=self._retry_seconds()
            ) from error

    def leave(self, ticket: Ticket) -> None:
        """Give the place back, or step out of the line."""
        if ticket.started is not None:
            seconds = time.monotonic() - ticket.started
            self._mean_seconds += _WEIGHT * (seconds - self._mean_seconds)
            self._running -= Counter([ticket.key])
        else:
            line = self._lines[ticket.key][ticket.client]
            line.remove(ticket)
            self._tidy(ticket.key, ticket.client)
        self._advance()

    def _is_free(self, key: str) -> bool:
        return self.running < self._bounds.total and self._running[key] < self._bounds.per_key

    def _advance(self) -> None:
        while (key := next(filter(self._is_free, self._lines), None)) is not None:
            client, line = next(iter(self._lines[key].items()))
            ticket = line.popleft()
            self._lines[key].move_to_end(client)
            self._lines.move_to_end(key)
            self._tidy(key, client)
            self._running[key] += 1
            ticket.started = time.monotonic()
            ticket.turn.set()

    def _tidy(self, key: str, client: str) -> None:
        if not self._lines[key][client]:
            del self._lines[key][client]
        if not self._lines[key]:
            del self._lines[key]

    def _waiting_of(self, key: str) -> int:
        return sum(map(len, self._lines.get(key, {}).values()))

    def _retry_seconds(self) -> int:
        """Return when a place in a full line should be free: after one generation of those at once."""
        seconds = math.ceil(self._mean_seconds / min(self._bounds.per_key, self._bounds.total))
        return max(1, min(seconds, _LONGEST_RETRY_SECONDS))
