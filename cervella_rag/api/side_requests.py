"""What chat front ends ask for themselves: a title, tags, what one could ask next.

Open WebUI and others send such a request as if a person asked it. Its answer is not in the memory, and
its words would be searched there, so it is answered by code from the conversation alone: at once, and
with the GPU off. They are known by their form; a person's question about titles is not taken for one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence

from cervella_rag.domain import Message
from cervella_rag.memory.lexical import fold, words

_TITLE_WORDS = 6
_TITLE_CHARACTERS = 60
_TAGS = 3
_LOOKED_AT = 600
"""Characters of a request in which its form must show."""

_BLOCK = re.compile(r"<(chat_history|text|context)>(?P<said>.*?)</\1>", re.DOTALL)
_TASK = re.compile(r"\s*#{1,4} *[^\n]{3,20}:?\s*\n")
_FORMAT = re.compile(r'\{\s*\\?"(title|tags|follow_ups|queries|text)\\?"\s*:')
_SHORT_TITLE = re.compile(
    r"(?is)(?=.*\b(title|titolo|título|tags?)\b)"
    r"(?=.*\b(conversation|chat|query|message|request|dialogue|conversazione|conversa)\b)"
    r"(?=.*\b(\d+|two|three|four|five|six|ten) ?(-|to|or)? ?(\d+|three|four|five|six)?[ -]?"
    r"(words?|characters?|parole|palavras)\b)"
)
_IMPERATIVE = re.compile(
    r"(?i)^\W*(please |you are |here is |your task |based on |generate |create |provide |write |suggest |"
    r"summari[sz]e |detect |analy[sz]e |genera |crea |gere )"
)
_SPEAKER = re.compile(r"(?im)^(?P<role>user|assistant|human|ai|system): ?")
_QUOTED = re.compile(r'(?s)-{5,}\s*(?P<rule>.+?)\s*-{5,}|"(?P<quote>[^"]{3,})"')


def side_answer(conversation: Sequence[Message], instructions: str = "") -> str | None:
    """Return the answer to a front end's own request, or None where a person asks.

    Args:
        conversation: What was said, the request last.
        instructions: What the client tells a model first, where some put the request.
    """
    request = conversation[-1].content
    kind = _kind(request) or _kind(instructions)
    if kind is None:
        return None
    said = _said(conversation, request, is_request=_kind(request) is not None)
    match kind:
        case "tags":
            return json.dumps({"tags": _tags(said)}, ensure_ascii=False)
        case "follow_ups" | "queries":  # nobody is there to think of any, and none are made up
            return json.dumps({kind: []})
        case "text":
            return json.dumps({"text": ""})
        case "title":
            return json.dumps({"title": _title(said)}, ensure_ascii=False)
    return _title(said)


def _kind(text: str) -> str | None:
    """Return which of the JSON members is asked for, "plain" for a bare title, or None."""
    head = text[:_LOOKED_AT]
    if _BLOCK.search(text) and (_TASK.match(text) or _IMPERATIVE.match(text)):
        wanted = _FORMAT.search(_BLOCK.sub("", text))
        return wanted[1] if wanted else "plain"
    if _IMPERATIVE.match(head) and _SHORT_TITLE.match(head):
        wanted = _FORMAT.search(text)
        return wanted[1] if wanted else "plain"
    return None


def _said(conversation: Sequence[Message], request: str, *, is_request: bool) -> str:
    """Return what the person said first: in the request's own block, before it, or quoted in it."""
    if block := _BLOCK.search(request):
        return _first_of_the_person(block["said"])
    earlier = [message.content for message in conversation[:-1] if message.role == "user"]
    if earlier:
        return earlier[0]
    if not is_request:
        return _first_of_the_person(request)
    quoted = _QUOTED.search(request)
    return (quoted["rule"] or quoted["quote"]) if quoted else request.rpartition("\n")[2]


def _first_of_the_person(said: str) -> str:
    parts = _SPEAKER.split(said)  # before, role, text, role, text ...
    spoken = zip(parts[1::2], parts[2::2], strict=True)
    return next((text for role, text in spoken if role.lower() in ("user", "human")), said).strip()


def _title(said: str) -> str:
    shown = said.split()[:_TITLE_WORDS]
    return " ".join(shown)[:_TITLE_CHARACTERS].strip(" \t\"'.,:;!?") or "..."


def _tags(said: str) -> list[str]:
    """Return the words that say most: the most frequent, then the longest, as they were written."""
    written = {fold(word): word for word in reversed(re.findall(r"\w{4,}", said))}
    counted = Counter(word for word in words(said) if word in written)
    best = sorted(counted, key=lambda word: (-counted[word], -len(word), word))
    return [written[word].capitalize() for word in best[:_TAGS]]
