"""Lines of a stream become events."""

from __future__ import annotations

import json
from typing import Any

from cervella_rag.client import shapes
from cervella_rag.client.calls import checked
from cervella_rag.client.errors import StreamBrokenError, api_error


class EventReader:
    """Takes the lines of a stream one by one.

    Attributes:
        is_done: Whether the last event has come.
    """

    def __init__(self) -> None:
        self._name = ""
        self._data: list[str] = []
        self.is_done = False

    def feed(self, line: str) -> shapes.Event | None:
        """Return the event that `line` ends, or None; one that is not known here is passed over.

        Raises:
            APIError: The server broke the answer off and says why.
            AnswerUnreadableError: The event has another shape.
        """
        if line:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                self._name = value
            elif field == "data":
                self._data.append(value)
            return None
        name, data = self._name, "\n".join(self._data)
        self._name, self._data = "", []
        return self._event(name, data.encode()) if name else None

    def finish(self) -> None:
        """Make sure that all has come.

        Raises:
            StreamBrokenError: The last event has not.
        """
        if not self.is_done:
            raise StreamBrokenError("the stream ended before the answer was done")

    def _event(self, name: str, data: bytes) -> shapes.Event | None:
        match name:
            case "status":
                return checked(shapes.Status.model_validate, data)
            case "sources":
                return checked(shapes.Sources.model_validate, data)
            case "token":
                return checked(shapes.Token.model_validate, data)
            case "done":
                self.is_done = True
                return shapes.Done(answer=checked(shapes.Answer.model_validate, data))
            case "error":
                problem = checked(_mapping, data)
                raise api_error(int(problem.get("status", 500)), problem, {})
        return None


def _mapping(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise TypeError(f"an object was expected, not {json.dumps(body)[:100]}")
    return body
