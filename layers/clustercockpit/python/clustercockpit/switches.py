"""Command-line switches as Go programs take them: one dash or two, `-name value`, `-name=value`."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO


class UsageError(Exception):
    """An unknown switch or a malformed value: exit code 2."""


class HelpRequested(Exception):  # noqa: N818 — not a failure
    """The usage was asked for."""


@dataclass(frozen=True, slots=True)
class Switch:
    """`value` names what the switch takes; empty for a flag."""

    name: str
    help: str
    value: str = ""
    default: str = ""


def parse(arguments: Sequence[str], switches: Sequence[Switch]) -> dict[str, str]:
    """The switches that were given: flags as "true" or "false". A word that is no switch is refused: nothing
    here takes it. UsageError, HelpRequested."""
    known = {switch.name: switch for switch in switches}
    given: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--" and not rest:
            break
        if not word.startswith("-") or word in ("-", "--", "---"):
            raise UsageError(f"{word}: not a switch; every switch begins with a dash")
        name, has_value, value = word.removeprefix("-").removeprefix("-").partition("=")
        if name in ("h", "help"):
            raise HelpRequested
        switch = known.get(name)
        if switch is None:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean -{near[0]}?" if near else ""
            raise UsageError(f"unknown switch -{name[:40]}{hint}")
        if not switch.value:
            if has_value and value.lower() not in ("true", "false", "1", "0", "t", "f"):
                raise UsageError(f"-{name} takes true or false")
            given[name] = "false" if has_value and value.lower()[0] in "f0" else "true"
        elif has_value:
            given[name] = value
        elif rest:
            given[name] = rest.pop(0)
        else:
            raise UsageError(f"-{name} needs a value: -{name} {switch.value}")
    return given


def print_usage(program: str, switches: Sequence[Switch], to: TextIO | None = None) -> None:
    out = to or sys.stderr
    out.write(f"Usage of {program}:\n")
    for switch in sorted(switches, key=lambda switch: switch.name):
        out.write(f"  -{switch.name}{' ' + switch.value if switch.value else ''}\n")
        default = f" (default {switch.default})" if switch.default else ""
        out.write(f"        {switch.help}{default}\n")
