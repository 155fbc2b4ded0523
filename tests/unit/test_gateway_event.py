"""What the HTTP API's event (payload 2.0) becomes behind the adapter: address, scheme, cookies both ways."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from mangum import Mangum
from starlette.requests import Request
from starlette.responses import Response
from tests.identities import settings_with_keys

from clustercockpit.access.policy import AddressList
from clustercockpit.http.address import client_address, is_secure
from clustercockpit.http.answers import JsonAnswer
from clustercockpit.http.application import application
from clustercockpit.http.door import guarded_router
from clustercockpit.site import Site


def event(
    path: str, *, headers: dict[str, str] | None = None, cookies: list[str] | None = None
) -> dict[str, Any]:
    """As API Gateway sends it to a function."""
    document: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "ANY /{proxy+}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "host": "cc.example",
            "x-forwarded-for": "198.51.100.1, 203.0.113.9",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
            **(headers or {}),
        },
        "requestContext": {
            "accountId": "1",
            "apiId": "a",
            "domainName": "cc.example",
            "http": {
                "method": "GET",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.9",
                "userAgent": "x",
            },
            "requestId": "r",
            "stage": "$default",
            "time": "24/Nov/2026:14:00:00 +0000",
            "timeEpoch": 1795528800000,
        },
        "isBase64Encoded": False,
    }
    if cookies is not None:
        document["cookies"] = cookies
    return document


@pytest.fixture
def loop() -> Iterator[None]:
    """The adapter runs requests on the thread's event loop, and leaves that one open."""
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield
    asyncio.set_event_loop(None)
    made.close()


@pytest.fixture
def handler(loop: None) -> Any:
    router = guarded_router("public")

    @router.get("/seen")
    def seen(request: Request) -> Response:
        trusted = AddressList(everyone=False)
        answer = JsonAnswer(
            {
                "address": client_address(request.scope, trusted),
                "secure": is_secure(request.scope, trusted),
                "session": request.cookies.get("session"),
            }
        )
        for name in ("state", "nonce", "verifier"):
            answer.set_cookie(name, "x")
        return answer

    @router.get("/long")
    def long() -> Response:
        return JsonAnswer("é" * 5000)

    return Mangum(application(Site(settings_with_keys()), [router]), lifespan="off")


class Context:
    """The little of a Lambda context that the adapter wants."""


def test_the_caller_is_the_gateways_source_address(handler: Any) -> None:
    answer = handler(event("/seen", headers={"x-real-ip": "192.0.2.1"}), Context())
    assert json.loads(answer["body"])["address"] == "203.0.113.9"
    assert json.loads(answer["body"])["secure"] is True
    assert answer["headers"]["strict-transport-security"]


@pytest.mark.parametrize(
    "arrived", [{"cookies": ["a=b", "session=value"]}, {"headers": {"cookie": "a=b; session=value"}}]
)
def test_cookies_arrive_in_the_array_or_in_a_header(handler: Any, arrived: dict[str, Any]) -> None:
    assert json.loads(handler(event("/seen", **arrived), Context())["body"])["session"] == "value"


def test_several_cookies_leave(handler: Any) -> None:
    answer = handler(event("/seen"), Context())
    assert [cookie.split("=")[0] for cookie in answer["cookies"]] == ["state", "nonce", "verifier"]


def test_compressed_answers_are_bytes(handler: Any) -> None:
    answer = handler(event("/long", headers={"accept-encoding": "gzip"}), Context())
    assert answer["isBase64Encoded"]
    assert json.loads(gzip.decompress(base64.b64decode(answer["body"]))) == "é" * 5000
