"""What a function may answer: Lambda takes 6 MB, and base64 adds a third.

The outermost layer of both applications where they run as functions. An answer over the limit becomes an
object in the data bucket and a redirect to it for a GET; to anything else, and where there is no bucket, it
is refused with what to do about it. One box answers whatever it has and does not use this.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clustercockpit.errors import ClusterCockpitError
from clustercockpit.http.answers import error_answer

if TYPE_CHECKING:
    from clustercockpit.site import Site

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES: Final = 4_500_000
ENVELOPE_BYTES: Final = 6_200_000
"""Lambda's 6 MB less the headers. Inside, a compressed body is base64, a text a JSON string."""
PREFIX: Final = "responses/"
"""In the data bucket; a lifecycle rule empties it."""
LINK_SECONDS: Final = 300
_TEXT: Final = ("text/", "application/json")
# Headers of the refused answer that hold for its replacement too
_KEPT: Final = ("access-control-", "vary", "x-content-type-options", "referrer-policy", "strict-transport-")


class LargeAnswers:
    """Keeps answers below `limit` bytes, compressed where the caller takes it, and below `envelope` bytes as
    a function hands them over."""

    def __init__(
        self,
        app: ASGIApp,
        site: Site,
        *,
        limit: int = MAX_ANSWER_BYTES,
        envelope: int = ENVELOPE_BYTES,
    ) -> None:
        self.app = app
        self._site = site
        self._limit = limit
        self._envelope = envelope

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start: Message | None = None
        body = bytearray()

        async def collect(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
            elif message["type"] == "http.response.body":
                body.extend(message.get("body", b""))

        await self.app(scope, receive, collect)
        if start is None:
            return
        if len(body) <= self._limit and _as_handed_over(start, body) <= self._envelope:
            await send(start)
            await send({"type": "http.response.body", "body": bytes(body)})
            return
        answer = await run_in_threadpool(self._instead, scope["method"], start, bytes(body))
        for name, value in Headers(raw=start["headers"]).items():
            if name.startswith(_KEPT):
                answer.headers[name] = value
        await answer(scope, receive, send)

    def _instead(self, method: str, start: Message, body: bytes) -> Response:
        headers = Headers(raw=start["headers"])
        link = None
        if method == "GET" and start["status"] == 200:
            link = self._link(body, headers.get("content-type", ""), headers.get("content-encoding", ""))
        if link is None:
            return error_answer(
                413,
                f"the answer has {len(body) / 1e6:.1f} MB, more than can be sent at once (about"
                f" {self._limit / 1e6:.1f} MB): ask for fewer jobs or metrics, a coarser resolution, or"
                " accept gzip",
            )
        answer = RedirectResponse(link, 303)
        answer.headers["cache-control"] = "no-store"
        return answer

    def _link(self, body: bytes, content_type: str, content_encoding: str) -> str | None:
        """Where the body can be fetched for a few minutes by who holds the link; None if nowhere."""
        objects = self._site.data_objects
        key = f"{PREFIX}{secrets.token_urlsafe(24)}"
        make_link = getattr(objects, "link", None)
        if make_link is None:
            return None
        try:
            objects.put(key, body, content_type=content_type or "application/octet-stream")
        except ClusterCockpitError as error:
            log.error("a large answer cannot be put into the data bucket: %s", error)
            return None
        link: str = make_link(
            key, seconds=LINK_SECONDS, content_type=content_type, content_encoding=content_encoding
        )
        return link


def _as_handed_over(start: Message, body: bytes | bytearray) -> int:
    """How many bytes the body has in a function's answer."""
    headers = Headers(raw=start["headers"])
    if "content-encoding" in headers or not headers.get("content-type", "").startswith(_TEXT):
        return 4 * (len(body) + 2) // 3
    return len(body) + sum(body.count(escaped) for escaped in (b'"', b"\\", b"\n", b"\t", b"\r"))
