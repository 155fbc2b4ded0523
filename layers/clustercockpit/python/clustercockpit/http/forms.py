"""Form values as the reference takes them: query string and body, urlencoded or multipart, the body first."""

from __future__ import annotations

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from clustercockpit.errors import InvalidInputError, TooLargeError

MAX_FORM_BYTES = 256 * 1024


async def form_values(request: Request, *, limit: int = MAX_FORM_BYTES) -> dict[str, str]:
    """First value of each key. TooLargeError over `limit` bytes, InvalidInputError for a broken form."""
    values: dict[str, str] = {}
    for key, value in request.query_params.multi_items():
        values.setdefault(key, value)
    content_type = request.headers.get("content-type", "")
    if not content_type.startswith(("application/x-www-form-urlencoded", "multipart/form-data")):
        return values
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLargeError(f"the form must not be longer than {limit} bytes")
    # The parsers read the request's body: hand them the one that is known to be small.
    request._body = bytes(body)
    try:
        async with request.form(max_fields=100, max_files=0, max_part_size=limit) as form:
            posted: dict[str, str] = {}
            for key, posted_value in form.multi_items():
                if not isinstance(posted_value, UploadFile):
                    posted.setdefault(key, posted_value)
    except HTTPException as error:
        raise InvalidInputError(f"form: {error.detail}") from None
    return {**values, **posted}


def wants_json(request: Request) -> bool:
    """True for a program, or our own browser application, that asked for JSON rather than a page."""
    return "application/json" in request.headers.get("accept", "")
