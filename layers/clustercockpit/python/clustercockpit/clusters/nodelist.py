"""Node list expressions: `login,f[0101-0188,0201-0288]`.

The grammar is `spec/job-archive.md` 10.1. Where the reference reads an expression it then cannot use
(a suffix after a bracket, several brackets, an empty term), it means here what it says. A range whose
start lies after its end matches nothing.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from clustercockpit.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class _Literal:
    text: str


@dataclass(frozen=True, slots=True)
class _Ranges:
    """Numbers of a fixed number of digits each."""

    ranges: tuple[tuple[int, int, int], ...]  # digits, first, last

    def numbers(self) -> Iterator[str]:
        for digits, first, last in self.ranges:
            for number in range(first, last + 1):
                yield f"{number:0{digits}d}"


_Term = tuple[_Literal | _Ranges, ...]

_LITERAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_RANGE: Final = re.compile(r"([0-9]+)-([0-9]+)")
_ENUMERABLE: Final = 200_000
"""Lists of up to this many hosts answer `contains` from a set."""


@dataclass(frozen=True)
class NodeList:
    """A parsed expression; make it with `NodeList.parse`."""

    expression: str
    terms: tuple[_Term, ...] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, expression: str) -> NodeList:
        """Raises InvalidInputError naming expression, position and remedy."""
        return _parse(expression)

    def __contains__(self, hostname: object) -> bool:
        if not isinstance(hostname, str):
            return False
        if len(self) <= _ENUMERABLE:
            return hostname in _hosts(self)
        return any(_matches(term, hostname) for term in self.terms)

    def __iter__(self) -> Iterator[str]:
        """Hosts in the order written, doubles kept."""
        for term in self.terms:
            choices = [(part.text,) if isinstance(part, _Literal) else tuple(part.numbers()) for part in term]
            for combination in itertools.product(*choices):
                yield "".join(combination)

    def __len__(self) -> int:
        """Number of hosts, doubles counted twice."""
        total = 0
        for term in self.terms:
            size = 1
            for part in term:
                if isinstance(part, _Ranges):
                    size *= sum(max(0, last - first + 1) for _, first, last in part.ranges)
            total += size
        return total


@lru_cache(maxsize=256)
def _hosts(nodes: NodeList) -> frozenset[str]:
    return frozenset(nodes)


def _matches(term: _Term, rest: str) -> bool:
    """Whether the term makes up the whole rest of a name."""
    if not term:
        return rest == ""
    part = term[0]
    if isinstance(part, _Literal):
        return rest.startswith(part.text) and _matches(term[1:], rest[len(part.text) :])
    for digits, first, last in part.ranges:
        head = rest[:digits]
        if (
            len(head) == digits
            and head.isascii()
            and head.isdigit()
            and first <= int(head) <= last
            and _matches(term[1:], rest[digits:])
        ):
            return True
    return False


@lru_cache(maxsize=256)
def _parse(expression: str) -> NodeList:
    terms: list[_Term] = []
    term: list[_Literal | _Ranges] = []
    position = 0

    def fail(problem: str) -> InvalidInputError:
        return InvalidInputError(f"node list {expression!r}: {problem} at character {position + 1}")

    while position < len(expression):
        character = expression[position]
        if character == ",":
            if term:
                terms.append(tuple(term))
            term = []
            position += 1
        elif character == "[":
            end = expression.find("]", position)
            if end < 0:
                raise fail("the bracket is not closed")
            ranges = []
            for text in expression[position + 1 : end].split(","):
                match = _RANGE.fullmatch(text)
                if match is None:
                    hint = f", write {text}-{text}" if text.isascii() and text.isdigit() else ""
                    raise fail(f"{text!r} is no range such as 01-99{hint}")
                if len(match[1]) != len(match[2]):
                    raise fail(f"both ends of {text!r} must have the same number of digits")
                if len(match[1]) > 10 or max(int(match[1]), int(match[2])) >= 2**31:
                    raise fail(f"a number of {text!r} does not fit into 32 bits")
                ranges.append((len(match[1]), int(match[1]), int(match[2])))
            term.append(_Ranges(tuple(ranges)))
            position = end + 1
        else:
            match = _LITERAL.match(expression, position)
            if match is None:
                raise fail(f"{character!r} is not allowed")
            term.append(_Literal(match[0]))
            position = match.end()
    if term:
        terms.append(tuple(term))
    return NodeList(expression, tuple(terms))


_NUMBERED: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*?)([0-9]{1,9})", re.ASCII)


def compress(hosts: Iterable[str]) -> str:
    """A short expression for a set of hosts, in order of name: `f[0101-0104],login`.

    Every host whose name the grammar can say is in the result when it is parsed; others stand as they are.
    """
    numbered: dict[tuple[str, int], list[int]] = {}
    parts: list[tuple[str, str]] = []  # sorting key, text
    for host in sorted(set(hosts)):
        match = _NUMBERED.fullmatch(host)
        if match is None:
            parts.append((host, host))
        else:
            numbered.setdefault((match[1], len(match[2])), []).append(int(match[2]))
    for (prefix, digits), numbers in numbered.items():
        ranges: list[tuple[int, int]] = []
        for number in sorted(numbers):
            if ranges and number == ranges[-1][1] + 1:
                ranges[-1] = (ranges[-1][0], number)
            else:
                ranges.append((number, number))
        key = f"{prefix}{ranges[0][0]:0{digits}d}"
        if len(numbers) == 1:
            parts.append((key, key))
        else:
            inside = ",".join(f"{first:0{digits}d}-{last:0{digits}d}" for first, last in ranges)
            parts.append((key, f"{prefix}[{inside}]"))
    return ",".join(text for _, text in sorted(parts))
