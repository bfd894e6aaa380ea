"""How often a key may ask, counted over the last minute; without keys nobody is counted."""

from __future__ import annotations

import math
import time
from typing import Literal

from fastapi import Depends, Request
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from cervella_rag.errors import RateLimitedError

Sort = Literal["chat", "search"]


class RequestLimits:
    """Requests a minute, for each key.

    The window moves with every request, so that `Retry-After` is the second at which one may pass, and
    not the turn of a minute at which everybody comes at once.

    Args:
        chat: Answers a minute.
        search: Everything else a minute.
    """

    def __init__(self, chat: int, search: int) -> None:
        self._items = {"chat": RateLimitItemPerMinute(chat), "search": RateLimitItemPerMinute(search)}
        self._window = MovingWindowRateLimiter(MemoryStorage())

    async def spend(self, caller: str | None, sort: Sort) -> None:
        """Count a request.

        Raises:
            RateLimitedError: There were as many as there may be; it tells when the next may come.
        """
        if caller is None or await self._window.hit(self._items[sort], caller, sort):
            return
        stats = await self._window.get_window_stats(self._items[sort], caller, sort)
        seconds = max(1, math.floor(stats.reset_time - time.time()) + 1)
        raise RateLimitedError(sort=sort, limit=self._items[sort].amount, retry_after=seconds)


async def spend(request: Request, sort: Sort) -> None:
    """Count a request of its key. See `RequestLimits.spend`."""
    limits: RequestLimits = request.app.state.limits
    await limits.spend(request.state.caller, sort)


async def _search(request: Request) -> None:
    await spend(request, "search")


async def _chat(request: Request) -> None:
    await spend(request, "chat")


COUNTED_AS_SEARCH = Depends(_search)
COUNTED_AS_CHAT = Depends(_chat)
