"""The ways out: REST and NATS for jobs and node states, line protocol over HTTP and NATS for metrics.

Behaves as the real clients do. A scheduler adapter takes 201 and 422 for a start, 200 and 422 for a stop, and
tries again later after anything else. A collector's HTTP sink tries again only when the transport failed, and
drops a batch that was refused.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import httpx

if TYPE_CHECKING:
    from nats.aio.client import Client

log = logging.getLogger("simulator")

PATIENCE_FOR_STREAMS = 5  # seconds
NATS_CHUNK = 400_000  # bytes of one message; brokers refuse above 1 MB


class HubUnreachableError(Exception):
    """The other side does not answer; says which and what was tried."""


class Publisher(Protocol):
    """A way to publish, and to learn whether anybody keeps what is published."""

    async def publish(self, subject: str, payload: bytes) -> None: ...

    async def flush(self) -> None: ...

    async def close(self) -> None: ...

    async def is_taken(self, subject: str) -> bool:
        """Whether a stream stores this subject. What nobody takes would vanish without a word."""
        ...


@dataclass(frozen=True)
class Subjects:
    metrics: str = "hpc-metrics"
    jobs: str = "hpc-jobs"
    nodes: str = "hpc-nodes"


class NatsPublisher:
    """A client that reconnects for ever."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def publish(self, subject: str, payload: bytes) -> None:
        await self._client.publish(subject, payload)

    async def flush(self) -> None:
        await self._client.flush()

    async def close(self) -> None:
        await self._client.close()

    async def is_taken(self, subject: str) -> bool:
        from nats.errors import Error

        for _ in range(PATIENCE_FOR_STREAMS):
            try:
                await self._client.jetstream().find_stream_name_by_subject(subject)
            except Error:  # no such stream yet, or no JetStream: the store may still be starting
                await asyncio.sleep(1)
            else:
                return True
        return False


async def connect_nats(url: str) -> Publisher | None:
    """A publisher, or None (said in the log) when nobody listens at the start."""
    from nats.aio.client import Client

    client = Client()

    # The client reports every lost connection; one line is enough.
    async def on_error(error: Exception) -> None:
        log.debug("NATS: %s", error)

    async def on_lost() -> None:
        if not client.is_closed and not client.is_draining:
            log.warning("NATS: connection lost, trying again")

    async def on_back() -> None:
        log.info("NATS: connected again")

    try:
        await client.connect(
            url,
            name="simulator",
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            connect_timeout=3,
            allow_reconnect=True,
            error_cb=on_error,
            disconnected_cb=on_lost,
            reconnected_cb=on_back,
        )
    except Exception as error:  # the client raises many kinds, all mean that nobody is there
        log.warning("NATS at %s does not answer (%s): everything goes over HTTP", url, error)
        return None
    return NatsPublisher(client)


async def taking(publisher: Publisher | None, subject: str, what: str) -> Publisher | None:
    """The publisher if the subject is taken; None, said in the log, if `what` must go over HTTP."""
    if publisher is None or await publisher.is_taken(subject):
        return publisher
    log.warning("NATS: no stream takes %s, so %s go over HTTP", subject, what)
    return None


class MetricOutlet:
    """Metrics of all nodes. Every other node of a cluster sends over NATS, if there is any."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: str,
        token: str,
        *,
        publisher: Publisher | None,
        subject: str,
        hosts: dict[str, Sequence[str]],
    ) -> None:
        self._http = http
        self._url = url.rstrip("/") + "/api/write"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._publisher = publisher
        self._subject = subject
        self._over_nats = frozenset(
            host for of in hosts.values() for host in of[1::2] if publisher is not None
        )
        # Nodes send by themselves, and a store may gather what many send before it acknowledges
        self._gate = asyncio.Semaphore(16)
        self.lost = 0  # lines of refused or undeliverable batches

    def goes_over_nats(self, host: str) -> bool:
        return host in self._over_nats

    async def send(self, cluster: str, host: str, text: str, *, patience: float = 5.0) -> None:
        """Deliver the lines of one node; never raises for a batch that is refused."""
        if host in self._over_nats and self._publisher is not None:
            await self._publish(text)
        else:
            async with self._gate:
                await self._post(cluster, text, patience)

    async def flush(self) -> None:
        if self._publisher is not None:
            try:
                await self._publisher.flush()
            except Exception as error:
                log.warning("NATS: %s", str(error) or type(error).__name__)

    async def _publish(self, text: str) -> None:
        assert self._publisher is not None
        for chunk in chunks(text, NATS_CHUNK):
            try:
                await self._publisher.publish(self._subject, chunk.encode())
            except Exception as error:  # reconnecting and its buffer full: as with a collector, it is lost
                self.lost += chunk.count("\n")
                log.warning("NATS: metrics lost: %s", error)

    async def _post(self, cluster: str, text: str, patience: float) -> None:
        for attempt in (1, 2, 3):
            try:
                answer = await self._http.post(
                    self._url,
                    params={"cluster": cluster},
                    content=text.encode(),
                    headers=self._headers,
                    timeout=patience,
                )
            except httpx.TransportError as error:
                log.debug("metrics: %s", error)
                await asyncio.sleep(0.5 * attempt)
                continue
            if answer.status_code != 200:
                self.lost += text.count("\n")
                log.warning("metrics refused: %d %s", answer.status_code, answer.text[:200])
            elif answer.content:
                log.warning("metrics partly refused: %s", answer.text[:300])
            return
        self.lost += text.count("\n")
        log.warning("metrics of %s: the store does not answer at %s", cluster, self._url)


def chunks(text: str, size: int) -> list[str]:
    """The text cut at line ends into pieces of at most `size` characters (a longer line stays whole)."""
    pieces = []
    start = 0
    while len(text) - start > size:
        end = text.rfind("\n", start, start + size) + 1 or text.find("\n", start) + 1 or len(text)
        pieces.append(text[start:end])
        start = end
    if start < len(text):
        pieces.append(text[start:])
    return pieces


class JobOutlet:
    """Job events and node states. `over_nats`: clusters whose adapter publishes instead of posting."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: str,
        token: str,
        *,
        publisher: Publisher | None,
        subjects: Subjects,
        over_nats: frozenset[str],
        encode: Callable[[str, dict[str, str], dict[str, Any], int], bytes],
    ) -> None:
        self._http = http
        self._api = url.rstrip("/") + "/api"
        self._headers = {
            "X-AUTH-TOKEN": token,
            "Accept": "application/ld+json",
            "Content-Type": "application/json",
        }
        self._publisher = publisher
        self._subjects = subjects
        self._over_nats = over_nats if publisher is not None else frozenset()
        self._encode = encode
        self._waiting: deque[tuple[str, dict[str, Any], frozenset[int]]] = deque()

    @property
    def waiting(self) -> int:
        """Requests that were not taken yet."""
        return len(self._waiting)

    async def running(self) -> list[dict[str, Any]]:
        """The hub's running jobs, asked for as the adapter does at its start. Raises HubUnreachableError."""
        query = {"state": "running", "items-per-page": "9999999", "page": "1", "with-metadata": "false"}
        try:
            answer = await self._http.get(
                self._api + "/jobs/", params=query, headers=self._headers, timeout=30, follow_redirects=True
            )
        except httpx.TransportError as error:
            raise HubUnreachableError(f"the hub does not answer at {self._api}: {error}") from error
        if answer.status_code != 200:
            raise HubUnreachableError(f"the hub lists no jobs: {answer.status_code} {answer.text[:200]}")
        jobs = answer.json().get("jobs") or []
        return [job for job in jobs if isinstance(job, dict)]

    async def start(self, body: dict[str, Any]) -> None:
        await self._job("start_job", body, frozenset({201, 422}), body["startTime"])

    async def stop(self, body: dict[str, Any]) -> None:
        await self._job("stop_job", body, frozenset({200, 422}), body["stopTime"])

    async def stop_now(self, body: dict[str, Any]) -> bool:
        """Stop over REST whatever the cluster; whether it was taken."""
        return await self._post("stop_job", body, frozenset({200, 422}))

    async def _job(self, function: str, body: dict[str, Any], good: frozenset[int], time: int) -> None:
        if body["cluster"] in self._over_nats and self._publisher is not None:
            tags = {"function": function}
            try:
                await self._publisher.publish(self._subjects.jobs, self._encode("job", tags, body, time))
            except Exception as error:
                log.warning("NATS: a %s is lost: %s", function, error)
            return
        self._waiting.append((function, body, good))

    async def deliver(self, *, at_once: int = 4) -> None:
        """Send what waits, several at once but never two of one job; what is not taken waits for the
        next call, behind it everything else, as with the adapter."""
        while self._waiting:
            group: list[tuple[str, dict[str, Any], frozenset[int]]] = []
            seen: set[tuple[str, int]] = set()
            while self._waiting and len(group) < at_once:
                _, body, _ = self._waiting[0]
                job = (body["cluster"], body["jobId"])
                if job in seen:
                    break
                seen.add(job)
                group.append(self._waiting.popleft())
            taken = await asyncio.gather(*(self._post(*one) for one in group))
            refused = [one for one, ok in zip(group, taken, strict=True) if not ok]
            if refused:
                self._waiting.extendleft(reversed(refused))
                return

    async def _post(self, function: str, body: dict[str, Any], good: frozenset[int]) -> bool:
        try:
            answer = await self._http.post(
                f"{self._api}/jobs/{function}/", content=json.dumps(body), headers=self._headers, timeout=20
            )
        except httpx.TransportError as error:
            log.warning("%s of job %s: the hub does not answer: %s", function, body["jobId"], error)
            return False
        if answer.status_code in good:
            return True
        log.warning("%s of job %s: %d %s", function, body["jobId"], answer.status_code, answer.text[:200])
        # A job the hub does not know, or does not accept, will not be accepted later either.
        return answer.status_code in (400, 404)

    async def node_states(self, body: dict[str, Any], time: int) -> None:
        if body["cluster"] in self._over_nats and self._publisher is not None:
            try:
                event = self._encode("nodestate", {"cluster": body["cluster"]}, body, time)
                await self._publisher.publish(self._subjects.nodes, event)
            except Exception as error:
                log.warning("NATS: node states are lost: %s", error)
            return
        try:
            answer = await self._http.post(
                self._api + "/nodestate/", content=json.dumps(body), headers=self._headers, timeout=20
            )
        except httpx.TransportError as error:
            log.warning("node states of %s: the hub does not answer: %s", body["cluster"], error)
            return
        if answer.status_code != 200:
            log.warning("node states of %s: %d %s", body["cluster"], answer.status_code, answer.text[:200])
