"""What collectors send to the hub reaches the store in chunks, and the store's answer comes back."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn
from tests.identities import bearer, settings_with_keys

from clustercockpit.http.application import application
from clustercockpit.metrics import hub
from clustercockpit.site import Site


class Store:
    """A metric store's outside: keeps what it is sent, answers what it is told to."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.status = 200
        self.body = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        chunks = []
        more = True
        while more:
            message = await receive()
            chunks.append(message.get("body", b""))
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.requests.append(
            {
                "line": f"{scope['method']} {scope['path']}?{scope['query_string'].decode()}",
                "headers": headers,
                "chunks": chunks,
            }
        )
        await send(
            {
                "type": "http.response.start",
                "status": self.status,
                "headers": [(b"content-type", b"application/json"), (b"x-inside", b"secret")],
            }
        )
        await send({"type": "http.response.body", "body": self.body})


@contextlib.asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def store() -> Store:
    return Store()


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    async with served(store) as address:
        site = Site(settings_with_keys(metric_store_url=address))
        connection = hub.StoreConnection(site)
        transport = httpx.ASGITransport(application(site, [hub.hub_router(connection)]))
        async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
            yield client
        await connection.close()


async def test_lines_reach_the_store_as_they_are(client: httpx.AsyncClient, store: Store) -> None:
    async def lines() -> AsyncIterator[bytes]:
        for i in range(50):
            yield b"flops_any,cluster=c,hostname=h value=%d 1\n" % i * 1000

    store.body = b'{"accepted":1}'
    answer = await client.post("/api/write?cluster=a%2Fb", headers=bearer("api"), content=lines())
    assert (answer.status_code, answer.content) == (200, b'{"accepted":1}')
    assert "x-inside" not in answer.headers
    assert answer.headers["x-frame-options"] == "DENY"
    sent = store.requests[0]
    assert sent["line"] == "POST /api/write?cluster=a%2Fb"
    body = b"".join(sent["chunks"])
    assert body.count(b"\n") == 50_000
    assert len(sent["chunks"]) > 1
    # The store is shown our own token, not the caller's.
    token = sent["headers"]["authorization"].removeprefix("Bearer ")
    site = Site(settings_with_keys())
    assert site.authentication.bearer(token).username == "cc-functions"


async def test_a_form_is_not_parsed_and_slashes_do_not_matter(
    client: httpx.AsyncClient, store: Store
) -> None:
    headers = {**bearer("api"), "content-type": "application/x-www-form-urlencoded"}
    await client.post("/api/write/?cluster=c", headers=headers, content=b"m,host=h value=1&2=3")
    assert store.requests[0]["chunks"][0] == b"m,host=h value=1&2=3"
    assert store.requests[0]["headers"]["content-length"] == "20"


async def test_the_stores_refusals_come_back(client: httpx.AsyncClient, store: Store) -> None:
    store.status, store.body = 400, b'{"error":"no usable line"}'
    answer = await client.post("/api/write", headers=bearer("api"), content=b"x")
    assert (answer.status_code, answer.json()) == (400, {"error": "no usable line"})
    assert (await client.post("/api/free?to=5", headers=bearer("api"), content=b"[]")).status_code == 400
    assert (await client.get("/api/debug?selector=a:b", headers=bearer("api"))).status_code == 400
    assert store.requests[-1]["line"] == "GET /api/debug?selector=a:b"


async def test_only_who_may_write_reaches_the_store(client: httpx.AsyncClient, store: Store) -> None:
    for headers in ({}, bearer("user", "api"), bearer("admin")):
        assert (await client.post("/api/write", headers=headers, content=b"x")).status_code == 401
    assert store.requests == []


async def test_too_long_and_not_there(
    client: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "MAX_BODY_BYTES", 10)
    answer = await client.post("/api/write", headers=bearer("api"), content=b"x" * 11)
    assert answer.status_code == 413

    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"xxx"

    answer = await client.post("/api/write", headers=bearer("api"), content=unannounced())
    assert answer.status_code == 413
    site = Site(settings_with_keys(metric_store_url="http://127.0.0.1:9"))
    connection = hub.StoreConnection(site)
    transport = httpx.ASGITransport(application(site, [hub.hub_router(connection)]))
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as elsewhere:
        answer = await elsewhere.get("/api/debug", headers=bearer("api"))
        assert answer.status_code == 503
        assert "127.0.0.1" not in answer.text
    await connection.close()
