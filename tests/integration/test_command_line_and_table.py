"""The command line with an emulated table: users, tokens, and a server that answers."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import uvicorn
from moto import mock_aws

from clustercockpit import cli


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    # What the command reads from `.env` into the environment goes with the test.
    import os

    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "CC_TABLE_NAME", "SESSION_KEY"):
        os.environ.pop(name, None)
    os.environ["AWS_ACCESS_KEY_ID"] = os.environ["AWS_SECRET_ACCESS_KEY"] = "testing"
    with mock_aws():
        assert cli.main(["-init"]) == 0
        yield tmp_path


def test_users_and_tokens(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["-migrate-db"]) == 0
    assert "was created" in capsys.readouterr().out
    assert cli.main(["-migrate-db"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert cli.main(["-add-user", "demo:admin,api:pass:with:colons"]) == 0
    assert cli.main(["-add-user", "demo:admin:correct horse"]) == 1
    assert cli.main(["-add-user", "x:emperor:correct horse"]) == 1
    assert cli.main(["-add-user", "x:user:"]) == 1
    assert cli.main(["-add-user", "robot:api:"]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse\n"))
    assert cli.main(["-add-user", "asked:user:-"]) == 0
    site = cli.installation(Path("config.json"))
    assert site.accounts.with_password("asked", "correct horse") is not None
    assert site.accounts.with_password("demo", "pass:with:colons") is not None
    capsys.readouterr()
    assert cli.main(["-jwt", "demo"]) == 0
    line = capsys.readouterr().out
    token = line.strip().split(": ")[2]
    assert line == f"JWT: Successfully generated JWT for user 'demo': {token}\n"
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["sub"], claims["roles"], claims["exp"] - claims["iat"]) == (
        "demo",
        ["admin", "api"],
        7_200_000,
    )
    assert cli.main(["-jwt", "asked"]) == 0
    assert "does not have the role api" in capsys.readouterr().err
    assert cli.main(["-jwt", "nobody"]) == 1
    assert cli.main(["-del-user", "asked", "-del-user", "nobody"]) == 0
    assert cli.main(["-del-user", "asked"]) == 0
    assert cli.main(["-del-user", "demo"]) == 1, "the last administrator stays"


def test_without_a_table_the_server_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-server"]) == 1
    assert "there is no table clustercockpit" in capsys.readouterr().err


def test_init_then_server_answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["-migrate-db"]) == 0
    assert cli.main(["-add-user", "demo:admin,api:correct horse"]) == 0
    port = _free_port()
    config = folder / "config.json"
    config.write_text(config.read_text().replace("8080", str(port)))
    servers: list[uvicorn.Server] = []
    made = uvicorn.Server

    def remembered(config: Any) -> uvicorn.Server:
        servers.append(made(config))
        return servers[-1]

    monkeypatch.setattr(uvicorn, "Server", remembered)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(cli.main(["-server", "-loglevel", "err"])))
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            _wait_for(client)
            assert client.get("/api/jobs/").status_code == 401
            answer = client.post("/login", data={"username": "demo", "password": "correct horse"})
            assert answer.status_code == 302
            # Over plain HTTP the cookie must come back.
            assert client.get("/frontend/me").json()["username"] == "demo"
            token = client.get("/frontend/jwt/?username=demo").text
            listed = client.get("/api/users/", headers={"X-Auth-Token": token})
            assert [user["username"] for user in listed.json()] == ["demo"]
            assert client.post("/api/write", content=b"x", headers={"X-Auth-Token": token}).status_code == 503
            assert client.get("/frontend/me").headers["content-security-policy"]
            assert "server" not in client.get("/frontend/me").headers
    finally:
        for server in servers:
            server.should_exit = True
        thread.join(20)
    assert codes == [0]


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_for(client: httpx.Client) -> None:
    for _ in range(200):
        try:
            client.get("/frontend/me")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server does not answer")
