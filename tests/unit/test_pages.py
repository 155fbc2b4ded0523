"""The browser application's files and page addresses."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from clustercockpit.query.pages import is_page, pages_router
from clustercockpit.settings import Settings
from clustercockpit.site import Site

SHELL = "<!doctype html><title>ClusterCockpit</title>"
SCRIPT = "console.log('x');" * 50


@pytest.fixture
def web_root(tmp_path: Path) -> Path:
    root = tmp_path / "dist"
    (root / "assets").mkdir(parents=True)
    (root / "index.html").write_text(SHELL)
    (root / "favicon.svg").write_text("<svg/>")
    (root / "assets" / "index-abc123.js").write_text(SCRIPT)
    (root / "assets" / "index-abc123.js.gz").write_bytes(gzip.compress(SCRIPT.encode()))
    (tmp_path / "secret.txt").write_text("secret")
    return root


def client(root: Path | None) -> httpx.AsyncClient:
    application = FastAPI(redirect_slashes=False)
    application.include_router(pages_router(Site(Settings(web_root=str(root) if root else ""))))
    transport = httpx.ASGITransport(app=application)
    return httpx.AsyncClient(transport=transport, base_url="http://here")


# Every page of the reference (`routes.go`), with and without trailing slash.
ADDRESSES = (
    "/",
    "/login",
    "/config",
    "/imprint",
    "/privacy",
    "/search?searchId=jobId:1",
    "/monitoring/jobs/?cluster=alex&state=running",
    "/monitoring/job/17",
    "/monitoring/users/",
    "/monitoring/projects/",
    "/monitoring/tags/",
    "/monitoring/user/abc0",
    "/monitoring/systems/alex",
    "/monitoring/systems/list/alex",
    "/monitoring/systems/list/alex/a40",
    "/monitoring/node/alex/a0603?from=1&to=2",
    "/monitoring/analysis/alex",
    "/monitoring/status/alex",
    "/monitoring/status/detail/alex",
    "/monitoring/dashboard/alex",
    "/monitoring/logs",
    "/job/alex/4711",
)


@pytest.mark.parametrize("address", ADDRESSES)
async def test_every_page_address_of_the_reference_answers_with_the_shell(
    web_root: Path, address: str
) -> None:
    path, _, query = address.partition("?")
    async with client(web_root) as http:
        for spelling in {path, path.rstrip("/") or "/", path.rstrip("/") + "/"}:
            answer = await http.get(spelling + ("?" + query if query else ""))
            assert answer.status_code == 200, spelling
            assert answer.text == SHELL
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "/monitoring/nothing",
        "/monitoring/job/abc",
        "/monitoring/job/",
        "/nothing",
        "/monitoring/jobs/x",
        "/wp-login.php",
    ],
)
async def test_unknown_address_is_404_with_the_shell(web_root: Path, path: str) -> None:
    async with client(web_root) as http:
        answer = await http.get(path)
    assert (answer.status_code, answer.text) == (404, SHELL)


@pytest.mark.parametrize("path", ["/api/nothing/", "/userapi/x", "/frontend/x", "/config/x"])
async def test_unknown_address_of_a_program_is_404_in_json(web_root: Path, path: str) -> None:
    async with client(web_root) as http:
        answer = await http.get(path)
    assert answer.status_code == 404
    assert answer.json() == {"error": "the requested endpoint does not exist", "status": "Resource not found"}


async def test_hashed_files_are_cached_for_ever_and_come_packed(web_root: Path) -> None:
    async with client(web_root) as http:
        packed = await http.get("/assets/index-abc123.js", headers={"accept-encoding": "br, gzip"})
        plain = await http.get("/assets/index-abc123.js", headers={"accept-encoding": "gzip;q=0"})
        missing = await http.get("/assets/index-000000.js")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert packed.headers["vary"] == "accept-encoding"
    assert packed.text == plain.text == SCRIPT
    assert "content-encoding" not in plain.headers
    assert missing.status_code == 404
    assert missing.text != SHELL


async def test_revalidation_costs_no_body(web_root: Path) -> None:
    async with client(web_root) as http:
        first = await http.get("/favicon.svg")
        again = await http.get("/favicon.svg", headers={"if-none-match": first.headers["etag"]})
    assert first.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/assets/%2e%2e%2f%2e%2e%2fsecret.txt",
    ],
)
async def test_nothing_outside_the_built_files_is_served(web_root: Path, path: str) -> None:
    async with client(web_root) as http:
        answer = await http.get(path)
    assert "secret" not in answer.text
    assert answer.status_code == 404


async def test_a_new_build_is_served_without_restart(web_root: Path) -> None:
    async with client(web_root) as http:
        assert (await http.get("/")).text == SHELL
        (web_root / "index.html").write_text("<!doctype html>new")
        os.utime(web_root / "index.html", ns=(1, 1))
        assert (await http.get("/")).text == "<!doctype html>new"


async def test_without_a_build_the_answer_says_what_to_do(tmp_path: Path) -> None:
    for root in (None, tmp_path / "missing"):
        async with client(root) as http:
            page, unknown = await http.get("/monitoring/jobs/"), await http.get("/nothing")
        assert page.status_code == 503
        assert "npm run build" in page.text
        assert unknown.status_code == 404


def test_page_segments_do_not_span_slashes() -> None:
    assert is_page("monitoring/user/a.b-c@d")
    assert not is_page("monitoring/user/a/b")
    assert not is_page("monitoring/jobs//")
