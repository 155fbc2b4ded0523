"""The metric store's doors on the hub's address: `/api/write`, `/api/free`, `/api/debug`, streamed through.

Collectors of an existing installation send to the hub. Nothing is parsed or kept here: chunks go on as they
come, and the store's answer comes back as it is. On AWS the gateway does this without us.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from clustercockpit.errors import TooLargeError, UnavailableError
from clustercockpit.http.door import guarded_router

if TYPE_CHECKING:
    import httpx

    from clustercockpit.site import Site

MAX_BODY_BYTES = 512 * 1024 * 1024
# Of the answer: what describes the body. Everything else is between the hub and the store.
_ANSWER_HEADERS = ("content-type", "content-encoding", "retry-after")
_REQUEST_HEADERS = ("content-type", "content-encoding", "accept")


class StoreConnection:
    """One pool of connections to the metric store, opened at first use."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._client: httpx.AsyncClient | None = None

    @property
    def client(self) -> httpx.AsyncClient:
        if self._client is None:
            import httpx

            address = self._site.settings.metric_store_url
            if not address:
                raise UnavailableError("no metric store is configured here (CC_METRIC_STORE_URL)")
            self._client = httpx.AsyncClient(
                base_url=address.rstrip("/"),
                timeout=httpx.Timeout(20, connect=2),
                limits=httpx.Limits(max_connections=64, max_keepalive_connections=16),
            )
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def forward(self, request: Request, path: str) -> Response:
        """Send the request on, its body chunk by chunk, and hand the answer back the same way."""
        import httpx

        headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        headers["authorization"] = f"Bearer {self._site.service_token()}"
        length = request.headers.get("content-length", "")
        if length.isdecimal():
            if int(length) > MAX_BODY_BYTES:
                raise TooLargeError(
                    f"a request must not be longer than {MAX_BODY_BYTES} bytes: send it in parts"
                )
            headers["content-length"] = length
        forwarded = self.client.build_request(
            request.method,
            # The query as it came: the reference reads it undecoded
            self.client.base_url.copy_with(raw_path=f"{path}?{request.url.query}".removesuffix("?").encode()),
            headers=headers,
            content=_bounded(request) if request.method == "POST" else None,
        )
        try:
            answer = await self.client.send(forwarded, stream=True)
        except httpx.TimeoutException:
            raise UnavailableError("the metric store did not answer in time; try again") from None
        except httpx.TransportError:
            raise UnavailableError("the metric store cannot be reached; try again") from None
        return StreamingResponse(
            answer.aiter_raw(),
            answer.status_code,
            {name: answer.headers[name] for name in _ANSWER_HEADERS if name in answer.headers},
            background=BackgroundTask(answer.aclose),
        )


async def _bounded(request: Request) -> AsyncIterator[bytes]:
    seen = 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen > MAX_BODY_BYTES:
            raise TooLargeError(f"a request must not be longer than {MAX_BODY_BYTES} bytes: send it in parts")
        yield chunk


def hub_router(store: StoreConnection) -> APIRouter:
    router = guarded_router("metric-store-api", prefix="/api")

    @router.post("/write/")
    async def write(request: Request) -> Response:
        return await store.forward(request, "/api/write")

    @router.post("/free/")
    async def free(request: Request) -> Response:
        return await store.forward(request, "/api/free")

    @router.get("/debug/")
    async def debug(request: Request) -> Response:
        return await store.forward(request, "/api/debug")

    return router
