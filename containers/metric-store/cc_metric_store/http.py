"""The store's HTTP interface, as a plain ASGI application: nothing stands between a body and the engine.

Every path is served with and without a trailing slash. `/healthz` says that the process lives, `/readyz`
that it can answer questions; writes are taken as soon as the engine can place them.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qs

import orjson
import zstandard

from cc_metric_store import health
from cc_metric_store.engine import WriteReport
from cc_metric_store.frames import FrameRequest, FrameService
from cc_metric_store.query import QueryRequest, QueryService
from cc_metric_store.tokens import TokenGate
from clustercockpit.errors import (
    ClusterCockpitError,
    ForbiddenError,
    InvalidInputError,
    NotAuthenticatedError,
    TooLargeError,
    UnavailableError,
)
from clustercockpit.metrics.frame import CONTENT_TYPE

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CHUNK = 1024 * 1024  # a body is placed in pieces of about this size
MAX_BODY = 512 * 1024 * 1024  # decoded bytes of a write
MAX_REQUEST = 16 * 1024 * 1024  # a question
CONCURRENT_WRITES = 32  # further senders wait in their sockets

_JSON = b"application/json"
_TEXT = b"text/plain; charset=utf-8"
_STATUS: list[tuple[type[ClusterCockpitError], int, str]] = [
    (NotAuthenticatedError, 401, "Unauthorized"),
    (ForbiddenError, 403, "Forbidden"),
    (TooLargeError, 413, "Request Entity Too Large"),
    (UnavailableError, 503, "Service Unavailable"),
    (InvalidInputError, 400, "Bad Request"),
]


class StoreService(Protocol):
    """What the interface needs of the running service."""

    @property
    def ready(self) -> bool: ...

    @property
    def state(self) -> dict[str, Any]: ...

    async def write(self, payload: bytes, cluster: str, first_line: int) -> WriteReport:
        """Place whole lines. UnavailableError when it cannot be done now."""
        ...

    async def commit(self) -> None:
        """Return when everything written so far by this caller is as durable as its door promises."""
        ...

    async def free(self, before: int, selectors: list[list[str]]) -> int: ...

    def debug(self, selector: list[str]) -> Any: ...

    def prometheus(self) -> bytes: ...


@dataclass(slots=True)
class Answer:
    status: int
    body: bytes = b""
    content_type: bytes = _JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Application:
    """The ASGI application over a service, its query and frame services, and a gate for tokens."""

    def __init__(
        self,
        service: StoreService,
        queries: QueryService,
        frames: FrameService,
        gate: TokenGate,
        readers: Executor,
        minimum_points: int,
    ) -> None:
        self.service = service
        self.queries = queries
        self.frames = frames
        self.gate = gate
        self.readers = readers
        self.minimum_points = minimum_points
        self._writes = asyncio.Semaphore(CONCURRENT_WRITES)
        self.latencies: dict[str, list[float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        path = scope["path"].rstrip("/") or "/"
        began = time.perf_counter()
        try:
            answer = await self._route(scope["method"], path, scope, receive)
        except ClusterCockpitError as error:
            answer = _refusal(error)
        except _DisconnectedError:
            return
        except Exception:
            logger.exception("%s %s failed", scope["method"], path)
            answer = _problem(500, "Internal Server Error", "the metric store failed; its log says why")
        if answer.status < 400:
            self._observe(path, time.perf_counter() - began)
        await _send(send, answer, scope["method"] == "HEAD")

    def _observe(self, path: str, duration: float) -> None:
        recent = self.latencies.setdefault(path, [])
        recent.append(duration)
        if len(recent) > 1000:
            del recent[:500]

    async def _route(self, method: str, path: str, scope: Scope, receive: Receive) -> Answer:
        if path == "/healthz":
            return Answer(200, b'{"status":"alive"}')
        if path == "/readyz":
            return Answer(200 if self.service.ready else 503, orjson.dumps(self.service.state))
        if path == "/metrics":
            return Answer(200, self.service.prometheus(), b"text/plain; version=0.0.4; charset=utf-8")
        methods = _ROUTES.get(path)
        if methods is None:
            return _problem(404, "Not Found", "no such path in the metric store")
        if method not in methods:
            allowed = ", ".join(sorted(methods)).encode()
            answer = _problem(405, "Method Not Allowed", f"{path} takes {allowed.decode()}")
            answer.headers = ((b"allow", allowed),)
            return answer
        self.gate.check(scope["headers"])
        if path == "/api/write":
            return await self._write(scope, receive)
        if path == "/api/free":
            return await self._free(scope, receive)
        if not self.service.ready:
            raise UnavailableError("the metric store is restoring its checkpoint: try again in a moment")
        body = await _body(scope, receive, MAX_REQUEST)
        loop = asyncio.get_running_loop()
        if path == "/api/query":
            request = QueryRequest.parse(body, self.minimum_points)
            return Answer(200, await loop.run_in_executor(self.readers, self.queries.answer, request))
        if path == "/api/frame":
            asked = FrameRequest.parse(body)
            content = await loop.run_in_executor(self.readers, self.frames.answer, asked)
            return Answer(200, content, CONTENT_TYPE.encode())
        if path == "/api/healthcheck":
            return Answer(200, await loop.run_in_executor(self.readers, self._healthcheck, body))
        selector = [part for part in _parameter(scope, "selector").split(":") if part]
        found = self.service.debug(selector)
        return Answer(200, orjson.dumps(found))

    # --- writing ---------------------------------------------------------------------------------

    async def _write(self, scope: Scope, receive: Receive) -> Answer:
        cluster = _parameter(scope, "cluster")
        decoder = _decoder(scope)
        total, lines, taken = WriteReport(), 1, 0
        parts: list[bytes] = []  # joined once: adding each to the ones before would copy a body many times
        waiting = 0
        async with self._writes:
            async for piece in _pieces(receive):
                for decoded in decoder(piece):
                    taken += len(decoded)
                    if taken > MAX_BODY:
                        raise TooLargeError(f"body is over {MAX_BODY} bytes: send smaller batches")
                    parts.append(decoded)
                    waiting += len(decoded)
                    if waiting >= CHUNK:
                        lines, rest = await self._place(b"".join(parts), cluster, lines, total)
                        parts, waiting = [rest], len(rest)
            if not decoder.finished:
                raise InvalidInputError("the compressed body ends too early")
            if waiting:
                total.add(await self.service.write(b"".join(parts), cluster, lines))
        # Who waits for the commit holds no body any more and keeps nobody out: with a commit every two
        # seconds 32 senders at a time would be all there is. The log bounds what waits.
        await self.service.commit()
        return _summary(total)

    async def _place(self, content: bytes, cluster: str, line: int, total: WriteReport) -> tuple[int, bytes]:
        """Hand over the whole lines; returns the next line's number and what is left."""
        end = content.rfind(b"\n") + 1
        if end == 0:
            # One endless line: it is refused once, then skipped to its end without being kept.
            total.refuse(line, "too long", "line is longer than a body's piece")
            raise TooLargeError("a line is longer than 1 MiB")
        whole = content[:end]
        total.add(await self.service.write(whole, cluster, line))
        return line + whole.count(b"\n"), content[end:]

    async def _free(self, scope: Scope, receive: Receive) -> Answer:
        text = _parameter(scope, "to")
        try:
            before = int(text)
        except ValueError:
            raise InvalidInputError("parameter `to` must be a time in Unix seconds") from None
        body = await _body(scope, receive, MAX_REQUEST)
        try:
            selectors = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise InvalidInputError(f"the request body is not JSON: {error}") from None
        if not isinstance(selectors, list) or not all(
            isinstance(s, list) and all(isinstance(part, str) for part in s) for s in selectors
        ):
            raise InvalidInputError("the request body must be a list of selectors, each a list of names")
        freed = await self.service.free(before, selectors)
        return Answer(200, f"buffers freed: {freed}\n".encode(), _TEXT)

    def _healthcheck(self, body: bytes) -> bytes:
        try:
            members = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise InvalidInputError(f"the request body is not JSON: {error}") from None
        if not isinstance(members, dict):
            raise InvalidInputError("the request must be a JSON object")
        unknown = set(members) - {"cluster", "nodes", "metric-names"}
        if unknown:
            raise InvalidInputError(f"unknown key {sorted(unknown)[0]!r}")
        cluster = members.get("cluster")
        nodes, metrics = members.get("nodes") or [], members.get("metric-names") or []
        if not isinstance(cluster, str) or not _texts(nodes) or not _texts(metrics):
            raise InvalidInputError("cluster must be a string, nodes and metric-names lists of strings")
        found = health.check(self.queries.reader.engine, cluster, nodes, metrics)
        return orjson.dumps({name: node.document() for name, node in found.items()})


_ROUTES: dict[str, frozenset[str]] = {
    "/api/write": frozenset({"POST"}),
    "/api/free": frozenset({"POST"}),
    "/api/query": frozenset({"GET", "POST"}),
    "/api/frame": frozenset({"POST"}),
    "/api/healthcheck": frozenset({"GET", "POST"}),
    "/api/debug": frozenset({"GET", "POST"}),
}


def _summary(total: WriteReport) -> Answer:
    """An empty 200 if all was good or of unknown metrics; counts and reasons if lines were refused; 400 if
    none was usable."""
    if not total.rejections:
        return Answer(200)
    document: dict[str, Any] = {
        "accepted": total.accepted,
        "unknown": total.unknown,
        "rejected": total.rejections,
        "reasons": total.reasons,
    }
    if total.accepted or total.unknown:
        return Answer(200, orjson.dumps(document))
    return Answer(400, orjson.dumps({"status": "Bad Request", "error": total.reasons[0], **document}))


def _refusal(error: ClusterCockpitError) -> Answer:
    for kind, status, text in _STATUS:
        if isinstance(error, kind):
            return _problem(status, text, str(error))
    return _problem(500, "Internal Server Error", str(error))


def _problem(status: int, text: str, message: str) -> Answer:
    headers = ((b"www-authenticate", b"Bearer"),) if status == 401 else ()
    if status == 503:
        headers = ((b"retry-after", b"2"),)
    return Answer(status, orjson.dumps({"status": text, "error": message}), headers=headers)


# --- ASGI ------------------------------------------------------------------------------------------


class _DisconnectedError(Exception):
    """The sender went away in the middle of its body."""


async def _pieces(receive: Receive) -> Any:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _DisconnectedError
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


async def _body(scope: Scope, receive: Receive, limit: int) -> bytes:
    decoder = _decoder(scope)
    content = bytearray()
    async for piece in _pieces(receive):
        for decoded in decoder(piece):
            content += decoded
            if len(content) > limit:
                raise TooLargeError(f"the request body is over {limit} bytes")
    if not decoder.finished:
        raise InvalidInputError("the compressed body ends too early")
    return bytes(content)


async def _send(send: Send, answer: Answer, head: bool) -> None:
    headers = [
        (b"content-type", answer.content_type),
        (b"content-length", str(len(answer.body)).encode()),
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else answer.body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _parameter(scope: Scope, name: str) -> str:
    """The first occurrence of a query parameter, decoded."""
    found = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get(name)
    return found[0] if found else ""


class _Decoder(Protocol):
    @property
    def finished(self) -> bool: ...

    def __call__(self, piece: bytes) -> Iterable[bytes]: ...


def _decoder(scope: Scope) -> _Decoder:
    """How to undo the body's Content-Encoding, in pieces of bounded size."""
    encoding = next((v for k, v in scope["headers"] if k == b"content-encoding"), b"").strip().lower()
    if encoding in (b"", b"identity"):
        return _Plain()
    if encoding in (b"gzip", b"x-gzip", b"deflate"):
        return _Deflated()
    if encoding == b"zstd":
        return _Zstd()
    raise InvalidInputError(f"content encoding {encoding.decode('latin-1')!r} is not known: use gzip or zstd")


class _Plain:
    @property
    def finished(self) -> bool:
        return True

    def __call__(self, piece: bytes) -> Iterable[bytes]:
        return (piece,)


class _Deflated:
    def __init__(self) -> None:
        self._stream = zlib.decompressobj(47)  # gzip or zlib, by its header
        self._begun = False

    @property
    def finished(self) -> bool:
        return self._stream.eof or not self._begun

    def __call__(self, piece: bytes) -> Iterable[bytes]:
        self._begun = True
        try:
            while piece:
                if self._stream.eof:
                    self._stream = zlib.decompressobj(47)  # another member follows
                yield self._stream.decompress(piece, CHUNK)
                piece = self._stream.unconsumed_tail or self._stream.unused_data
        except zlib.error as error:
            raise InvalidInputError(f"the compressed body is damaged: {error}") from None


class _Zstd:
    def __init__(self) -> None:
        # 8 MiB is what RFC 9659 lets a sender use as window
        self._stream = zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024).decompressobj()
        self._begun = False

    @property
    def finished(self) -> bool:
        return self._stream.eof or not self._begun

    def __call__(self, piece: bytes) -> Iterable[bytes]:
        self._begun = True
        try:
            # Small bites bound what one call can expand to
            for begin in range(0, len(piece), 256):
                yield self._stream.decompress(piece[begin : begin + 256])
        except zstandard.ZstdError as error:
            raise InvalidInputError(f"the compressed body is damaged: {error}") from None


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
