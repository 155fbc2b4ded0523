"""Every route of the applications, at the function that the template's gateway sends it to."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.routing import Match
from tests.identities import settings_with_keys
from tests.unit.test_templates import ROOT, load

from clustercockpit.api.application import create_api
from clustercockpit.query.application import create_query
from clustercockpit.server import create_reader
from clustercockpit.site import Site

API, QUERY, INGEST = "ApiIntegration", "QueryIntegration", "IngestIntegration"


def _gateway() -> list[tuple[str, str, str]]:
    """Method (or ANY), path pattern, integration."""
    found = []
    for resource in load(ROOT / "template.yaml")["Resources"].values():
        if resource["Type"] != "AWS::ApiGatewayV2::Route":
            continue
        properties: dict[str, Any] = resource["Properties"]
        method, _, path = properties["RouteKey"].partition(" ")
        target = re.search(r"\$\{(\w+)\}", properties["Target"]["Sub"])
        assert target is not None
        found.append((method, path, target[1]))
    return found


def _specificity(path: str) -> tuple[int, ...]:
    """An HTTP API takes the most specific route: literal before `{name}` before `{name+}` before $default."""
    if not path:
        return ()
    return tuple(0 if "+}" in part else 1 if part.startswith("{") else 2 for part in path.split("/")[1:])


def _integration(method: str, path: str) -> str:
    best: tuple[tuple[int, ...], str] | None = None
    for route_method, pattern, target in _gateway():
        if route_method not in (method, "ANY", "$default"):
            continue
        expression = re.sub(r"\\\{\w+\\\+\\\}", ".+", re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(pattern)))
        if pattern and not re.fullmatch(expression, path):
            continue
        candidate = (_specificity(pattern), target)
        if best is None or candidate[0] > best[0]:
            best = candidate
    assert best is not None, f"no route takes {method} {path}"
    return best[1]


def _serves(app: FastAPI, method: str, path: str) -> bool:
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    return any(route.matches(scope)[0] is Match.FULL for route in app.router.routes)


def _addresses() -> list[tuple[str, str, bool]]:
    """Method, an address, whether only the api application has it."""
    site = Site(settings_with_keys(archive_bucket="./nowhere", data_bucket=""))
    found: dict[tuple[str, str], bool] = {}
    for app, is_api in ((create_query(site), False), (create_api(site), True)):
        for route in app.router.routes:
            path = re.sub(r"\{path:path\}", "monitoring/jobs/", getattr(route, "path", ""))
            path = re.sub(r"\{\w+(:\w+)?\}", "7", path)
            for method in getattr(route, "methods", None) or ():
                # /query takes every method to say that only POST is right; either function may say so.
                if method not in ("HEAD", "OPTIONS") and (path != "/query" or method == "POST"):
                    found.setdefault((method, path), is_api)
    return sorted((method, path, is_api) for (method, path), is_api in found.items())


ADDRESSES = _addresses()


@pytest.fixture(scope="module")
def served() -> dict[str, FastAPI]:
    site = Site(settings_with_keys(archive_bucket="./nowhere", data_bucket=""))
    return {API: create_api(site), QUERY: create_reader(site)}


@pytest.mark.parametrize(("method", "path", "is_api"), ADDRESSES, ids=lambda value: str(value))
def test_the_gateway_sends_every_route_to_a_function_that_has_it(
    served: dict[str, FastAPI], method: str, path: str, is_api: bool
) -> None:
    target = _integration(method, path)
    assert target != INGEST
    assert _serves(served[target], method, path), f"{method} {path} goes to {target}"
    if is_api and method != "GET":
        assert target == API  # the reader may not write


@pytest.mark.parametrize("path", ["/api/jobs/start_job", "/api/jobs/start_job/", "/api/jobs/stop_job/"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_schedulers_reach_the_writer(method: str, path: str) -> None:
    assert _integration(method, path) == API


@pytest.mark.parametrize("path", ["/api/write", "/api/free"])
def test_collectors_reach_the_container(path: str) -> None:
    assert _integration("POST", path) == INGEST
