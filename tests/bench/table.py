"""The table that the benchmarks of the metric store print: Markdown, wall clock beside processor time."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds of one piece of work; `processor` over all threads of this process."""

    wall: float
    processor: float

    def rates(self, count: int) -> tuple[str, str]:
        """Millions per second of wall clock, and per second of processor time."""
        return f"{count / self.wall / 1e6:.2f} M lines/s", f"{count / max(self.processor, 1e-9) / 1e6:.2f} M"

    def times(self) -> tuple[str, str]:
        return _time(self.wall), _time(self.processor)


def taken(work: Callable[..., object], *arguments: object) -> Taken:
    wall, processor = time.perf_counter(), time.process_time()
    work(*arguments)
    return Taken(time.perf_counter() - wall, time.process_time() - processor)


def least(runs: int, work: Callable[..., object], *arguments: object) -> Taken:
    """Of several runs the one that others on this machine disturbed least."""
    return min((taken(work, *arguments) for _ in range(runs)), key=lambda t: t.wall)


def heading(what: str) -> None:
    model, memory = platform.machine(), 0
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    with contextlib.suppress(OSError):
        memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1_000_000
    print(
        f"\n{what}: {model} ({platform.machine()}), {os.cpu_count()} cores, {memory} GB, "
        f"Python {platform.python_version()}, load average at the start {os.getloadavg()[0]:.1f}\n"
    )
    print("| what | wall clock | processor | floor | aim | in the same run |\n|---|---|---|---|---|---|")


def row(what: str, figure: tuple[str, str], floor: str = "", aim: str = "", beside: str = "") -> None:
    print(f"| {what} | {figure[0]} | {figure[1]} | {floor} | {aim} | {beside} |", flush=True)


def note(text: str) -> None:
    """What was left out, and why."""
    print(f"| ({text}) | | | | | |", flush=True)


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
