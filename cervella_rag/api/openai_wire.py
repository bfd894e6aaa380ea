"""The OpenAI wire: what speaks to OpenAI speaks to Cervella when its base URL is changed.

A client keeps its conversation itself, so nothing of it is kept here.
"""

from __future__ import annotations

import uuid
from functools import partial

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from cervella_rag.api import problems, sse
from cervella_rag.api.limits import COUNTED_AS_SEARCH, spend
from cervella_rag.api.openai_shapes import (
    CompletionRequest,
    EmbeddingList,
    EmbeddingRequest,
    Envelope,
    ModelCard,
    ModelList,
    Said,
    embedding,
    texts,
)
from cervella_rag.api.parts import LEFT, STREAM_HEADERS, TheAssistant, TheEmbedder
from cervella_rag.api.side_requests import side_answer
from cervella_rag.api.turns import TheTurns
from cervella_rag.chat.assistant import Assistant
from cervella_rag.domain import Answer, Citation, Done, Event, Question, Status, Token
from cervella_rag.errors import (
    EmbedderAbsentError,
    InvalidRequestError,
    PersonaUnknownError,
    QuestionTooLongError,
)
from cervella_rag.messages import message
from cervella_rag.tokens import estimate_tokens

_MOST_TEXTS = 256
_LONGEST_TEXT = 32_000
_BORN = 1_768_003_200
"""When the persona was made: a model's card must have a date, and this one never changes."""
_LAST = b"data: [DONE]\n\n"

router = APIRouter(tags=["OpenAI"])


@router.get("/v1/models", dependencies=[COUNTED_AS_SEARCH])
def models(assistant: TheAssistant) -> ModelList:
    """List the personas."""
    return ModelList(data=[ModelCard(id=assistant.persona().sheet.id, created=_BORN)])


@router.get("/v1/models/{model_id}", dependencies=[COUNTED_AS_SEARCH])
def model(model_id: str, assistant: TheAssistant) -> ModelCard:
    """Return one persona."""
    return ModelCard(id=_persona(model_id, assistant), created=_BORN)


@router.post("/v1/chat/completions", response_model=None)
async def completions(
    body: CompletionRequest, request: Request, assistant: TheAssistant, turns: TheTurns
) -> Response:
    """Answer the last message: one JSON object, or server-sent events where `stream` is true."""
    persona, conversation = _persona(body.model, assistant), body.conversation()
    told = "\n".join(one.text for one in body.messages if one.role in ("system", "developer"))
    if (answer := side_answer(conversation, told)) is not None:
        await spend(request, "search")
        return _side_response(body, Envelope.new(uuid.uuid4().hex, persona), answer)
    await spend(request, "chat")
    question = Question(conversation[-1].content, conversation[:-1])
    has_footer = request.app.state.openai_footer if body.footer is None else body.footer
    frames = CompletionFrames(
        Envelope.new(uuid.uuid4().hex, persona),
        footer=partial(footer, language=assistant.detect_language(question.text)) if has_footer else None,
        tells_usage=bool(body.stream_options and body.stream_options.include_usage),
        request=request,
    )
    if not body.stream:
        said = await turns.whole(question, keep=False, client=body.user)
        return JSONResponse(frames.whole(said)) if said else Response(status_code=LEFT)
    events = turns.stream(question, keep=False, client=body.user)
    first = await anext(events)  # what fails before it still gets its own status
    return _streaming(sse.stream(first, events, request.app.state.ping_seconds, frames))


@router.post("/v1/embeddings", dependencies=[COUNTED_AS_SEARCH])
async def embeddings(
    body: EmbeddingRequest, assistant: TheAssistant, embedder: TheEmbedder
) -> EmbeddingList:
    """Make vectors of texts, with the embedder of the index."""
    if embedder is None:
        raise EmbedderAbsentError
    given = [_checked(text) for text in texts(body.input)]
    if not 1 <= len(given) <= _MOST_TEXTS:
        raise InvalidRequestError(field="input", reason=f"between 1 and {_MOST_TEXTS} texts at once")
    redacted = [assistant.redactor.redact(text).text for text in given]
    if body.input_type == "query":
        vectors = await to_thread.run_sync(lambda: [embedder.embed_query(text) for text in redacted])
    else:
        vectors = list(await to_thread.run_sync(lambda: embedder.embed_documents(redacted)))
    if body.dimensions not in (None, made := len(vectors[0])):
        raise InvalidRequestError(field="dimensions", reason=f"this embedder makes {made}")
    return EmbeddingList(
        data=[embedding(index, vector, body.encoding_format) for index, vector in enumerate(vectors)],
        model=embedder.name,
        usage={
            "prompt_tokens": (tokens := sum(map(estimate_tokens, redacted))),
            "total_tokens": tokens,
        },
    )


class CompletionFrames:
    """A turn's events as chunks of a completion. See `sse.Frames`.

    Args:
        footer: Citations to the text that ends an answer; None for no such text.
        tells_usage: Whether tokens are counted in a last chunk.
        request: For errors, in the language it asks for.
    """

    def __init__(
        self,
        envelope: Envelope,
        *,
        footer: partial[str] | None,
        tells_usage: bool,
        request: Request,
    ) -> None:
        self._envelope = envelope
        self._footer = footer
        self._tells_usage = tells_usage
        self._request = request
        self._has_begun = False

    def event(self, event: Event) -> bytes:
        """See `Frames`; what she does while no word has come is a comment, which clients skip."""
        match event:
            case Status(stage):
                return f": {stage}\n\n".encode()
            case Token(text):
                return self._delta(text)
            case Done(answer):
                return self._end(answer)
        return b""

    def error(self, error: Exception) -> bytes:
        """See `Frames`."""
        return sse.data_frame(problems.openai_body(problems.describe(self._request, error)))

    def whole(self, answer: Answer) -> dict[str, object]:
        """Return a finished answer as one object."""
        return self._envelope.completion(Said.of(answer, self._sources(answer)))

    def _delta(self, text: str) -> bytes:
        role = {} if self._has_begun else {"role": "assistant"}
        self._has_begun = True
        return sse.data_frame(self._envelope.chunk({**role, "content": text}))

    def _end(self, answer: Answer) -> bytes:
        said = Said.of(answer, "")
        sources = self._sources(answer)
        frames = [self._delta(sources)] if sources else []
        frames.append(sse.data_frame(self._envelope.chunk({}, said.finish_reason, **said.extra)))
        if self._tells_usage:
            frames.append(sse.data_frame(self._envelope.usage_chunk(said.usage)))
        return b"".join([*frames, _LAST])

    def _sources(self, answer: Answer) -> str:
        return self._footer(answer.citations) if self._footer else ""


def footer(citations: tuple[Citation, ...], language: str) -> str:
    """Return the sources as the text that ends an answer, "" where there are none."""
    if not citations:
        return ""
    lines = [
        message(
            "footer.line",
            language,
            number=one.number,
            path=one.path,
            start=one.start_line,
            end=one.end_line,
            date=one.date or message("footer.undated", language),
        )
        for one in citations
    ]
    return "\n\n" + "\n".join([message("footer.title", language), *(f"- {line}" for line in lines)])


def _side_response(body: CompletionRequest, envelope: Envelope, text: str) -> Response:
    """Return a front end's own request answered; nobody was asked, so it took nothing."""
    nothing = {"prompt_tokens": 0, "completion_tokens": 0}
    said = Said(text, "stop", nothing, {"sources": [], "mode": "none", "grounded": False})
    if not body.stream:
        return JSONResponse(envelope.completion(said))
    chunks = [
        envelope.chunk({"role": "assistant", "content": text}),
        envelope.chunk({}, "stop", **said.extra),
    ]
    if body.stream_options and body.stream_options.include_usage:
        chunks.append(envelope.usage_chunk(nothing))
    return _streaming(iter([*map(sse.data_frame, chunks), _LAST]))


def _streaming(frames: object) -> StreamingResponse:
    return StreamingResponse(frames, media_type="text/event-stream", headers=STREAM_HEADERS)  # type: ignore[arg-type]


def _persona(name: str, assistant: Assistant) -> str:
    known = assistant.persona().sheet.id
    if name != known:
        raise PersonaUnknownError(name=name[:80], known=known)
    return known


def _checked(text: str) -> str:
    if not text:
        raise InvalidRequestError(field="input", reason="an empty text has no meaning")
    if len(text) > _LONGEST_TEXT:
        raise QuestionTooLongError(length=len(text), limit=_LONGEST_TEXT)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(field="input", reason="half of a surrogate pair is not text") from error
    return text
