"""A run of the demo site against a hub that only listens: what is told, in which order, and what is kept."""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from simulator import truth
from simulator.__main__ import arguments, seconds
from simulator.clusters import load
from simulator.outlets import HubUnreachableError, Subjects
from simulator.run import Simulation, Stack

NOW = 1_790_010_000.0


@dataclass
class Hub:
    """Remembers every request and message in order, as (kind, content)."""

    told: list[tuple[str, Any]] = field(default_factory=list)
    running: list[dict[str, Any]] = field(default_factory=list)
    failing: int = 0  # so many starts are answered 500
    untaken: tuple[str, ...] = ()  # subjects that no stream stores

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/api/write":
            assert request.headers["authorization"] == "Bearer t0"
            self.told.append(("metrics", (request.url.params["cluster"], request.content.decode())))
            return httpx.Response(200)
        assert request.headers["x-auth-token"] == "t0"
        if path == "/api/jobs/":
            return httpx.Response(200, json={"jobs": self.running, "items": 9999999, "page": 1})
        body = json.loads(request.content)
        if path == "/api/jobs/start_job/" and self.failing:
            self.failing -= 1
            return httpx.Response(500)
        self.told.append((path.strip("/").split("/")[-1], body))
        return httpx.Response(201 if "start" in path else 200)

    async def connect(self, url: str) -> Hub:
        assert url == "nats://broker"
        return self

    async def publish(self, subject: str, payload: bytes) -> None:
        text = payload.decode()
        if subject == "hpc-metrics":
            self.told.append(("nats metrics", text))
            return
        head, _, rest = text.partition(" event=")
        event, _, time = rest.rstrip("\n").rpartition(" ")
        body = json.loads(json.loads(event))  # a string field's escapes are JSON's here
        function = "nodestate" if subject == "hpc-nodes" else head.split("function=")[1].split(",")[0]
        assert time.endswith("000000000")
        self.told.append((function, body))

    async def is_taken(self, subject: str) -> bool:
        return subject not in self.untaken

    async def flush(self) -> None:
        return

    async def close(self) -> None:
        return

    def of(self, kind: str) -> list[Any]:
        return [content for told, content in self.told if told == kind]


STACK = Stack(
    "http://hub", "http://store", "nats://broker", "t0", ("kestrel", "heron"), ("demo",), Subjects()
)


def _simulation(hub: Hub, folder: Path, **more: Any) -> Simulation:
    return Simulation(
        STACK, folder, transport=httpx.MockTransport(hub), connect=hub.connect, clock=lambda: NOW,
        **{"backfill": 1800, **more},
    )  # fmt: skip


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> tuple[Hub, Path]:
    """Half an hour, told once for the tests that only look."""
    hub, folder = Hub(), tmp_path_factory.mktemp("past")
    asyncio.run(_simulation(hub, folder).run(once=True))
    return hub, folder


def test_the_past_is_told_metrics_first_with_true_times(past: tuple[Hub, Path]) -> None:
    hub, _ = past
    newest = 0
    running: dict[tuple[str, int], int] = {}
    for kind, content in hub.told:
        if "metrics" in kind:
            text = content[1] if kind == "metrics" else content
            newest = max(newest, *(int(line.rsplit(" ", 1)[1]) for line in text.splitlines()))
        elif kind == "start_job":
            assert newest >= content["startTime"] - 60
            running[content["cluster"], content["jobId"]] = content["startTime"]
        elif kind == "stop_job":
            assert newest >= content["stopTime"] - 60, "its samples are there when it is archived"
            assert running.pop((content["cluster"], content["jobId"])) < content["stopTime"] < NOW
    assert running, "some jobs go on"
    assert {cluster for cluster, _ in running} == {"kestrel", "heron"}


def test_half_of_the_nodes_send_over_each_way_and_every_node_sends(past: tuple[Hub, Path]) -> None:
    hub, _ = past
    posted = {line.split("hostname=")[1].split(",")[0] for _, t in hub.of("metrics") for line in [t]}
    published = {text.split("hostname=")[1].split(",")[0] for text in hub.of("nats metrics")}
    assert not posted & published
    assert posted | published == {*load("kestrel").hosts, *load("heron").hosts}
    assert len(posted) == len(published) == 15
    assert all(len(text) < 1_000_000 for text in hub.of("nats metrics"))


def test_starts_stops_and_node_states_are_the_adapters(past: tuple[Hub, Path]) -> None:
    hub, _ = past
    starts = hub.of("start_job")
    for body in starts:
        assert body["jobState"] == ""
        assert body["numNodes"] == len(body["resources"])
        assert {type(v) for v in body["metaData"].values()} == {str}
        assert (body["cluster"] == "heron") == ("numAcc" in body)
        assert (body["shared"] == "none") == ("hwthreads" not in body["resources"][0])
    assert {s["user"] for s in starts} >= {"demo"}
    assert all("startTime" not in body for body in hub.of("stop_job"))
    kestrel, heron = hub.of("nodestate")
    assert (kestrel["cluster"], heron["cluster"]) == ("kestrel", "heron")
    words = {n["hostname"]: n["states"] for n in kestrel["nodes"]}
    assert set(words) == set(load("kestrel").hosts)
    assert ["ALLOCATED"] in words.values()


async def test_a_refused_start_is_told_again_before_anything_behind_it(tmp_path: Path) -> None:
    hub = Hub(failing=9)
    await _simulation(hub, tmp_path, backfill=900).run(once=True)
    started: set[int] = set()
    for kind, body in hub.told:
        if kind == "start_job" and body["cluster"] == "kestrel":
            started.add(body["jobId"])
        elif kind == "stop_job" and body["cluster"] == "kestrel":
            assert body["jobId"] in started
    assert not hub.failing


async def test_without_a_broker_everything_goes_over_http(tmp_path: Path) -> None:
    hub = Hub()

    async def nobody(url: str) -> None:
        return None

    simulation = _simulation(hub, tmp_path, backfill=300)
    simulation.connect = nobody
    await simulation.run(once=True)
    assert not hub.of("nats metrics")
    assert {body["cluster"] for body in hub.of("start_job")} == {"kestrel", "heron"}


async def test_nodes_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """A store that acknowledges what came together must not be asked by one node after the other."""
    hub = Hub(untaken=("hpc-metrics",))
    waiting: list[asyncio.Event] = []
    together: list[int] = []

    async def gathering(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/write":
            done = asyncio.Event()
            waiting.append(done)
            if len(waiting) == 1:
                await asyncio.sleep(0.2)
                together.append(len(waiting))
                for each in waiting:
                    each.set()
                waiting.clear()
            await done.wait()
        return hub(request)

    simulation = _simulation(hub, tmp_path, backfill=120)
    simulation.transport = httpx.MockTransport(gathering)
    await simulation.run(once=True)
    assert max(together) > 6


async def test_what_no_stream_takes_goes_over_http(tmp_path: Path) -> None:
    hub = Hub(untaken=("hpc-metrics",))
    await _simulation(hub, tmp_path, backfill=120).run(once=True)
    assert not hub.of("nats metrics")
    posted = {text.split("hostname=")[1].split(",")[0] for _, text in hub.of("metrics")}
    assert posted == {*load("kestrel").hosts, *load("heron").hosts}


async def test_a_restart_ends_what_was_left_running_and_goes_on_where_it_ended(
    past: tuple[Hub, Path], tmp_path: Path
) -> None:
    first, folder = past
    for name in ("truth.jsonl", "simulator.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    stopped = {(b["cluster"], b["jobId"]) for b in first.of("stop_job")}
    left = [b for b in first.of("start_job") if (b["cluster"], b["jobId"]) not in stopped]
    highest = max(b["jobId"] for b in first.of("start_job"))

    second = Hub(running=[*left, {"cluster": "other", "jobId": 1, "startTime": 1}])
    later = _simulation(second, tmp_path)
    later.clock = lambda: NOW + 300
    await later.run(once=True)
    ended = second.of("stop_job")[: len(left)]
    assert {(b["cluster"], b["jobId"]) for b in ended} == {(b["cluster"], b["jobId"]) for b in left}
    assert {b["stopTime"] for b in ended} == {int(NOW) - 1}, "when the first run's metrics end"
    assert all(b["jobId"] > highest and b["startTime"] >= NOW - 1 for b in second.of("start_job"))
    times = [int(line.rsplit(" ", 1)[1]) for _, text in second.of("metrics") for line in text.splitlines()]
    assert min(times) >= NOW - 1
    for body in left:
        records = [r for r in truth.read(tmp_path / "truth.jsonl") if r["jobId"] == body["jobId"]
                   and r["cluster"] == body["cluster"]]  # fmt: skip
        assert records[-1]["interval"][1] <= NOW


async def test_it_lives_on_after_the_past_and_stops_when_told(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("simulator.run.BEAT", 0.001)
    hub = Hub()
    simulation = _simulation(hub, tmp_path, backfill=60)
    now = [NOW]

    def clock() -> float:
        now[0] += 20
        if now[0] > NOW + 400:
            simulation.stopping.set()
        return now[0]

    simulation.clock = clock
    await asyncio.wait_for(simulation.run(), 20)
    times = {int(line.rsplit(" ", 1)[1]) for _, text in hub.of("metrics") for line in text.splitlines()}
    assert max(times) > NOW + 300
    assert len(hub.of("nodestate")) > 4
    kept = json.loads((tmp_path / "simulator.json").read_text())
    assert kept["until"] >= NOW + 300


async def test_a_hub_that_does_not_answer_is_named(tmp_path: Path) -> None:
    def dead(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    simulation = Simulation(replace(STACK, nats_url=""), tmp_path, transport=httpx.MockTransport(dead))
    with pytest.raises(HubUnreachableError, match="http://hub/api"):
        await simulation.run(once=True)


def test_the_stack_file_is_read_and_faults_in_it_are_named(tmp_path: Path) -> None:
    path = tmp_path / "local.json"
    with pytest.raises(ValueError, match="make run"):
        Stack.read(path)
    path.write_text('{"url": "http://hub"}')
    with pytest.raises(ValueError, match="api_token"):
        Stack.read(path)
    path.write_text(
        json.dumps(
            {
                "url": "http://hub", "metric_store_url": "http://store", "nats_url": "nats://broker",
                "aws_endpoint_url": "http://aws", "api_token": "t0", "clusters": ["kestrel", "heron"],
                "users": [{"username": "demo", "password": "p", "roles": ["user"]},
                          {"username": "root", "password": "p", "roles": ["admin", "user"]}],
            }
        )
    )  # fmt: skip
    assert Stack.read(path) == STACK


def test_the_command_line() -> None:
    options = arguments(["--local", "x/local.json", "--backfill", "1h30m", "--once", "--seed", "7"])
    assert (options.backfill, options.once, options.seed, options.local.name) == (5400, True, 7, "local.json")
    assert [seconds(t) for t in ("2h", "90m", "45s", "60", "0")] == [7200, 5400, 45, 60, 0]
    for wrong in ("", "two hours", "1d", "-5"):
        with pytest.raises(argparse.ArgumentTypeError):
            seconds(wrong)


async def test_told_to_stop_it_does_not_wait_for_a_hub_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.run.GRACE", 0.05)
    hub = Hub()
    simulation = _simulation(hub, tmp_path)

    async def hanging(request: httpx.Request) -> httpx.Response:
        if request.url.path != "/api/jobs/start_job/":
            return hub(request)
        simulation.stopping.set()
        await asyncio.sleep(3600)
        raise AssertionError

    simulation.transport = httpx.MockTransport(hanging)
    await asyncio.wait_for(simulation.run(), 20)
    kept = json.loads((tmp_path / "simulator.json").read_text())
    assert kept["until"] == NOW - 1800, "the window was not told to its end"
    told = [b["jobId"] for b in hub.of("start_job")] + [0]
    assert kept["next_job_id"] > max(told)
