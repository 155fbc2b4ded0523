"""From what went wrong to what the caller reads: one table, one error object.

The object is the reference's: `{"status": "<reason phrase>", "error": "<message>"}`.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

from clustercockpit.errors import (
    ClusterCockpitError,
    ConfigurationError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotAuthenticatedError,
    NotFoundError,
    RateLimitedError,
    TooLargeError,
    UnavailableError,
)

log = logging.getLogger(__name__)

# Refused duplicates and wrong states are 422 in the reference, and its clients test for that number.
STATUS: dict[type[ClusterCockpitError], int] = {
    InvalidInputError: 400,
    NotAuthenticatedError: 401,
    ForbiddenError: 403,
    NotFoundError: 404,
    TooLargeError: 413,
    ConflictError: 422,
    RateLimitedError: 429,
    ConfigurationError: 500,
    UnavailableError: 503,
    ClusterCockpitError: 500,
}

# Phrases that changed between Python versions, in the words clients of the reference know.
_PHRASES = {413: "Request Entity Too Large", 422: "Unprocessable Entity"}

# Requests for these get JSON even where nothing answers them; anything else may be a person's browser.
JSON_PREFIXES = ("/api/", "/userapi/", "/frontend/", "/config/", "/query")


class Refusal(Exception):  # noqa: N818 — an answer, not a failure
    """An answer with a status of its own, where the reference wants another than the table's."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


def status_of(error: ClusterCockpitError) -> int:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def phrase(status: int) -> str:
    if status in _PHRASES:
        return _PHRASES[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"


def json_bytes(value: Any) -> bytes:
    """Compact JSON with a final newline, `<`, `>` and `&` escaped as the reference does."""
    text = orjson.dumps(value)
    # These characters occur inside JSON strings only.
    text = text.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026")
    return text + b"\n"


class JsonAnswer(Response):
    """A JSON answer in the reference's form: `JsonAnswer({"msg": "success"}, 201)`."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json_bytes(content)


def error_answer(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JsonAnswer({"status": phrase(status), "error": message}, status, headers)


def told(error: Exception) -> str:
    """What a caller reads of an error in the domain's words."""
    if isinstance(error, ConfigurationError):
        # What is wrong with the installation is its keepers' business.
        log.error("%s", error)
        return "this installation is not set up correctly; its log says more"
    return str(error)


def answer_for(error: ClusterCockpitError | Refusal) -> Response:
    if isinstance(error, Refusal):
        return error_answer(error.status, str(error), error.headers)
    if isinstance(error, ConfigurationError):
        return error_answer(500, told(error))
    headers = {"Retry-After": "60"} if isinstance(error, RateLimitedError | UnavailableError) else None
    return error_answer(status_of(error), str(error), headers)


def not_found_answer(path: str) -> Response:
    """Nothing is there: JSON for programs, a small page for people."""
    if path.startswith(JSON_PREFIXES):
        return JsonAnswer(
            {"error": "the requested endpoint does not exist", "status": "Resource not found"}, 404
        )
    return Response(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Page Not Found</title>"
        "<h1>Page Not Found</h1><p><a href='/'>ClusterCockpit</a></p></html>\n",
        404,
        media_type="text/html",
    )
