"""Who asks: named keys, compared in constant time, in whichever header they come."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256

from pydantic import SecretStr
from starlette.datastructures import Headers

_OPEN = frozenset({"/", "/health", "/docs", "/openapi.json"})
_OPEN_FOLDERS = ("/page/", "/static-offline-docs/")


class Keys:
    """The keys that open the door; without any it stands open, and listens on this machine only.

    Args:
        keys: Key by name.
    """

    def __init__(self, keys: Mapping[str, SecretStr]) -> None:
        self._digests = [_digest(key.get_secret_value()) for key in keys.values()]

    def may_pass(self, path: str, headers: Headers) -> bool:
        """Tell whether a request may be answered: its path needs no key, or its key is known."""
        if not self._digests or path in _OPEN or path.startswith(_OPEN_FOLDERS):
            return True
        given = {*headers.getlist("x-api-key"), *map(_bearer, headers.getlist("authorization"))} - {""}
        # Two different keys are a mistake or a trick: which of them counts is not for us to guess.
        return len(given) == 1 and self._is_known(given.pop())

    def _is_known(self, key: str) -> bool:
        """Compare with every key, so that time does not tell which one was nearly it."""
        digest = _digest(key)
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(matches)


def _bearer(header: str) -> str:
    scheme, _, key = header.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else header


def _digest(key: str) -> bytes:
    return sha256(key.encode()).digest()
