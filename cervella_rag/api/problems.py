"""Errors at the HTTP door: `application/problem+json`, as RFC 9457 describes it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from cervella_rag.api.schemas import Problem
from cervella_rag.errors import CervellaError, InvalidRequestError


def problem_body(status: int, code: str, detail: str, request_id: str) -> dict[str, Any]:
    """Return the error object."""
    title = HTTPStatus(status).phrase
    body = Problem(title=title, status=status, detail=detail, code=code, request_id=request_id)
    return body.model_dump()


def problem(status: int, code: str, detail: str, request_id: str) -> JSONResponse:
    """Return the error as a response."""
    return response(problem_body(status, code, detail, request_id))


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
        return response(describe(request, error))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part != "body")
        return await _ours(request, InvalidRequestError(field=field or "body", reason=first["msg"]))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        code = HTTPStatus(error.status_code).name.lower()
        answer = problem(error.status_code, code, str(error.detail), request.state.request_id)
        answer.headers.update(error.headers or {})
        return answer


def response(body: dict[str, Any]) -> JSONResponse:
    """Return an error object as a response."""
    return JSONResponse(body, body["status"], media_type="application/problem+json")
