"""Bodies of requests, for endpoints that run in a thread and therefore cannot await them."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Depends, Request

from clustercockpit.errors import TooLargeError

MAX_BODY_BYTES: Final = 1024 * 1024
MAX_REPORT_BYTES: Final = 16 * 1024 * 1024
"""Jobs with their scripts, states of all nodes: far more than a function can be sent (6 MB)."""


async def read_body(request: Request, *, limit: int = MAX_BODY_BYTES) -> bytes:
    """The whole body. TooLargeError over `limit` bytes, before the rest is read."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLargeError(f"the body must not be longer than {limit} bytes")
    return bytes(body)


async def _body(request: Request) -> bytes:
    return await read_body(request)


Body = Annotated[bytes, Depends(_body)]
