"""What `make run` prepares: ports, keys, packages."""

from __future__ import annotations

import base64
import io
import socket
import zipfile
from pathlib import Path

import pytest

from clustercockpit.access.keys import check_keys
from clustercockpit.settings import Settings
from local_stack.__main__ import arguments
from local_stack.console import LocalStackError
from local_stack.deployment import PARTS_BUCKET, Package, thin_zip
from local_stack.emulator import Emulator
from local_stack.keys import local_keys
from local_stack.options import Options, Ports, check_ports_free


def test_two_stacks_ten_apart_share_no_port() -> None:
    assert not set(Ports(8080).uses()) & set(Ports(8090).uses())


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(LocalStackError, match=rf"port {port} .*metric store.*PORT={port - 2 + 10}"):
            check_ports_free(Options(Ports(port - 2)))


@pytest.mark.parametrize("port", [0, -1, 65535])
def test_a_port_without_room_for_the_others_is_refused(port: int) -> None:
    with pytest.raises(LocalStackError, match="PORT"):
        Ports(port)


def test_keys_are_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "var" / ".env"
    keys = local_keys(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert local_keys(file) == keys
    assert [len(base64.b64decode(keys[name])) for name in keys] == [32, 64, 32]
    check_keys(Settings.from_environment(keys))


def test_a_damaged_key_file_is_made_anew(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text('JWT_PUBLIC_KEY="only this"\n')
    assert len(local_keys(file)) == 3


def test_a_package_leaves_no_path_of_this_machine_to_cloudformation() -> None:
    package = Package("http://127.0.0.1:4566", "/code:/libraries")
    texts = [package.template, *(o.decode() for key, o in package.objects.items() if key.endswith(".yaml"))]
    for text in texts:
        for line in text.splitlines():
            key, _, value = line.strip().partition(": ")
            if key == "TemplateURL":
                assert value.startswith(f"http://127.0.0.1:4566/{PARTS_BUCKET}/")
                assert value.split(f"{PARTS_BUCKET}/")[1] in package.objects
            if key in ("CodeUri", "ContentUri"):
                assert value.removeprefix(f"s3://{PARTS_BUCKET}/") in package.objects
    assert "PYTHONPATH: /code:/libraries" in package.template


def test_the_same_handler_makes_the_same_zip(tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text("handler = None\n")
    (tmp_path / "Makefile").write_text("")
    first = thin_zip(tmp_path)
    assert thin_zip(tmp_path) == first
    assert zipfile.ZipFile(io.BytesIO(first)).namelist() == ["handler.py", "LOCAL"]


def test_what_was_lost_is_rebuilt_until_it_is(tmp_path: Path) -> None:
    emulator = Emulator(Options(Ports(8080), var=tmp_path))
    (emulator.folder / "s3" / "archive").mkdir(parents=True)
    assert not emulator.ended_uncleanly
    emulator.started()
    assert emulator.ended_uncleanly, "only the emulator itself takes the mark away"
    emulator.forget_all_but_objects()
    emulator.mark.unlink()  # the rebuilding was interrupted, in order
    assert emulator.rebuild_mark.exists()
    emulator.rebuilt()
    assert not emulator.rebuild_mark.exists()


def test_days_without_archive_and_a_folder_that_is_none_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in (["--days", "3"], ["--archive", str(tmp_path)]):
        with pytest.raises(SystemExit):
            arguments(line)
    said = capsys.readouterr().err
    assert "DAYS" in said
    assert "version.txt" in said
