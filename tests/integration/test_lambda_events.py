"""The events that API Gateway sends (payload 2.0) through Mangum and the applications.

The emulated gateway of the deployment tests is not the real one, which sends cookies as an array and the
bodies of forms in base64.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mangum import Mangum
from moto import mock_aws
from tests.identities import bearer, settings_with_keys

from clustercockpit.access.model import Role
from clustercockpit.server import create_reader
from clustercockpit.site import Site
from clustercockpit.storage.dynamodb.table import Table
from clustercockpit.users.accounts import Accounts
from clustercockpit.users.passwords import PasswordCheck

PASSWORD = "correct horse"


def event(method: str, path: str, **more: Any) -> dict[str, Any]:
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "host": "abc123.execute-api.eu-central-1.amazonaws.com",
            "x-forwarded-for": "192.0.2.7",
            "x-forwarded-proto": "https",
            "x-forwarded-port": "443",
            **more.pop("headers", {}),
        },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abc123",
            "domainName": "abc123.execute-api.eu-central-1.amazonaws.com",
            "domainPrefix": "abc123",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.7",
                "userAgent": "test",
            },
            "requestId": "request",
            "routeKey": "$default",
            "stage": "$default",
            "time": "24/Nov/2026:14:00:00 +0000",
            "timeEpoch": 1795528800000,
        },
        "isBase64Encoded": False,
        **more,
    }


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        for folder in ("archive", "data"):
            (tmp_path / folder).mkdir()
        settings = settings_with_keys(
            table_name="cc-events", archive_bucket=f"{tmp_path}/archive", data_bucket=f"{tmp_path}/data"
        )
        Table(settings).create()
        site = Site(settings)
        site.__dict__["accounts"] = Accounts(site.users, site._revoke, PasswordCheck(cost=4))
        site.accounts.add("alice", roles=frozenset({Role.USER}), password=PASSWORD)
        handler = Mangum(create_reader(site), lifespan="off")
        yield lambda *args, **more: handler(event(*args, **more), None)


def _log_in(call: Any, password: str) -> dict[str, Any]:
    form = f"username=alice&password={password.replace(' ', '+')}"
    return call(
        "POST",
        "/login",
        headers={"content-type": "application/x-www-form-urlencoded"},
        body=base64.b64encode(form.encode()).decode(),
        isBase64Encoded=True,
    )


def test_a_session_comes_and_goes_in_the_cookies_array(call: Any) -> None:
    answer = _log_in(call, PASSWORD)
    assert answer["statusCode"] == 302, answer
    (cookie,) = answer["cookies"]
    assert "Secure" in cookie
    me = call("GET", "/frontend/me/", cookies=["theme=dark", cookie.split(";")[0]])
    assert me["statusCode"] == 200, me
    assert json.loads(me["body"])["username"] == "alice"
    assert call("GET", "/frontend/me/")["statusCode"] == 401


def test_a_wrong_password_is_refused(call: Any) -> None:
    assert _log_in(call, "wrong horse battery")["statusCode"] == 401


def test_a_token_reaches_a_path_with_or_without_a_slash_at_the_end(call: Any) -> None:
    for path in ("/api/clusters", "/api/clusters/"):
        answer = call("GET", path, headers={k.lower(): v for k, v in bearer("api").items()})
        assert answer["statusCode"] == 200, (path, answer)
