"""Logging in, out, and administering accounts, through the whole stack on an emulated table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from moto import mock_aws
from tests.identities import bearer, settings_with_keys

from clustercockpit.access import http as access_http
from clustercockpit.access.model import Role
from clustercockpit.http.application import application
from clustercockpit.site import Site
from clustercockpit.storage.dynamodb.table import Table
from clustercockpit.users import http as users_http
from clustercockpit.users.accounts import Accounts
from clustercockpit.users.passwords import PasswordCheck

PASSWORD = "correct horse"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        (tmp_path / "archive").mkdir()
        (tmp_path / "data").mkdir()
        settings = settings_with_keys(
            table_name="cc-login",
            archive_bucket=f"{tmp_path}/archive",
            data_bucket=f"{tmp_path}/data",
        )
        Table(settings).create()
        site = Site(settings)
        # The real effort of a hash is measured elsewhere; here it would only take time.
        site.__dict__["accounts"] = Accounts(site.users, site._revoke, PasswordCheck(cost=4))
        site.accounts.add("root", roles=frozenset({Role.ADMIN}), password=PASSWORD, name="Root")
        site.accounts.add("alice", roles=frozenset({Role.USER}), password=PASSWORD)
        yield site


@pytest.fixture
async def client(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    app = application(site, [*access_http.routers(site), *users_http.routers(site)])
    transport = httpx.ASGITransport(app, client=("192.0.2.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="https://cc.example") as client:
        yield client


async def log_in(client: httpx.AsyncClient, username: str, password: str = PASSWORD) -> httpx.Response:
    return await client.post(
        "/login",
        data={"username": username, "password": password},
        headers={"accept": "application/json"},
    )


async def test_a_browser_logs_in_and_out(client: httpx.AsyncClient) -> None:
    form = {"username": "alice", "password": PASSWORD, "redirect": "/monitoring/jobs/?state=running&x=ä"}
    answer = await client.post("/login/", data=form)
    assert answer.status_code == 302
    assert answer.headers["location"] == "/monitoring/jobs/?state=running&x=%C3%A4"
    cookie = answer.headers["set-cookie"]
    for part in ("session=", "HttpOnly", "SameSite=lax", "Path=/", "Max-Age=604800", "Secure"):
        assert part in cookie
    me = (await client.get("/frontend/me")).json()
    assert me == {
        "username": "alice",
        "name": "",
        "roles": ["user"],
        "projects": [],
        "authlevel": 2,
        "epoch": 0,
    }
    answer = await client.post("/logout")
    assert answer.status_code == 200
    assert "Logout successful" in answer.text
    assert (await client.get("/frontend/me")).status_code == 401
    # Without a session, and with one that cannot be read, the answer is the same.
    for headers in ({}, {"Cookie": "session=of.another.program"}):
        assert (await client.post("/logout/", headers=headers)).status_code == 200
        assert (await client.get("/logout", headers=headers)).headers["location"] == "/login"


async def test_where_a_login_may_lead(client: httpx.AsyncClient) -> None:
    for target, leads_to in (
        ("/monitoring/jobs/", "/monitoring/jobs/"),
        ("//host", "/"),
        ("/\\host", "/"),
        ("https://host", "/"),
        ("/a\r\nSet-Cookie: x=y", "/"),
        ("\t//host", "/"),
        ("", "/"),
    ):
        form = {"username": "alice", "password": PASSWORD, "redirect": target}
        assert (await client.post("/login", data=form)).headers["location"] == leads_to, target


async def test_failures_do_not_tell_who_exists(client: httpx.AsyncClient) -> None:
    answers = [await log_in(client, name, "wrong") for name in ("alice", "nobody", "")]
    assert {a.status_code for a in answers} == {401}
    assert len({a.content for a in answers}) == 1
    page = await client.post("/login", data={"username": "<b>", "password": "x", "redirect": '"><script>'})
    assert page.status_code == 401
    assert "Authentication failed" in page.text
    assert "<script>" not in page.text


async def test_an_unreadable_cookie_does_not_stop_a_login(client: httpx.AsyncClient) -> None:
    client.cookies.set("session", "of.another.key")
    assert (await client.get("/frontend/me")).status_code == 401
    answer = await log_in(client, "alice")
    assert answer.status_code == 200
    assert answer.json()["username"] == "alice"


async def test_the_sixth_failure(client: httpx.AsyncClient) -> None:
    for _ in range(5):
        assert (await log_in(client, "alice", "wrong")).status_code == 401
    refused = await log_in(client, "alice")
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "180"
    form = await client.post("/login", data={"username": "alice", "password": PASSWORD})
    assert form.status_code == 401
    assert "too many login attempts" in form.text
    assert (await log_in(client, "root")).status_code == 200


async def test_another_sites_form_cannot_log_in(client: httpx.AsyncClient) -> None:
    answer = await client.post("/login", data={}, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403


async def test_a_forms_size_is_bounded(client: httpx.AsyncClient) -> None:
    assert (await log_in(client, "alice", "x" * 300_000)).status_code == 413


async def test_demotion_and_deletion_end_sessions(client: httpx.AsyncClient, site: Site) -> None:
    await log_in(client, "alice")
    assert (await client.get("/frontend/me")).status_code == 200
    site.accounts.add_role("alice", "support")
    assert (await client.get("/frontend/me")).status_code == 401
    me = (await log_in(client, "alice")).json()
    assert (me["authlevel"], me["epoch"]) == (4, 1)
    site.accounts.remove("alice")
    assert (await client.get("/frontend/me")).status_code == 401
    assert (await log_in(client, "alice")).status_code == 401


async def test_tokens_for_oneself_and_by_an_administrator(client: httpx.AsyncClient, site: Site) -> None:
    await log_in(client, "alice")
    assert (await client.get("/frontend/jwt/?username=root")).status_code == 403
    answer = await client.get("/frontend/jwt/?username=alice")
    assert answer.headers["content-type"].startswith("text/plain")
    user = site.authentication.bearer(answer.text)
    assert (user.username, user.roles) == ("alice", {Role.USER})
    await log_in(client, "root")
    assert site.authentication.bearer((await client.get("/frontend/jwt/?username=alice")).text)
    assert (await client.get("/frontend/jwt/?username=nobody")).status_code == 404


async def test_an_administrator_keeps_accounts(client: httpx.AsyncClient) -> None:
    assert (await client.get("/config/users/")).status_code == 401
    await log_in(client, "alice")
    assert (await client.get("/config/users/")).status_code == 401
    await log_in(client, "root")
    assert (await client.get("/config/roles/")).json() == ["api", "user", "manager", "support", "admin"]
    new = {"username": "max", "password": PASSWORD, "role": "manager", "project": "p1", "name": "Max"}
    answer = await client.post("/config/users/", data=new)
    assert answer.text == "User max successfully created!\n"
    multipart = {name: (None, value) for name, value in {**new, "username": "moritz"}.items()}
    assert (await client.post("/config/users/", files=multipart)).status_code == 200
    listed = (await client.get("/config/users/?not-just-user=true&via-ldap=false")).json()
    assert [user["username"] for user in listed] == ["max", "moritz", "root"]
    assert listed[0] == {
        "username": "max",
        "name": "Max",
        "email": "",
        "roles": ["manager"],
        "projects": ["p1"],
        "authType": 0,
        "authSource": 0,
    }
    assert "$2b$" not in (await client.get("/config/users/")).text
    edited = await client.post("/config/user/max", data={"add-project": "p2"})
    assert edited.json() == {"msg": "Add Project Success"}
    refused = await client.post("/config/user/max", data={"remove-role": "manager"})
    assert refused.status_code == 422
    assert refused.json()["error"].startswith("removing role failed: ")
    assert (await client.post("/config/user/max", data={"add-role": "emperor"})).status_code == 422
    assert (await client.post("/config/user/nobody", data={"add-role": "api"})).status_code == 422
    assert (await client.post("/config/user/max", data={})).status_code == 400
    assert (await client.request("DELETE", "/config/users/?username=max")).content == b""
    assert (await client.request("DELETE", "/config/users/", files={"username": (None, "moritz")})).is_success
    assert len((await client.get("/config/users/")).json()) == 2
    last = await client.request("DELETE", "/config/users/?username=root")
    assert (last.status_code, "last administrator" in last.text) == (422, True)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"username": ""}, 400),
        ({"username": "x" * 101}, 400),
        ({"username": "a\x00b"}, 400),
        ({"username": "ALICE"}, 422),
        ({"password": ""}, 400),
        ({"password": "short"}, 400),
        ({"password": "x" * 73}, 400),
        ({"role": "emperor"}, 400),
        ({"role": "anonymous"}, 400),
        ({"project": "p"}, 400),
        ({"role": "manager"}, 400),
        ({"role": "api", "password": ""}, 200),
    ],
)
async def test_what_an_account_may_be(client: httpx.AsyncClient, change: dict[str, str], status: int) -> None:
    await log_in(client, "root")
    new = {"username": "new", "password": PASSWORD, "role": "user", **change}
    assert (await client.post("/config/users/", data=new)).status_code == status


async def test_users_over_rest(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/users/", headers=bearer("api"))).status_code == 403
    both = bearer("admin", "api")
    assert len((await client.get("/api/users/", headers=both)).json()) == 2
    answer = await client.post("/api/user/alice", headers=both, content=b'{"add-role":"Support"}')
    assert answer.json() == {"msg": "Add Role Success for user alice"}
    assert (await client.post("/api/user/alice", headers=both, content=b'{"rol":"x"}')).status_code == 400
    assert (await client.post("/api/user/alice", headers=both, content=b"")).status_code == 400
    assert (await client.post("/api/users/", headers=both)).status_code == 405


async def test_ui_settings(client: httpx.AsyncClient, site: Site) -> None:
    await log_in(client, "alice")
    before = (await client.get("/frontend/configuration/")).json()
    assert before["plotConfiguration_plotsPerRow"] == 3
    assert before["jobList_hideShortRunningJobs"] == 300
    form = {"key": "plotConfiguration_plotsPerRow", "value": "5"}
    assert (await client.post("/frontend/configuration/", data=form)).text == "success"
    assert (await client.get("/frontend/configuration")).json()["plotConfiguration_plotsPerRow"] == 5
    for key, value in (
        ("plotConfiguration_plotsPerRow", "five"),
        ("plotConfiguration_plotsPerRow", '"5"'),
        ("plotConfiguration_plotsPerRow", "true"),
        ("unknown_key", "1"),
        ("jobList_hideShortRunningJobs", "1"),
        ("metricConfig_jobListMetrics:nowhere", "[]"),
        ("analysisView_selectedTopEntity", '"user"'),
        ("plotConfiguration_colorScheme", "[" + '"#fff",' * 2000 + '"#fff"]'),
    ):
        answer = await client.post("/frontend/configuration/", data={"key": key, "value": value})
        assert answer.status_code == 400, key
    # What got in by another way does not break the pages of its owner.
    site.users.set_setting("alice", "plotConfiguration_lineWidth", "no json")
    assert (await client.get("/frontend/configuration/")).json()["plotConfiguration_lineWidth"] == 3


async def test_the_notice(client: httpx.AsyncClient) -> None:
    await log_in(client, "root")
    assert (await client.get("/frontend/notice/")).json() == {"notice": ""}
    answer = await client.post("/config/notice/", data={"new-content": "down on <Monday>"})
    assert answer.text == "Update Notice Content Success"
    assert (await client.get("/frontend/notice/")).json() == {"notice": "down on <Monday>"}
    assert (await client.post("/config/notice/", data={"new-content": "ä" * 5001})).status_code == 400
    assert (await client.post("/config/notice/", data={})).text == "Empty Notice Content Success"
