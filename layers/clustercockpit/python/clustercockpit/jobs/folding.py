"""Short forms of a job's resources.

Nodes of a job mostly are neighbours with equal hardware, so that thousands of bytes of JSON come down to a
few dozen. Order is kept (the first node decides things) and every name survives, however strange: only
names that really count up are folded.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson

from clustercockpit.jobs.model import Resource

FoldedHosts = list[str | list[Any]]
"""Names, or `[prefix, first number, count, digits]` for names that count up."""

_NUMBERED: Final = re.compile(r"^(.*?)([0-9]{1,9})$", re.ASCII | re.DOTALL)
_SHORTEST_RUN: Final = 3


def fold_hosts(hosts: Iterable[str]) -> FoldedHosts:
    """The names in order, runs such as f0101, f0102, f0103 as one entry."""
    folded: FoldedHosts = []
    run: list[str] = []
    prefix, first, digits, expected = "", 0, 0, ""

    def close() -> None:
        if len(run) >= _SHORTEST_RUN:
            folded.append([prefix, first, len(run), digits])
        else:
            folded.extend(run)

    for host in hosts:
        if run and host == expected:
            run.append(host)
        else:
            close()
            run = [host]
            match = _NUMBERED.match(host)
            if match is None:
                expected = ""
                folded.append(host)
                run = []
                continue
            prefix, digits = match[1], len(match[2])
            first = int(match[2])
        expected = f"{prefix}{first + len(run):0{digits}d}"
    close()
    return folded


def unfold_hosts(folded: Iterable[Any]) -> list[str]:
    """The names that were folded."""
    hosts: list[str] = []
    for entry in folded:
        if isinstance(entry, str):
            hosts.append(entry)
        else:
            prefix, first, count, digits = entry
            hosts.extend(f"{prefix}{first + step:0{digits}d}" for step in range(count))
    return hosts


def _fold_numbers(numbers: Sequence[int]) -> list[int | list[int]]:
    """Ascending runs as [first, count]."""
    folded: list[int | list[int]] = []
    position = 0
    while position < len(numbers):
        end = position + 1
        while end < len(numbers) and numbers[end] == numbers[end - 1] + 1:
            end += 1
        count = end - position
        if count >= _SHORTEST_RUN:
            folded.append([numbers[position], count])
        else:
            folded.extend(numbers[position:end])
        position = end
    return folded


def _unfold_numbers(folded: Iterable[Any]) -> tuple[int, ...]:
    numbers: list[int] = []
    for entry in folded:
        if isinstance(entry, int):
            numbers.append(entry)
        else:
            numbers.extend(range(entry[0], entry[0] + entry[1]))
    return tuple(numbers)


def pack_resources(resources: Sequence[Resource]) -> bytes:
    """Resources as compressed JSON: groups of neighbours that differ in name only."""
    groups: list[list[Any]] = []
    last: tuple[Any, ...] | None = None
    for resource in resources:
        kind = (resource.hwthreads, resource.accelerators, resource.configuration)
        if kind == last:
            groups[-1][0].append(resource.hostname)
        else:
            last = kind
            groups.append([[resource.hostname], *kind])
    packed = [
        [
            fold_hosts(hosts),
            None if hwthreads is None else _fold_numbers(hwthreads),
            accelerators,
            configuration,
        ]
        for hosts, hwthreads, accelerators, configuration in groups
    ]
    return zlib.compress(orjson.dumps(packed))


def unpack_resources(packed: bytes) -> tuple[Resource, ...]:
    """What `pack_resources` was given."""
    return tuple(
        Resource(
            hostname=host,
            hwthreads=None if hwthreads is None else _unfold_numbers(hwthreads),
            accelerators=None if accelerators is None else tuple(accelerators),
            configuration=configuration,
        )
        for hosts, hwthreads, accelerators, configuration in orjson.loads(zlib.decompress(packed))
        for host in unfold_hosts(hosts)
    )
