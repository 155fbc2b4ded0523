"""Processes that die are started again; all of them end in order."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from local_stack.console import LocalStackError
from local_stack.supervision import EndRequest, Program, Supervisor

SERVES = """
import pathlib, signal, sys, time
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
def end(*_):
    with (folder / "ends").open("a") as file: file.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
(folder / name).touch()
while True: time.sleep(0.05)
"""


def program(name: str, folder: Path, code: str = SERVES, seconds: float = 10) -> Program:
    return Program(
        name,
        [sys.executable, "-c", code, name, str(folder)],
        dict(os.environ),
        folder / "log" / f"{name}.log",
        ready=(folder / name).exists,
        ready_seconds=seconds,
    )


def _wait(what: object, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_process_comes_back_and_all_end_in_reverse_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = Supervisor()
    first, second = program("first", tmp_path), program("second", tmp_path)
    supervisor.start(first)
    supervisor.start(second)
    assert first.process
    killed = first.process.pid

    def kill_and_see_it_back() -> None:
        try:
            (tmp_path / "first").unlink()
            os.kill(killed, signal.SIGKILL)
            _wait((tmp_path / "first").exists)
            time.sleep(0.5)  # until the supervisor has seen it, which it says
        finally:
            supervisor.stopping = True

    # The supervisor watches from the thread that lives as long as its processes: the system ends a child
    # with the thread that started it.
    killer = threading.Thread(target=kill_and_see_it_back)
    killer.start()
    supervisor.watch()
    killer.join()
    assert first.process.pid != killed
    supervisor.stop()
    assert "is back" in capsys.readouterr().out
    assert (tmp_path / "ends").read_text().split() == ["second", "first"]


def test_a_process_that_ends_at_start_shows_why(tmp_path: Path) -> None:
    supervisor = Supervisor()
    with pytest.raises(LocalStackError, match=r"(?s)broken ended at start \(status 3\).*port is gone"):
        supervisor.start(program("broken", tmp_path, "import sys; print('port is gone'); sys.exit(3)"))
    supervisor.stop()


def test_a_process_that_will_not_end_is_killed(tmp_path: Path) -> None:
    stubborn = program("stubborn", tmp_path, SERVES.replace("sys.exit(0)", "pass"))
    stubborn.stop_seconds = 0.3
    supervisor = Supervisor()
    supervisor.start(stubborn)
    assert stubborn.stop() == -signal.SIGKILL


def test_a_request_to_end_that_was_swallowed_still_counts(tmp_path: Path) -> None:
    end = EndRequest()
    supervisor = Supervisor(end)
    never = program("never", tmp_path, "import time; time.sleep(60)")

    def swallowed() -> bool:
        with contextlib.suppress(KeyboardInterrupt):  # as Python does in a destructor
            end(signal.SIGINT, None)
        return False

    never.ready = swallowed
    with pytest.raises(KeyboardInterrupt):
        supervisor.start(never)
    with pytest.raises(KeyboardInterrupt):
        supervisor.watch()
    assert never.process
    supervisor.stop()
    assert never.process is None
