"""What the person at the terminal reads: one line per step, plain text, in order."""

from __future__ import annotations

import sys
import time


class LocalStackError(Exception):
    """The local stack cannot go on; the message says what, where, and what to do."""


_began = time.monotonic()


def say(text: str) -> None:
    """A line with the seconds since the start."""
    print(f"[{time.monotonic() - _began:6.1f} s] {text}", flush=True)


def progress(text: str) -> None:
    """A line that the next one replaces on a terminal; elsewhere (a file, CI) nothing."""
    if sys.stdout.isatty():
        print(f"\r[{time.monotonic() - _began:6.1f} s] {text}\033[K", end="", flush=True)


def progress_done() -> None:
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)
