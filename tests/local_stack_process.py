"""The local stack as a process of its own, started as `make run` starts it, watched from outside."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[1]
UP = "log in as"
_LOG_LINES = 30


_firsts = itertools.count(21080 + os.getpid() % 500 * 10, 10)


def free_ports(count: int = 6) -> int:
    """The first of `count` neighbouring ports that nobody listens on, and that this process was not given
    before: a stack may be down for a while and wants its ports again."""
    for port in itertools.islice(_firsts, 500):
        listeners: list[socket.socket] = []
        try:
            for each in range(port, port + count):
                listeners.append(socket.create_server(("127.0.0.1", each)))
        except OSError:
            continue
        else:
            return port
        finally:
            for listener in listeners:
                listener.close()
    raise AssertionError("no free ports")


class LocalStackProcess:
    """One stack with its own `var`. Can be ended and started again; every process of it is known by the
    folder's path in its environment."""

    def __init__(self, var: Path) -> None:
        self.var = var
        self.port = free_ports()
        self.process: subprocess.Popen[bytes] | None = None
        self._console = var / "console.log"

    def start(self, *arguments: str) -> None:
        assert self.process is None or self.process.poll() is not None, "it runs"
        self.var.mkdir(parents=True, exist_ok=True)
        with self._console.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "local_stack", "--port", str(self.port), "--demo", "0",
                 "--var", str(self.var), *arguments],
                cwd=ROOT,
                env={**os.environ, "NUMBA_CACHE_DIR": str(ROOT / "build" / "numba")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Under a shell's `&` Ctrl-C is ignored, and that would be inherited
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )  # fmt: skip

    def start_and_wait(self, *arguments: str) -> None:
        before = len(self.console)
        self.start(*arguments)
        self.wait_said(UP, since=before, seconds=240)

    @property
    def console(self) -> str:
        return self._console.read_text(errors="replace") if self._console.is_file() else ""

    def wait_said(self, text: str, *, since: int = 0, seconds: float = 60) -> None:
        """Until the console says it, from the character `since` on."""

        def said() -> bool:
            ended = self.process is None or self.process.poll() is not None
            found = text in self.console[since:]
            assert found or not ended, f"it ended before it said {text!r}:\n{self.console[since:]}"
            return found

        wait_for(said, seconds, lambda: f"{text!r} was not said:\n{self.console[since:]}")

    @property
    def facts(self) -> dict[str, Any]:
        """What `local.json` tells scripts."""
        facts: dict[str, Any] = json.loads((self.var / "local.json").read_text())
        return facts

    @property
    def deployed(self) -> dict[str, str]:
        """The outputs of the deployed template: names of table, buckets, queue."""
        outputs: dict[str, str] = json.loads((self.var / "aws" / "deployed.json").read_text())["outputs"]
        return outputs

    @property
    def url(self) -> str:
        return str(self.facts["url"])

    @property
    def metric_store_url(self) -> str:
        return str(self.facts["metric_store_url"])

    @property
    def api_token(self) -> str:
        return str(self.facts["api_token"])

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_token}"}

    @property
    def password(self) -> str:
        """Of the user admin."""
        return str(next(user["password"] for user in self.facts["users"] if user["username"] == "admin"))

    def processes(self) -> dict[int, str]:
        """Every process this stack has started and that has not ended: id → command line."""
        mark = str(self.var).encode()
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit() or int(folder.name) == os.getpid():
                continue
            try:
                command = (folder / "cmdline").read_bytes()
                if command and (mark in command or mark in (folder / "environ").read_bytes()):
                    found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
        return found

    def pid_of(self, word: str) -> int:
        """The stack's process whose command line has this word, started by the supervisor itself."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        running = self.processes()
        found = [int(pid) for pid in children if word in running.get(int(pid), "")]
        assert len(found) == 1, f"{word}: {found} of {running}"
        return found[0]

    def interrupt(self, seconds: float = 90) -> int:
        """Ctrl-C. The exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(seconds)

    def stop(self) -> None:
        """However it stands, by process id."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(90)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def story(self) -> Iterator[tuple[str, str]]:
        """The console and the ends of the logs, for the report of a failed test."""
        yield "local stack: console", self.console[-6000:]
        for log in sorted((self.var / "log").glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            yield f"local stack: {log.name}", "\n".join(line[:400] for line in lines)

    @contextmanager
    def someone(self, username: str = "admin", password: str = "") -> Iterator[httpx.Client]:
        """A logged-in client at the hub."""
        with httpx.Client(base_url=self.url, timeout=60) as client:
            form = {"username": username, "password": password or self.password}
            answer = client.post("/login", data=form)
            assert answer.status_code in (200, 302, 303), answer.text
            yield client


def wait_for(
    what: Callable[[], Any], seconds: float, told: Callable[[], str] = lambda: "", pause: float = 0.2
) -> Any:
    """The first true answer."""
    limit = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < limit, f"not so after {seconds:.0f} s: {told()}"
        time.sleep(pause)
    return found
