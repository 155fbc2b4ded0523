"""The HTTP door by itself, over a service that only notes what it is asked."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from cc_metric_store.engine import WriteReport
from cc_metric_store.frames import FrameService
from cc_metric_store.http import CHUNK, CONCURRENT_WRITES, Application
from cc_metric_store.query import QueryService
from cc_metric_store.tokens import TokenGate


class Noting:
    """A service whose commits wait for `go`."""

    ready = True

    def __init__(self) -> None:
        self.written: list[tuple[int, bytes]] = []
        self.go = asyncio.Event()

    async def write(self, payload: bytes, cluster: str, first_line: int) -> WriteReport:
        self.written.append((first_line, payload))
        await asyncio.sleep(0)
        return WriteReport(accepted=payload.count(b"\n"))

    async def commit(self) -> None:
        await self.go.wait()


def application(service: Noting) -> Application:
    return Application(
        cast(Any, service), cast(QueryService, None), cast(FrameService, None), TokenGate(None),
        ThreadPoolExecutor(1), 1,
    )  # fmt: skip


async def post(app: Application, *pieces: bytes) -> int:
    """The status of a write whose body comes in these pieces."""
    messages = [{"type": "http.request", "body": p, "more_body": True} for p in pieces]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    statuses = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return messages.pop(0)

    async def send(message: Any) -> None:
        if "status" in message:
            statuses.append(message["status"])

    scope = {"type": "http", "method": "POST", "path": "/api/write", "query_string": b"", "headers": []}
    await app(scope, receive, send)
    return int(statuses[0])


def test_who_waits_for_the_commit_keeps_nobody_out() -> None:
    """With a commit to the bucket every two seconds, all nodes of a site post into one interval."""

    async def play() -> None:
        service = Noting()
        app = application(service)
        senders = 3 * CONCURRENT_WRITES
        posts = [asyncio.create_task(post(app, b"m value=1\n")) for _ in range(senders)]
        for _ in range(50 * senders):
            await asyncio.sleep(0)
        assert len(service.written) == senders
        assert not any(task.done() for task in posts)
        service.go.set()
        assert await asyncio.gather(*posts) == [200] * senders

    asyncio.run(play())


def test_a_body_in_any_pieces_is_placed_in_whole_lines_with_their_numbers() -> None:
    async def play() -> None:
        service = Noting()
        service.go.set()
        line = b"m,hostname=h value=1 1700000000\n"
        body = line * (5 * CHUNK // 2 // len(line)) + b"last value=2"
        pieces = [body[at : at + 65_521] for at in range(0, len(body), 65_521)]
        assert await post(application(service), *pieces) == 200
        assert b"".join(payload for _, payload in service.written) == body
        assert all(len(payload) < CHUNK + 65_521 for _, payload in service.written)
        expected = 1
        for first, payload in service.written:
            assert first == expected
            assert payload.endswith(b"\n") or payload is service.written[-1][1]
            expected += payload.count(b"\n")
        assert len(service.written) == 3

    asyncio.run(play())
