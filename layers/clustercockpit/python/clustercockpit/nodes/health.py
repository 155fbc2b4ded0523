"""Health of nodes, asked of the metric store (`spec/metric-store.md` 14)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from clustercockpit.errors import InvalidInputError, UnavailableError
from clustercockpit.nodes.model import HealthState, NodeHealth
from clustercockpit.reference_json import ListOf, MapOf, Record, Text, decode, encode

if TYPE_CHECKING:
    import httpx

_ANSWER: Final = MapOf(Record({"State": Text(), "HealthMetrics": Text()}))
_DETAILS: Final = Record({"missing": ListOf(Text()), "degraded": ListOf(Text())})
_PAUSE_SECONDS: Final = 60.0


class StoreNodeHealth:
    """`nodes.ports.NodeHealthSource` over the store's `GET /api/healthcheck`, a request with a body.

    A store that does not answer is left alone for a minute: a report of a scheduler must not wait for it.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], str],
        *,
        transport: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`transport` is httpx's, for tests."""
        self._url = url
        self._token = token
        self._transport = transport
        self._clock = clock
        self._client: httpx.Client | None = None
        self._silent_until = float("-inf")

    def check(
        self, cluster: str, hostnames: Sequence[str], metrics: Sequence[str]
    ) -> Mapping[str, NodeHealth]:
        import httpx

        if self._clock() < self._silent_until:
            raise UnavailableError("the metric store did not answer a moment ago")
        if self._client is None:
            self._client = httpx.Client(
                base_url=self._url, timeout=httpx.Timeout(5, connect=1), transport=self._transport
            )
        try:
            answer = self._client.request(
                "GET",
                "/api/healthcheck",
                content=encode({"cluster": cluster, "nodes": list(hostnames), "metric-names": list(metrics)}),
                headers={"authorization": f"Bearer {self._token()}", "content-type": "application/json"},
            )
        except httpx.HTTPError as error:
            self._silent_until = self._clock() + _PAUSE_SECONDS
            raise UnavailableError(f"the metric store did not answer: {type(error).__name__}") from None
        if answer.status_code != 200:
            raise UnavailableError(f"the metric store answered {answer.status_code}")
        try:
            return {
                host: _health(entry)
                for host, entry in decode(answer.content, _ANSWER, strict=False).items()
                if entry.get("State") in list(HealthState)
            }
        except InvalidInputError as error:
            raise UnavailableError(f"the metric store's answer cannot be read: {error}") from None


def _health(entry: dict[str, str]) -> NodeHealth:
    details: dict[str, list[str]] = {}
    if entry.get("HealthMetrics"):
        details = decode(entry["HealthMetrics"], _DETAILS, strict=False)
    return NodeHealth(
        HealthState(entry["State"]),
        missing=tuple(details.get("missing", ())),
        degraded=tuple(details.get("degraded", ())),
    )
