"""Which cluster a line from NATS belongs to that does not say so itself.

Several subscriptions may name one subject, each with its own cluster tag: the subject is read once. The tag
is a default for lines without `cluster`. Where a subject has several, the node lists of those clusters decide
by the line's host; a line that none of them knows is dropped and counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from cc_metric_store.configuration import Subscription

_HOST = re.compile(rb",host(?:name)?=([^, ]+)")
_MOST_REMEMBERED = 100_000

Run = tuple[str, bytes]  # default cluster, whole lines


def per_subject(subscriptions: Iterable[Subscription]) -> dict[str, tuple[str, ...]]:
    """Subject → its different cluster tags, in the order of the configuration."""
    found: dict[str, list[str]] = {}
    for subscription in subscriptions:
        tags = found.setdefault(subscription.subject, [])
        if subscription.cluster and subscription.cluster not in tags:
            tags.append(subscription.cluster)
    return {subject: tuple(tags) for subject, tags in found.items()}


def nobody_knows(host: str, clusters: Sequence[str]) -> str:  # noqa: ARG001
    """Where there are no node lists."""
    return ""


class Tagger:
    """Splits messages of one subject by default cluster. `locate(host, clusters)` names the one of the
    clusters whose node lists have the host, or ""."""

    def __init__(self, tags: Sequence[str], locate: Callable[[str, Sequence[str]], str]) -> None:
        self._tags = tuple(tags)
        self._locate = locate
        self._known: dict[bytes, str] = {}

    def split(self, payload: bytes) -> tuple[list[Run], int]:
        """Runs of lines in their order, and how many lines were dropped."""
        if len(self._tags) <= 1:
            return [(self._tags[0] if self._tags else "", payload)], 0
        lines = payload.split(b"\n")
        runs: list[tuple[str, list[bytes]]] = []
        dropped = 0
        for line in lines:
            cluster = self._cluster(line)
            if cluster is None:
                dropped += 1
            elif runs and runs[-1][0] == cluster:
                runs[-1][1].append(line)
            else:
                runs.append((cluster, [line]))
        return [(cluster, b"\n".join(some)) for cluster, some in runs], dropped

    def _cluster(self, line: bytes) -> str | None:
        """The default for a line: "" where it needs none, None where there is none."""
        key = line.lstrip(b" ").partition(b" ")[0]
        if not key or key[:1] == b"#" or b",cluster=" in key:
            return ""
        found = _HOST.findall(key)
        if not found:
            return ""  # refused by the engine, with its reason
        host = found[-1]
        cluster = self._known.get(host)
        if cluster is None:
            cluster = self._locate(host.decode(errors="replace"), self._tags)
            if cluster:
                if len(self._known) >= _MOST_REMEMBERED:
                    self._known.clear()
                self._known[host] = cluster
        return cluster or None
