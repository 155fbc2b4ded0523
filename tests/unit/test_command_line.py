"""The command line without a database: switches, exit codes, what -init creates."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from clustercockpit import cli
from clustercockpit.access.keys import check_keys
from clustercockpit.config.configuration import parse
from clustercockpit.config.env_file import parse_env
from clustercockpit.settings import Settings
from clustercockpit.switches import HelpRequested, Switch, UsageError
from clustercockpit.switches import parse as parse_switches

SWITCHES = (Switch("server", "", ""), Switch("config", "", "FILE"))


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["-server"], {"server": "true"}),
        (["--server"], {"server": "true"}),
        (["-server=true", "--config", "a.json"], {"server": "true", "config": "a.json"}),
        (["-server=false"], {"server": "false"}),
        (["-config=a=b"], {"config": "a=b"}),
        (["-config", "-server"], {"config": "-server"}),
        ([], {}),
        (["--"], {}),
    ],
)
def test_switches_are_go_switches(arguments: list[str], given: dict[str, str]) -> None:
    assert parse_switches(arguments, SWITCHES) == given


@pytest.mark.parametrize(
    "arguments", [["-sever"], ["server"], ["-config"], ["-server=maybe"], ["-"], ["---server"]]
)
def test_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_switches(arguments, SWITCHES)


def test_help() -> None:
    for word in ("-h", "--help", "-help"):
        with pytest.raises(HelpRequested):
            parse_switches([word], SWITCHES)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # What a command reads from `.env` into the environment goes with the test.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in ("JWT_PUBLIC_KEY", "JWT_PRIVATE_KEY", "SESSION_KEY", "CC_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_exit_codes_without_an_installation(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-h"]) == 0
    assert cli.main(["-version"]) == 0
    assert "Job archive version:\t3" in capsys.readouterr().out
    assert cli.main(["-sever"]) == 2
    assert "did you mean -server?" in capsys.readouterr().err
    assert cli.main(["-loglevel", "loud"]) == 2
    assert cli.main([]) == 1
    assert "config.json does not exist; `cc-backend -init` writes one" in capsys.readouterr().err


def test_init_creates_an_installation_of_its_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--init"]) == 0
    assert (folder / "var/job-archive/version.txt").read_text() == "3\n"
    for name, mode in ((".env", 0o600), ("config.json", 0o640), ("var", 0o750), ("var/job-archive", 0o750)):
        assert stat.S_IMODE((folder / name).stat().st_mode) & ~mode == 0, name
    configuration = parse((folder / "config.json").read_bytes(), "config.json", {}.get)
    assert configuration.warnings == ()
    assert configuration.metric_store is not None
    assert configuration.metric_store.retention_in_memory == 48 * 3600
    variables = parse_env((folder / ".env").read_text(), {})
    check_keys(Settings.from_environment(variables))
    before = (folder / ".env").read_bytes()
    assert cli.main(["-init"]) == 0
    assert (folder / ".env").read_bytes() == before
    assert "set up already" in capsys.readouterr().err


def test_init_never_overwrites(folder: Path) -> None:
    (folder / "config.json").write_text("mine")
    assert cli.main(["-init"]) == 0
    assert (folder / "config.json").read_text() == "mine"
    assert (folder / ".env").exists()


def test_two_installations_have_different_keys(folder: Path) -> None:
    keys = []
    for name in ("a", "b"):
        (folder / name).mkdir()
        from clustercockpit.config.initial import initialise

        initialise(folder / name)
        keys.append(parse_env((folder / name / ".env").read_text(), {}))
    assert keys[0]["JWT_PRIVATE_KEY"] != keys[1]["JWT_PRIVATE_KEY"]
    assert keys[0]["SESSION_KEY"] != keys[1]["SESSION_KEY"]


def test_a_bad_document_ends_with_1_and_shows_no_value(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["-init"])
    document = json.loads((folder / "config.json").read_text())
    document["nats"] = {"password": ["hunter2"]}
    (folder / "config.json").write_text(json.dumps(document))
    assert cli.main(["-server"]) == 1
    err = capsys.readouterr().err
    assert "nats.password: expected a string, got an array" in err
    assert "<3>[ERROR]" in err
    assert "hunter2" not in err


def test_a_password_is_not_echoed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["-init"])
    assert cli.main(["-add-user", "hunter2"]) == 1
    assert cli.main(["-add-user", ":admin:hunter2"]) == 1
    assert "hunter2" not in "".join(capsys.readouterr())


def test_guarding_keys_that_are_not_active_stop_the_start(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["-init"])
    document = json.loads((folder / "config.json").read_text())
    document["archive"]["retention"] = {"policy": "delete", "age": 365}
    (folder / "config.json").write_text(json.dumps(document))
    assert cli.main(["-server"]) == 1
    err = capsys.readouterr().err
    assert "archive.retention: old jobs are not yet copied, moved or deleted" in err
    assert "-accept-inactive" in err


def test_an_environment_variable_wins_over_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.main(["-init"])
    monkeypatch.setenv("SESSION_KEY", "")
    site = cli.installation(Path("config.json"))
    assert site.settings.session_key == ""
    assert site.settings.jwt_public_key != ""
    assert site.settings.archive_bucket == "./var/job-archive"
