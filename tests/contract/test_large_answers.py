"""Answers over a function's limit: an object and a redirect, or a refusal that says what to do."""

from __future__ import annotations

import gzip
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from clustercockpit.http.large_answers import LargeAnswers
from clustercockpit.settings import Settings
from clustercockpit.site import Site
from clustercockpit.storage.aws import client as aws_client

NOISE = bytes(random.Random(1).choices(b"0123456789abcdef", k=30_000))
ZEROS = b"0" * 30_000
QUOTES = b'["a","b"]' * 1100
"""Within the limit as such; a function's answer is JSON itself, in which each quote is two characters."""


async def answer(request: Request) -> Response:
    content = {"noise": NOISE, "zeros": ZEROS, "quotes": QUOTES}[request.path_params["what"]]
    if request.method == "POST":
        return Response(content, media_type="application/json")
    halves = (content[:15_000], content[15_000:])

    async def parts() -> AsyncIterator[bytes]:
        for half in halves:
            yield half

    return StreamingResponse(parts(), media_type="application/json")


def client(site: Site, *, envelope: int = 6_000_000) -> httpx.AsyncClient:
    app = Starlette(
        routes=[Route("/{what}", answer, methods=["GET", "POST"])],
        middleware=[Middleware(GZipMiddleware, minimum_size=100)],
    )
    transport = httpx.ASGITransport(LargeAnswers(app, site, limit=10_000, envelope=envelope))
    return httpx.AsyncClient(transport=transport, base_url="https://cc.example")


@pytest.fixture
def s3(aws: None, aws_settings: Settings) -> Any:
    client = aws_client(aws_settings, "s3")
    where = {"LocationConstraint": aws_settings.aws_region}
    client.create_bucket(Bucket=aws_settings.data_bucket, CreateBucketConfiguration=where)
    return client


async def test_what_compression_makes_small_is_sent(s3: Any, aws_settings: Settings) -> None:
    async with client(Site(aws_settings)) as caller:
        found = await caller.get("/zeros")
    assert (found.status_code, found.content) == (200, ZEROS)
    assert found.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_a_get_is_sent_to_an_object(s3: Any, aws_settings: Settings, encoding: str) -> None:
    async with client(Site(aws_settings)) as caller:
        found = await caller.get("/noise", headers={"accept-encoding": encoding})
    assert found.status_code == 303
    assert found.headers["cache-control"] == "no-store"
    address = httpx.URL(found.headers["location"])
    assert address.params["response-content-type"] == "application/json"
    assert ("response-content-encoding" in address.params) == (encoding == "gzip")
    (stored,) = s3.list_objects_v2(Bucket=aws_settings.data_bucket)["Contents"]
    assert stored["Key"].startswith("responses/")
    assert address.path.endswith(stored["Key"])
    content = s3.get_object(Bucket=aws_settings.data_bucket, Key=stored["Key"])["Body"].read()
    assert (gzip.decompress(content) if encoding == "gzip" else content) == NOISE


async def test_anything_else_is_refused_with_a_remedy(
    s3: Any, aws_settings: Settings, tmp_path: Path
) -> None:
    on_disk = Site(Settings(data_bucket=f"{tmp_path}/data"))
    for site, method in ((Site(aws_settings), "POST"), (on_disk, "GET")):
        async with client(site) as caller:
            found = await caller.request(method, "/noise", headers={"accept-encoding": "identity"})
        assert found.status_code == 413
        assert "ask for fewer jobs" in found.json()["error"]
    assert s3.list_objects_v2(Bucket=aws_settings.data_bucket)["KeyCount"] == 0


async def test_a_text_counts_as_it_travels(s3: Any, aws_settings: Settings) -> None:
    async with client(Site(aws_settings), envelope=13_500) as caller:
        sent = await caller.get("/quotes", headers={"accept-encoding": "gzip"})
        assert (sent.status_code, sent.content) == (200, QUOTES)
        found = await caller.get("/quotes", headers={"accept-encoding": "identity"})
    assert found.status_code == 303
