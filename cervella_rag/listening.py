"""A voice heard to its end, or until it has said too much: for what is kept and not shown as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from cervella_rag.domain import Spoken, Token, VoiceEvent


async def listen(events: AsyncGenerator[VoiceEvent], most_characters: int) -> tuple[str, Spoken]:
    """Return what a voice says and tells of itself; closing the stream stops one that goes on and on."""
    said, spoken = "", Spoken("", "")
    async with aclosing(events):
        async for event in events:
            match event:
                case Token(text):
                    said += text
                case Spoken():
                    spoken = event
            if len(said) > most_characters:
                break
    return said, spoken
