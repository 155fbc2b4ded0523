"""Every route of the product behind the real door: who reaches it, and nothing by oversight."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from tests.identities import SIGNER, settings_with_keys
from tests.unit.test_door import NoEpochs, expected

from clustercockpit.access.model import Role, User
from clustercockpit.server import create_app
from clustercockpit.site import Site

# The specification's table of who may call which router, by address.
RULE_OF_PREFIX = (
    (r"/api/(write|free|debug|healthcheck)/?$", "metric-store-api"),
    (r"/api/", "main-api"),
    (r"/userapi/", "user-api"),
    (r"/config/", "config"),
    # Frames are for pages and for programs with a token.
    (r"/frontend/jobs?/", "pages"),
    (r"/frontend/", "frontend"),
    (r"/(query|search)/?$", "pages"),
    (r"/(login|logout|jwt-login)/?$", "public"),
    (r"/\{path:path\}$", "public"),
)


@pytest.fixture
def site() -> Site:
    site = Site(settings_with_keys(archive_bucket="./nowhere", data_bucket=""))
    site.__dict__["users"] = NoEpochs()
    return site


@pytest.fixture
def app(site: Site) -> FastAPI:
    app = create_app(site)
    for route in app.router.routes:
        # What a route does is not the question here.
        route.app = PlainTextResponse("reached")  # type: ignore[attr-defined]
    return app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cc") as client:
        yield client


def routes(app: FastAPI) -> list[tuple[str, str, str]]:
    """Method, an address, and the rule it must stand under."""
    found = []
    for route in app.router.routes:
        path: str = route.path  # type: ignore[attr-defined]
        rule = next((name for pattern, name in RULE_OF_PREFIX if re.match(pattern, path)), None)
        assert rule is not None, f"{path}: the table of the specification does not know it"
        address = re.sub(r"\{\w+(:path)?\}", "1", path)
        for method in sorted(route.methods):  # type: ignore[attr-defined]
            found.append((method, address, rule))
    return found


async def test_roles_by_routes(app: FastAPI, client: httpx.AsyncClient, site: Site) -> None:
    assert len(routes(app)) > 35
    callers: list[tuple[tuple[str, ...], str]] = [((), "none")]
    for roles in ("", "api", "user", "manager", "support", "admin", "admin api", "user api", "support api"):
        callers += [(tuple(roles.split()), "token"), (tuple(roles.split()), "cookie")]
    wrong = []
    for method, address, rule in routes(app):
        for roles, credential in callers:
            user = User("alice", frozenset(Role(role) for role in roles))
            headers: dict[str, Any] = {}
            if credential == "token":
                headers["X-Auth-Token"] = SIGNER.issue(user)
            elif credential == "cookie":
                headers["Cookie"] = f"session={site.authentication.sessions.start(user)}"
            answer = await client.request(method, address, headers=headers)
            open_to = rule == "public" if credential == "none" else expected(rule, roles, credential)
            if answer.status_code != (200 if open_to else 401):
                wrong.append((method, address, roles, credential, answer.status_code))
    assert wrong == []


async def test_methods_that_are_not_there(client: httpx.AsyncClient) -> None:
    for method, path, allowed in (
        ("GET", "/api/write", "POST"),
        ("HEAD", "/api/clusters/", "GET"),
        ("PUT", "/api/jobs/7", "GET, POST"),
        ("DELETE", "/frontend/me", "GET"),
    ):
        answer = await client.request(method, path)
        assert (answer.status_code, answer.headers.get("allow")) == (405, allowed), path
    assert (await client.post("/api/nothing")).status_code == 404
    assert (await client.put("/nothing")).status_code == 404
    assert (await client.get("/openapi.json")).status_code == 200, "a page's address: the shell answers"
