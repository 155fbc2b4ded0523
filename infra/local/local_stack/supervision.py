"""The processes of the stack: started in order, watched, restarted when they die, stopped in reverse order.

Each runs in a session of its own, so that Ctrl-C reaches only us and every process is stopped by its id in an
order that loses nothing. On Linux a process also gets SIGTERM should we be killed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from local_stack.console import LocalStackError, say

RESTART_PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before the first, second, … restart within ten minutes; the last one repeats."""
CALM_SECONDS = 600.0


def _die_with_parent() -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


class EndRequest:
    """Ctrl-C, and what counts as it. A signal handler that raises KeyboardInterrupt at once, and remembers:
    one that falls into a hook or a destructor is swallowed there, so waiting loops look here too."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
        raise KeyboardInterrupt

    def check(self) -> None:
        if self.asked:
            raise KeyboardInterrupt


@dataclass
class Program:
    """One process: how to start it, how to see that it is ready, how long it may take to end."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    ready: Callable[[], bool] = lambda: True
    ready_seconds: float = 60.0
    stop_seconds: float = 20.0
    stop_signal: signal.Signals = signal.SIGTERM
    restarts: bool = True
    directory: Path | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    deaths: list[float] = field(default_factory=list, repr=False)

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    def wait_ready(self, going_on: Callable[[], bool] = lambda: True) -> None:
        """Raises LocalStackError if it dies or is not ready in time, with the end of its log."""
        deadline = time.monotonic() + self.ready_seconds
        while not self.ready():
            if self.process is None or self.process.poll() is not None:
                status = self.process.returncode if self.process else "none"
                raise LocalStackError(f"{self.name} ended at start (status {status}).\n{self.log_end()}")
            if time.monotonic() > deadline:
                raise LocalStackError(
                    f"{self.name} was not ready after {self.ready_seconds:.0f} s.\n{self.log_end()}"
                )
            if not going_on():
                return
            time.sleep(0.1)

    def log_end(self, lines: int = 25) -> str:
        text = self.log.read_text(errors="replace").splitlines() if self.log.is_file() else []
        return "\n".join([f"The end of {self.log}:", *(f"  {line}" for line in text[-lines:])])

    def stop(self) -> int | None:
        """Ask it to end, wait, at last kill it. The status, or None if it did not run."""
        process = self.process
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(self.stop_signal)
            try:
                process.wait(self.stop_seconds)
            except subprocess.TimeoutExpired:
                say(f"{self.name} (pid {process.pid}) did not end in {self.stop_seconds:.0f} s: killing it")
                process.kill()
                process.wait()
        self.process = None
        return process.returncode


class Supervisor:
    """Keeps programs running until it is told to stop."""

    def __init__(self, end: EndRequest | None = None) -> None:
        self.programs: list[Program] = []
        self.stopping = False
        self.end = end or EndRequest()

    def _going_on(self) -> bool:
        if not self.stopping:
            self.end.check()
        return not self.stopping

    def start(self, program: Program) -> None:
        """Start, wait until ready, and watch from now on. KeyboardInterrupt when asked to end."""
        self.end.check()
        self.programs.append(program)
        program.start()
        program.wait_ready(self._going_on)
        self.end.check()

    def watch(self, on_death: Callable[[Program, int], None] | None = None, pause: float = 0.2) -> None:
        """Until `stopping`: whoever dies is started again. `on_death` may do more than that for a program
        that does not simply restart; it is called with the program and its status."""
        while self._going_on():
            for program in list(self.programs):
                status = program.process.poll() if program.process else None
                if status is None:
                    continue
                if not program.restarts:
                    self.programs.remove(program)
                    program.process = None
                    if on_death:
                        on_death(program, status)
                    continue
                self._restart(program, status)
            time.sleep(pause)

    def _restart(self, program: Program, status: int) -> None:
        now = time.monotonic()
        program.deaths = [at for at in program.deaths if now - at < CALM_SECONDS] + [now]
        wait = RESTART_PAUSES[min(len(program.deaths), len(RESTART_PAUSES)) - 1]
        say(f"{program.name} {describe(status)}; starting it again in {wait:g} s (log: {program.log})")
        self.pause(wait)
        if self.stopping:
            return
        program.start()
        try:
            program.wait_ready(self._going_on)
        except LocalStackError as error:
            say(str(error))
        else:
            say(f"{program.name} is back (pid {program.process.pid if program.process else '-'})")

    def pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._going_on() and time.monotonic() < deadline:
            time.sleep(0.1)

    def stop(self) -> None:
        """Everything, last started first."""
        self.stopping = True
        while self.programs:
            program = self.programs.pop()
            program.stop()


def describe(status: int) -> str:
    if status < 0:
        try:
            return f"was ended by {signal.Signals(-status).name}"
        except ValueError:
            return f"was ended by signal {-status}"
    return f"ended with status {status}"


def answers(url: str, statuses: Sequence[int] = (200,)) -> bool:
    """True if a GET is answered with one of the statuses."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310
            return answer.status in statuses
    except urllib.error.HTTPError as error:
        return error.code in statuses
    except (OSError, ValueError):
        return False


def base_environment() -> dict[str, str]:
    """The machine's environment without what would lead our processes to a real AWS account or another
    installation."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "CC_", "JWT_", "SESSION_KEY", "PYTHONPATH"))
    }
