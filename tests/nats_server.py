"""A NATS server of our own, as a process on a free loopback port."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest


def command() -> str:
    """The server's program; skips the test, saying so, where there is none."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if not found:
        pytest.skip("nats-server is not installed")
    return found


class NatsServer:
    """Can be stopped and started again at the same address, its streams kept."""

    def __init__(self, folder: Path, *, jetstream: bool = True) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        self._folder = folder
        self._jetstream = jetstream
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        arguments = [command(), "-a", "127.0.0.1", "-p", str(self.port)]
        if self._jetstream:
            arguments += ["-js", "-sd", str(self._folder / "streams")]
        with (self._folder / "nats.log").open("ab") as log:
            self._process = subprocess.Popen(arguments, stdout=log, stderr=log)
        limit = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if time.monotonic() > limit or self._process.poll() is not None:
                    raise AssertionError((self._folder / "nats.log").read_text()[-2000:]) from None
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)
            self._process = None

    def kill(self) -> None:
        """As a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def freeze(self, seconds: float) -> None:
        """As a cut network would: connections stay, nothing comes through."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            self._process.send_signal(signal.SIGCONT)
