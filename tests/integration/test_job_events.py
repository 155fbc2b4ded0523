"""Job events and node states through a real NATS server."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nats
import pytest
from moto import mock_aws
from nats.aio.client import Client
from nats.js.api import StreamConfig
from tests.identities import settings_with_keys
from tests.integration.test_job_requests import _Queue, cluster_file, started, stopped
from tests.nats_server import NatsServer

from cc_job_events.events import BadLine, Event
from cc_job_events.handling import Counts, Outcome, Result, lane_of
from cc_job_events.service import JobEvents
from cc_job_events.subscription import PARKED, Subscription
from clustercockpit.config.configuration import Configuration
from clustercockpit.jobs.model import Job
from clustercockpit.json_lines import JsonLines
from clustercockpit.site import Site
from clustercockpit.storage.dynamodb.table import Table


def line(function: str, body: dict[str, Any], measurement: str = "job") -> bytes:
    event = json.dumps(body).replace("\\", "\\\\").replace('"', '\\"')
    return f'{measurement},function={function},hostname=ctl event="{event}" 1750000000000000000\n'.encode()


async def until(condition: Callable[[], object], seconds: float = 15) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise AssertionError("it did not happen in time")
        await asyncio.sleep(0.02)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def core_server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path, jetstream=False)
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def connected(server: NatsServer) -> AsyncIterator[Client]:
    client = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    try:
        yield client
    finally:
        await client.close()


class _Work:
    """Stands for the handler: answers as told, remembers what it was given."""

    def __init__(self, answer: Callable[[str, int], Outcome] | None = None) -> None:
        self.seen: list[str] = []
        self._answer = answer or (lambda _text, _times: Outcome.DONE)

    def __call__(self, item: tuple[Event | BadLine, float]) -> Result:
        event = item[0]
        if isinstance(event, BadLine):
            return Result(Outcome.REFUSED, event.reason)
        text = event.text or ""
        self.seen.append(text)
        return Result(self._answer(text, self.seen.count(text)), "told so")


@asynccontextmanager
async def listening(client: Client, work: _Work, **more: Any) -> AsyncIterator[Counts]:
    counts = Counts()
    subscription = Subscription(
        "jobs", lanes=4, lane_of=lane_of, work=work, counts=counts, wait_delay=0.1, **more
    )
    task = asyncio.create_task(subscription.run(client))
    # It listens once something it was sent has arrived
    while not counts.totals["jobs.empty"]:
        await client.publish("jobs", b"")
        await asyncio.sleep(0.05)
    try:
        yield counts
    finally:
        subscription.stop()
        await asyncio.wait_for(task, 10)


async def test_events_are_acknowledged_after_the_work(server: NatsServer) -> None:
    async with connected(server) as client:
        work = _Work()
        async with listening(client, work) as counts:
            await client.publish("jobs", b"".join(line("start_job", {"jobId": n}) for n in range(20)))
            await until(lambda: counts.totals["jobs.done"] == 20)
        info = await client.jetstream().consumer_info("CC_JOBS", "cc-job-events-jobs")
        assert info.num_ack_pending == 0
        assert info.num_pending == 0


async def test_events_of_one_job_keep_their_order(server: NatsServer) -> None:
    async with connected(server) as client:
        work = _Work()
        async with listening(client, work) as counts:
            for step in range(30):
                for job in range(3):
                    await client.publish("jobs", line("start_job", {"jobId": job, "step": step}))
            await until(lambda: counts.totals["jobs.done"] == 90)
        for job in range(3):
            steps = [entry["step"] for text in work.seen if (entry := json.loads(text))["jobId"] == job]
            assert steps == list(range(30))


async def test_what_fails_comes_again_and_what_was_published_meanwhile_too(server: NatsServer) -> None:
    async with connected(server) as client:
        failing = _Work(lambda _text, times: Outcome.RETRY if times == 1 else Outcome.DONE)
        async with listening(client, failing) as counts:
            await client.publish("jobs", line("start_job", {"jobId": 1}))
            await until(lambda: counts.totals["jobs.done"] == 1)
            assert len(failing.seen) == 2
        await client.publish("jobs", line("start_job", {"jobId": 2}))
        work = _Work()
        async with listening(client, work):
            await until(lambda: work.seen)
        assert work.seen == ['{"jobId": 2}']


async def test_a_stop_waits_for_its_start_and_is_parked_in_the_end(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(server) as client:
        work = _Work(lambda text, _times: Outcome.WAIT if "stop" in text else Outcome.DONE)
        async with listening(client, work, stop_waits=0.5) as counts:
            with caplog.at_level(logging.CRITICAL):
                await client.publish("jobs", line("stop_job", {"jobId": 1, "kind": "stop"}))
                await client.publish("jobs", b"nonsense\n")
                await until(lambda: counts.totals["jobs.parked"] == 2)
        assert len(work.seen) > 2
        js = client.jetstream()
        info = await js.stream_info("CC_PARKED")
        assert info.state.messages == 2
        parked = await js.get_last_msg("CC_PARKED", f"{PARKED}.jobs")
        assert parked.data is not None
        assert parked.headers is not None


async def test_an_existing_stream_is_used(server: NatsServer) -> None:
    async with connected(server) as client:
        js = client.jetstream()
        await js.add_stream(StreamConfig(name="SITE", subjects=["jobs", "nodes.>"]))
        work = _Work()
        async with listening(client, work):
            await client.publish("jobs", line("start_job", {"jobId": 1}))
            await until(lambda: work.seen)
        assert [stream.config.name for stream in await js.streams_info()] == ["SITE"]


async def test_without_jetstream_events_are_taken_and_waited_for(core_server: NatsServer) -> None:
    async with connected(core_server) as client:
        work = _Work(lambda _text, times: Outcome.WAIT if times < 3 else Outcome.DONE)
        async with listening(client, work) as counts:
            await client.publish("jobs", line("stop_job", {"jobId": 1}))
            await until(lambda: counts.totals["jobs.done"] == 1)
        assert len(work.seen) == 3


async def test_a_server_that_goes_and_comes_loses_nothing(server: NatsServer) -> None:
    async with connected(server) as client:
        work = _Work()
        async with listening(client, work):
            await client.publish("jobs", line("start_job", {"jobId": 1}))
            await until(lambda: work.seen)
            server.stop()
            await asyncio.sleep(0.3)
            server.start()
            async with connected(server) as other:
                await other.publish("jobs", line("start_job", {"jobId": 2}))
                await until(lambda: len(work.seen) == 2, 30)


# The whole subscriber, on an emulated table


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    (tmp_path / "archive" / "c1").mkdir(parents=True)
    (tmp_path / "archive" / "c1" / "cluster.json").write_text(cluster_file("c1", "n[01-99]"))
    (tmp_path / "data").mkdir()
    subjects = {
        "subject-job-event": "jobs",
        "subject-node-state": "nodes",
        # The emulated table cannot take two transactions at a time
        "job-concurrency": 1,
    }
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(
            {
                "main": {"api-subjects": subjects},
                "nats": {"address": "nats://127.0.0.1:1"},
                "auth": {"jwts": {"max-age": "2000h"}},
            }
        )
    )
    with mock_aws():
        settings = settings_with_keys(
            table_name="cc-events",
            archive_bucket=f"{tmp_path}/archive",
            data_bucket=f"{tmp_path}/data",
            config_file=str(config),
        )
        Table(settings).create()
        yield Site(settings)


async def test_jobs_start_and_stop_and_nodes_report(site: Site, tmp_path: Path) -> None:
    server = NatsServer(tmp_path)  # not there yet
    queue = _Queue()
    site.__dict__["archive_queue"] = queue
    site.__dict__["settings"] = replace(site.settings, nats_url=server.url)
    events = JobEvents(site)
    running = asyncio.create_task(events.run())
    await asyncio.sleep(0.1)
    server.start()
    try:
        async with connected(server) as client:
            await until(lambda: events._subscriptions and events._subscriptions[0]._js is not None)
            await client.publish("jobs", line("start_job", started()) + line("stop_job", stopped()))
            await client.publish("jobs", line("start_job", started()))
            tagged = started(jobId=2, tags=[{"type": "app", "name": "x", "scope": "global"}])
            await client.publish("jobs", line("start_job", tagged))
            await client.publish("jobs", line("start_job", started(jobId=3, cluster="nope")))
            node = {"cluster": "c1", "nodes": [{"hostname": "n01", "states": ["IDLE"]}]}
            await client.publish("nodes", line("x", node, "nodestate"))
            await until(lambda: sum(events.counts.totals.values()) >= 7)
        assert events.counts.totals == {
            "jobs.done": 3,
            "jobs.known": 1,
            "jobs.refused": 1,
            "jobs.parked": 1,
            "nodes.done": 1,
        }
        first, second = site.jobs.find(7001), site.jobs.find(2)
        assert isinstance(first, Job)
        assert isinstance(second, Job)
        assert (first.state, first.duration) == ("completed", 1800)
        assert [tag.name for tag in second.tags] == ["x"]
        assert queue.messages == [(first.id, None)]
        assert [node.hostname for node in site.nodes.nodes("c1")] == ["n01"]
    finally:
        events.stop()
        await asyncio.wait_for(running, 15)
        server.stop()


async def test_a_subscriber_without_subjects_waits_and_ends_when_told(site: Site) -> None:
    site.__dict__["configuration_source"] = SimpleNamespace(current=Configuration)
    events = JobEvents(site)
    running = asyncio.create_task(events.run())
    await asyncio.sleep(0.3)
    assert not running.done()
    events.stop()
    await asyncio.wait_for(running, 5)


def test_logs_are_json_lines() -> None:
    record = logging.LogRecord("x", logging.ERROR, "", 0, "event %s", ("refused",), None)
    record.__dict__["details"] = {"subject": "jobs", "reason": 'a "b"'}
    entry = json.loads(JsonLines().format(record))
    assert (entry["level"], entry["message"], entry["reason"]) == ("error", "event refused", 'a "b"')
