"""Errors at the HTTP door: `application/problem+json` (RFC 9457), or OpenAI's object on its paths."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from cervella_rag.api.schemas import Problem
from cervella_rag.errors import CervellaError, InvalidRequestError

_OPENAI_PATH = re.compile(r"/v1/(chat/completions|completions|responses|models|embeddings)(/|$)")
_OPENAI_TYPES = {
    401: "authentication_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "service_unavailable",
}


def problem_body(status: int, code: str, detail: str, request_id: str) -> dict[str, Any]:
    """Return the error object."""
    title = HTTPStatus(status).phrase
    detail = detail.encode("utf-8", "replace").decode()  # it may quote half of a surrogate pair
    body = Problem(title=title, status=status, detail=detail, code=code, request_id=request_id)
    return body.model_dump()


def problem(request: Request, status: int, code: str, detail: str) -> JSONResponse:
    """Return an error as a response."""
    return response(request, problem_body(status, code, detail, request.state.request_id))


def language(request: Request) -> str:
    """Return "it" where the client asks for Italian first, otherwise "en"."""
    return "it" if request.headers.get("accept-language", "").lower().startswith("it") else "en"


def describe(request: Request, error: Exception) -> dict[str, Any]:
    """Return the error object of any exception; what is not ours says nothing of itself."""
    known = error if isinstance(error, CervellaError) else CervellaError()
    detail = known.text(language(request))
    return problem_body(known.status, known.code, detail, request.state.request_id)


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem."""

    @app.exception_handler(CervellaError)
    async def _ours(request: Request, error: CervellaError) -> JSONResponse:
        return failure(request, error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part != "body")
        return failure(request, InvalidRequestError(field=field or "body", reason=first["msg"]))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        code = HTTPStatus(error.status_code).name.lower()
        answer = problem(request, error.status_code, code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer


def failure(request: Request, error: Exception) -> JSONResponse:
    """Return any exception as a response."""
    details = error.details if isinstance(error, CervellaError) else {}
    field = details.get("field") if isinstance(error, InvalidRequestError) else None
    answer = response(request, describe(request, error), param=str(field) if field else None)
    if seconds := details.get("retry_after"):
        answer.headers["retry-after"] = str(seconds)
    return answer


def response(request: Request, body: dict[str, Any], param: str | None = None) -> JSONResponse:
    """Return an error object as a response, in the shape of its path."""
    status: int = body["status"]
    if not _OPENAI_PATH.match(request.scope["path"]):
        return JSONResponse(body, status, media_type="application/problem+json")
    # Its clients know no 422.
    return JSONResponse(
        openai_body(body, param), 400 if status == HTTPStatus.UNPROCESSABLE_ENTITY else status
    )


def openai_body(body: dict[str, Any], param: str | None = None) -> dict[str, Any]:
    """Return an error object as OpenAI's clients read it."""
    kind = _OPENAI_TYPES.get(body["status"], "invalid_request_error")
    return {"error": {"message": body["detail"], "type": kind, "param": param, "code": body["code"]}}
