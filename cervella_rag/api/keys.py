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
        self._digests = {name: _digest(key.get_secret_value()) for name, key in keys.items()}

    def needs_key(self, path: str) -> bool:
        """Tell whether only those who have a key may have what is there."""
        return bool(self._digests) and path not in _OPEN and not path.startswith(_OPEN_FOLDERS)

    def name(self, headers: Headers) -> str | None:
        """Return the name of the key that a request carries; None for none, an unknown one or several."""
        given = {*headers.getlist("x-api-key"), *map(_bearer, headers.getlist("authorization"))} - {""}
        # Two different keys are a mistake or a trick: which of them counts is not for us to guess.
        return self._known(given.pop()) if len(given) == 1 else None

    def _known(self, key: str) -> str | None:
        """Compare with every key, so that time does not tell which one was nearly it."""
        digest = _digest(key)
        matches = [name for name, known in self._digests.items() if hmac.compare_digest(digest, known)]
        return matches[0] if matches else None


def _bearer(header: str) -> str:
    scheme, _, key = header.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else header


def _digest(key: str) -> bytes:
    return sha256(key.encode()).digest()
